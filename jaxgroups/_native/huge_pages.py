"""Whether this process gets transparent huge pages, which XLA's CPU programs need to be fast.

XLA allocates the scratch memory of a program at every call and frees it afterwards. glibc returns
blocks above some ten MB to the system each time. So every call faults in and zeroes each page
again, 4 KiB at a time, which takes a third to a half of the time of a training step. Huge pages of
2 MiB make this cost small. Linux gives them always, never, or where a program asks (``madvise``).
glibc asks from version 2.35 on, if ``GLIBC_TUNABLES`` says so when the process starts.

The kernels ask too (``src/runtime/huge_pages.h``): for their results, and for untouched memory
around these, which is XLA's. ``JAXGROUPS_HUGE_PAGES=0`` switches these hints off, and
``JAXGROUPS_HUGE_PAGES=result`` limits them to the pages of the results.
"""

import os
import platform
from pathlib import Path
from typing import NamedTuple

REMEDY = "GLIBC_TUNABLES=glibc.malloc.hugetlb=1"
SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
ASKS = "glibc.malloc.hugetlb"
FIRST_GLIBC = (2, 35)


REACHES = ("0", "result", "around")  # in the order of the C++ enum HintReach


def reach() -> str:
    """Which memory the kernels' hints cover: one of REACHES, from $JAXGROUPS_HUGE_PAGES.

    Raises:
      ValueError: the variable has another value.
    """
    value = os.environ.get("JAXGROUPS_HUGE_PAGES", "").strip() or "around"
    if value not in REACHES:
        raise ValueError(f"JAXGROUPS_HUGE_PAGES={value}, but there is {', '.join(REACHES)}")
    return value


class Memory(NamedTuple):
    """Whether large blocks get huge pages: `pages`, the reason, and a setting that gives them.

    `pages` is "huge", "small" or "unknown".
    """

    pages: str
    because: str
    remedy: str | None = None


def _glibc() -> tuple[int, ...]:
    """The version of glibc, () where there is another C library."""
    name, version = platform.libc_ver()
    numbers = version.split(".")
    return tuple(map(int, numbers)) if name == "glibc" and all(map(str.isdecimal, numbers)) else ()


def examine() -> Memory:
    """Examine this process; `remedy` is a setting for the environment of the next one."""
    preloaded = os.environ.get("LD_PRELOAD", "")
    if "malloc" in preloaded:
        return Memory("unknown", f"another allocator is preloaded: {preloaded}")
    try:
        words = SETTING.read_text(encoding="ascii").split()
    except OSError:
        return Memory("unknown", f"{SETTING} cannot be read")
    setting = next((word.strip("[]") for word in words if word.startswith("[")), "unknown")
    if setting == "always":
        return Memory("huge", "the system gives them always")
    if setting != "madvise":
        return Memory("small", f"the system's setting is {setting}")
    glibc = _glibc()
    if glibc < FIRST_GLIBC:
        found = f"glibc is {'.'.join(map(str, glibc))}" if glibc else "the C library is not glibc"
        return Memory("small", f"{found}, and only glibc 2.35 or newer asks for them")
    settings = (t.partition("=") for t in os.environ.get("GLIBC_TUNABLES", "").split(":"))
    asks = {name: value for name, _, value in settings}.get(ASKS, "0")
    if asks != "0":
        return Memory("huge", "glibc.malloc.hugetlb is set")
    return Memory("small", "glibc.malloc.hugetlb not set", REMEDY)
