"""What a shared library needs and exports, read from the file: ELF of Linux, Mach-O of macOS.

A wheel is checked with this for every platform, on any machine. The build of a wheel loads this
file before jax and jaxgroups are installed.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_MACHINES = {62: "x86_64", 183: "aarch64", 0x0100000C: "arm64"}
_DYNAMIC, _DYNAMIC_SYMBOLS, _VERSIONS_NEEDED = 6, 11, 0x6FFFFFFE  # kinds of sections
_NEEDED = 1
_MACHO, _SYMBOL_TABLE, _SIGNATURE, _BUILD_VERSION = 0xFEEDFACF, 0x2, 0x1D, 0x32
_NAME = 0xD
_LOAD_LIBRARY = (0xC, 0x80000018, 0x8000001F)  # as usual, weakly, and to export it again


@dataclass
class Symbols:
    """The contents of a shared library that decide where it can be loaded."""

    machine: str
    needed: set[str] = field(default_factory=set)  # libraries
    versions: set[str] = field(default_factory=set)  # of symbols, such as GLIBC_2.14
    exported: set[str] = field(default_factory=set)
    undefined: set[str] = field(default_factory=set)
    system: tuple[int, int] = (0, 0)  # the oldest macOS
    name: str = ""  # macOS: the path that another program would record
    signed: bool = False  # macOS loads no other on arm64


def read(path: Path) -> Symbols:
    """The symbols of a 64-bit, little-endian library.

    Raises:
      ValueError: the file is something else.
    """
    data = path.read_bytes()
    try:
        if data[:6] == b"\x7fELF\x02\x01":
            return _elf(data)
        if data[:4] == struct.pack("<I", _MACHO):
            return _macho(data)
    except (struct.error, IndexError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    raise ValueError(f"{path} is neither a 64-bit ELF file nor a 64-bit Mach-O file")


def _text(data: bytes, start: int) -> str:
    return data[start : data.index(b"\0", start)].decode()


def _elf(data: bytes) -> Symbols:
    (machine,) = struct.unpack_from("<H", data, 18)
    (table,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    # name, kind, flags, address, offset, size, link, info, alignment, size of an entry
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, table + size * i) for i in range(count)]
    found = Symbols(_MACHINES.get(machine, f"machine {machine}"))
    for _, kind, _, _, start, length, link, info, *_ in sections:
        if kind not in (_DYNAMIC, _DYNAMIC_SYMBOLS, _VERSIONS_NEEDED):
            continue
        strings = sections[link][4]
        if kind == _DYNAMIC:
            for tag, value in struct.iter_unpack("<QQ", data[start : start + length]):
                if tag == _NEEDED:
                    found.needed.add(_text(data, strings + value))
        elif kind == _DYNAMIC_SYMBOLS:
            for entry in struct.iter_unpack("<IBBHQQ", data[start : start + length]):
                name, info_byte, _, section, *_ = entry
                if name and info_byte >> 4:  # named, and not local
                    names = found.exported if section else found.undefined
                    names.add(_text(data, strings + name))
        else:
            found.versions.update(_versions(data, start, info, strings))
    return found


def _versions(data: bytes, start: int, count: int, strings: int) -> Iterator[str]:
    for _ in range(count):  # of libraries
        _, versions, _, first, following = struct.unpack_from("<HHIII", data, start)
        at = start + first
        for _ in range(versions):
            *_, name, step = struct.unpack_from("<IHHII", data, at)
            yield _text(data, strings + name)
            at += step
        start += following


def _macho(data: bytes) -> Symbols:
    _, machine, _, _, commands = struct.unpack_from("<IIIII", data, 0)
    found = Symbols(_MACHINES.get(machine, f"machine {machine}"))
    at = 32
    for _ in range(commands):
        command, size = struct.unpack_from("<II", data, at)
        if command in _LOAD_LIBRARY:
            (name,) = struct.unpack_from("<I", data, at + 8)
            found.needed.add(_text(data, at + name))
        elif command == _NAME:
            (name,) = struct.unpack_from("<I", data, at + 8)
            found.name = _text(data, at + name)
        elif command == _SIGNATURE:
            found.signed = True
        elif command == _BUILD_VERSION:
            _, oldest = struct.unpack_from("<II", data, at + 8)
            found.system = (oldest >> 16, oldest >> 8 & 0xFF)
        elif command == _SYMBOL_TABLE:
            start, count, strings, _ = struct.unpack_from("<IIII", data, at + 8)
            for name, kind, _, _, _ in struct.iter_unpack(
                "<IBBHQ", data[start : start + 16 * count]
            ):
                if kind & 0xE0 or kind & 0x10 or not kind & 1:  # for debuggers, hidden, local
                    continue
                names = found.exported if kind & 0x0E else found.undefined
                names.add(_text(data, strings + name).removeprefix("_"))
        at += size
    return found


def problems(
    found: Symbols,
    machine: str,
    needed: frozenset[str],
    newest: tuple[int, int],
    exports: str,
    more_exports: tuple[str, ...] = (),
) -> list[str]:
    """What is wrong with a library for a platform, one sentence each.

    Args:
      found: the contents of the library.
      machine: the platform's processor.
      needed: the libraries that the platform has.
      newest: its version of glibc or of macOS, (0, 0) if it has neither.
      exports: what some exported name begins with.
      more_exports: what the others may begin with.
    """
    wrong = []
    if found.machine != machine:
        wrong.append(f"it is for {found.machine}, not for {machine}")
    if more := found.needed - needed:
        wrong.append(f"it needs {', '.join(sorted(more))}")
    if newer := sorted(v for v in found.versions if not _has(v, newest)):
        wrong.append(f"it needs {', '.join(newer)}, newer than {newest[0]}.{newest[1]}")
    if found.system > newest:
        wrong.append(f"it needs macOS {found.system[0]}.{found.system[1]}")
    if found.name.startswith("/"):
        wrong.append(f"its name is {found.name}, a path of the machine that made it")
    if machine == "arm64" and not found.signed:
        wrong.append("it is not signed")
    if python := sorted(n for n in found.undefined if n.startswith(("Py", "_Py"))):
        wrong.append(f"it uses Python's {', '.join(python)}")
    if foreign := sorted(n for n in found.exported if not n.startswith((exports, *more_exports))):
        wrong.append(f"it exports {', '.join(foreign[:5])}")
    if not any(n.startswith(exports) for n in found.exported):
        wrong.append(f"it exports nothing that begins with {exports}")
    return wrong


def _has(version: str, newest: tuple[int, int]) -> bool:
    """Whether glibc `newest` has a version of symbols, such as GLIBC_2.14 or GLIBC_2.3.2."""
    library, _, numbers = version.partition("_")
    parts = numbers.split(".")
    if library != "GLIBC" or not all(part.isdigit() for part in parts):
        return False
    return tuple(int(part) for part in parts[:2]) <= newest
