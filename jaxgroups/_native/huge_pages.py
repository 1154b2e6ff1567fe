"""How this process gets large blocks of memory: it decides how fast XLA's programs run on a CPU.

XLA asks malloc for the scratch memory of a program at every call, and gives it back. Blocks above
some ten MB glibc takes from the system and returns each time, so that every page is faulted in and
zeroed anew, 4 KiB at a time: a third to a half of a training step's time. With huge pages, 2 MiB
each, that is nearly free. Linux has them always, never, or where a program asks, which glibc does
from version 2.35 on if ``GLIBC_TUNABLES`` says so when the process starts. The kernels ask for them
too, for their results and the unused memory around these (``pages.h``): most of what is written.
"""

import os
import platform
from pathlib import Path
from typing import NamedTuple

REMEDY = "GLIBC_TUNABLES=glibc.malloc.hugetlb=1"
SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
ASKS = "glibc.malloc.hugetlb"
FIRST_GLIBC = (2, 35)


class Memory(NamedTuple):
    """`pages` of large blocks: "huge", "small" or "unknown"; `because`; the `remedy`, if any."""

    pages: str
    because: str
    remedy: str | None = None


def _glibc() -> tuple[int, ...]:
    """The version of glibc, () where there is another C library."""
    name, version = platform.libc_ver()
    numbers = version.split(".")
    return tuple(map(int, numbers)) if name == "glibc" and all(map(str.isdecimal, numbers)) else ()


def examine() -> Memory:
    """What holds for this process; `remedy` is for the environment of the next one."""
    preloaded = os.environ.get("LD_PRELOAD", "")
    if "malloc" in preloaded:
        return Memory("unknown", f"another allocator is preloaded: {preloaded}")
    try:
        words = SETTING.read_text(encoding="ascii").split()
    except OSError:
        return Memory("unknown", "the system does not tell")
    setting = next((word.strip("[]") for word in words if word.startswith("[")), "unknown")
    if setting == "always":
        return Memory("huge", "the system always gives them")
    if setting != "madvise":
        return Memory("small", f"the system's setting is {setting!r}")
    glibc = _glibc()
    if glibc < FIRST_GLIBC:
        found = f"glibc is {'.'.join(map(str, glibc))}" if glibc else "the C library is not glibc"
        return Memory("small", f"{found}; glibc can ask for huge ones from 2.35 on")
    settings = (t.partition("=") for t in os.environ.get("GLIBC_TUNABLES", "").split(":"))
    asks = {name: value for name, _, value in settings}.get(ASKS, "0")
    if asks != "0":
        return Memory("huge", "GLIBC_TUNABLES asks for them")
    return Memory("small", "nothing asks for huge ones", REMEDY)
