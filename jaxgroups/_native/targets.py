"""The platforms that have wheels, and zig, which compiles for each of them on one machine.

The PyPI package ``ziglang`` is a C++ compiler with the C libraries of all these platforms. The name
of its target contains the oldest C library that the result runs with. The standard library of C++
is linked statically.

The build of a wheel loads this file before jax and jaxgroups are installed.
"""

import importlib.util
import re
import sys
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "JAXGROUPS_WHEEL_TARGET"  # tells the build which platform the wheel is for
ZIG = "ziglang==0.17.1"
# XLA takes a library that was compiled for its own version of the FFI or an older one. This is the
# version of the oldest jaxlib that jaxgroups supports.
OLDEST_FFI = (0, 3)
OLDEST_JAXLIB = "jaxlib>=0.10,<0.11"
EXPORTS = "jaxgroups_"  # what the names begin with that the library exports
# of macOS, where zig has no list of exports: the memory of C++, and what every library has
_MACOS_EXPORTS = ("_Zna", "_Znw", "_Zda", "_Zdl", "__dso_handle", "_mh_dylib_header")
# without a level of optimisation zig adds a sanitizer, and it adds debug information, which -g0 and
# the linker's -s leave out
FLAGS = "-fno-sanitize=all -g0"


class TargetError(Exception):
    """No wheel can be made for a platform; the text says why."""


@dataclass(frozen=True)
class Target:
    """A platform: the processor, zig's name of it, and the tag of its wheels."""

    machine: str  # as in `build.ISAS`
    zig: str
    tag: str
    needed: frozenset[str]  # the only libraries that may be needed
    newest: tuple[int, int]  # of glibc, or of macOS; (0, 0) where neither is there
    more_exports: tuple[str, ...] = ()  # what may be exported besides EXPORTS


def _glibc(machine: str, loader: str) -> Target:
    libraries = ["libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1"]
    return Target(
        machine,
        f"{machine}-linux-gnu.2.28",
        f"manylinux_2_28_{machine}",
        frozenset([*libraries, loader]),
        (2, 28),
    )


TARGETS = {
    "x86_64-linux": _glibc("x86_64", "ld-linux-x86-64.so.2"),
    "aarch64-linux": _glibc("aarch64", "ld-linux-aarch64.so.1"),
    "x86_64-musl": Target(
        "x86_64", "x86_64-linux-musl", "musllinux_1_2_x86_64", frozenset(["libc.so"]), (0, 0)
    ),
    "arm64-macos": Target(
        "arm64",
        "aarch64-macos.11.0",
        "macosx_11_0_arm64",
        frozenset(["/usr/lib/libSystem.B.dylib"]),
        (11, 0),
        _MACOS_EXPORTS,
    ),
}


def find(name: str) -> Target:
    """The platform of this name.

    Raises:
      TargetError: there is none.
    """
    if name not in TARGETS:
        raise TargetError(f"no wheels are made for {name!r}, only for {', '.join(TARGETS)}")
    return TARGETS[name]


def compiler(target: Target) -> list[str]:
    """The command of zig's C++ compiler for this platform.

    Raises:
      TargetError: the package ziglang is not installed.
    """
    spec = importlib.util.find_spec("ziglang")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / "zig"
        if path.is_file():
            return [str(path), "c++", "-target", target.zig]
    raise TargetError(
        f"the cross compiler is not installed: {sys.executable} -m pip install '{ZIG}'"
    )


def link_options(target: Target, folder: Path) -> str:
    """How a shared library is linked that exports the names of jaxgroups only.

    Linux needs a list of them, which is written into `folder`, because `operator new` and `delete`
    of zig's standard library are visible. For macOS, zig ignores such a list.
    """
    if "linux" not in target.zig:
        return "-shared -s -Wl,-install_name,@rpath/_kernels.so"  # else a path of this machine
    path = folder / "exports.map"
    path.write_text(f"{{ global: {EXPORTS}*; local: *; }};\n", encoding="ascii")
    return f"-shared -s -Wl,--version-script={path}"


def ffi_version(headers: Path) -> tuple[int, int]:
    """The version of the FFI that these headers describe."""
    text = (headers / "xla" / "ffi" / "api" / "c_api.h").read_text(encoding="utf-8")
    found = dict(re.findall(r"^#define XLA_FFI_API_(MAJOR|MINOR) (\d+)$", text, re.MULTILINE))
    return int(found["MAJOR"]), int(found["MINOR"])


def check_headers(headers: Path | None) -> None:
    """Refuse headers with which an older jaxlib would not take the library.

    Raises:
      TargetError: they are absent or too new.
    """
    install = f"{sys.executable} -m pip install '{OLDEST_JAXLIB}'"
    if headers is None:
        raise TargetError(f"jaxlib, whose headers are needed, is not installed: {install}")
    version = ffi_version(headers)
    if version > OLDEST_FFI:
        have, want = (".".join(map(str, v)) for v in (version, OLDEST_FFI))
        raise TargetError(
            f"the headers in {headers} are of FFI version {have}, and the oldest jaxlib that "
            f"jaxgroups supports takes at most {want}: {install}"
        )
