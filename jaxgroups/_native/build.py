"""Compiles the kernels with a C++17 compiler and the headers that ship in jaxlib.

``python -m jaxgroups._native.build`` compiles them for the installed jaxlib. The build of the wheel
loads this file before jax and jaxgroups are installed, so it imports neither at its top.

``python -m jaxgroups._native.build --wheel TARGET`` makes the wheel of a platform of `targets`, on
any of them, in a checkout or an unpacked source distribution.

A build compiles the widest instruction set that this processor runs, and the baseline.
``JAXGROUPS_NATIVE_ISAS=all`` compiles all of them, as a wheel for other machines needs; names with
commas between, such as ``avx2``, compile these.
"""

import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCES = Path(__file__).parent / "src"
LIBRARY = "_kernels.so"  # in this folder, or in one of the user's cache
_X86 = "-mavx2 -mfma -mbmi2"
# for each machine: the compiler's options of each instruction set, widest first, after which every
# machine has "baseline"
ISAS = {
    "x86_64": {
        "avx512": f"{_X86} -mavx512f -mavx512vl -mavx512dq -mavx512bw",
        "avx2": _X86,
    },
}
BASELINE = "baseline"
ALL_ISAS = (*(name for isas in ISAS.values() for name in isas), BASELINE)  # widest first
_OFF, _ON = ("0", "off", "false", "no"), ("1", "on", "true", "yes", "")
_MODES = ("broadcast", "depthwise", "gather")  # of every instruction set; slowest first
_K_SPLIT_MODES = ("broadcast4", "broadcast2")


class BuildError(Exception):
    """No library could be made; the text says what is missing."""


def source_hash() -> str:
    """Identifies the sources: a library made of others is not loaded."""
    digest = hashlib.sha256()
    for path in sorted(SOURCES.rglob("*")):
        if path.suffix in (".h", ".cc"):
            digest.update(
                path.relative_to(SOURCES).as_posix().encode() + b"\0" + path.read_bytes() + b"\0"
            )
    return digest.hexdigest()[:16]


def compilable_isas(machine: str | None = None) -> dict[str, str]:
    """The instruction sets that a kind of machine may have, this one's or another's.

    With each of them stand the compiler's options.
    """
    machine = machine or platform.machine().lower().replace("amd64", "x86_64")
    return {**ISAS.get(machine, {}), BASELINE: ""}


def widest_isa(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """The widest instruction set of this processor; None if its flags cannot be read."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    flags = next((line.partition(":")[2].split() for line in lines if line[:5] == "flags"), None)
    if flags is None:
        return None
    for name, options in compilable_isas().items():
        if all(option.removeprefix("-m") in flags for option in options.split()):
            return name
    return BASELINE


def host_isas(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """What a library for this processor needs: its widest instruction set, and the baseline.

    All of them if the flags of the processor cannot be read.
    """
    widest = widest_isa(cpuinfo)
    return list(compilable_isas()) if widest is None else list(dict.fromkeys([widest, BASELINE]))


def chosen_isas() -> list[str]:
    """The instruction sets to compile: those of $JAXGROUPS_NATIVE_ISAS, else this processor's.

    The variable is "host", "all", or names with commas between. The baseline is always compiled.
    """
    known = list(compilable_isas())
    wanted = os.environ.get("JAXGROUPS_NATIVE_ISAS", "").strip() or "host"
    if wanted == "host":
        return host_isas()
    if wanted == "all":
        return known
    names = [name.strip() for name in wanted.split(",")]
    for name in names:
        if name not in known:
            valid = ", ".join(["host", "all", *known])
            raise BuildError(f"JAXGROUPS_NATIVE_ISAS has {name!r}, which is not one of {valid}")
    return [name for name in known if name in (*names, BASELINE)]


def isa_limit() -> str | None:
    """The widest instruction set that $JAXGROUPS_NATIVE allows; None if it switches kernels off.

    Raises:
      ValueError: the variable has an unknown value.
    """
    value = os.environ.get("JAXGROUPS_NATIVE", "")
    wanted = value.strip().lower()
    if wanted in _OFF:
        return None
    if wanted in _ON:
        return ALL_ISAS[0]
    if wanted not in ALL_ISAS:
        raise ValueError(
            f"JAXGROUPS_NATIVE must be 1 (on, true, yes), 0 (off, false, no), or the widest "
            f"instruction set to use, one of {', '.join(ALL_ISAS)}; "
            f"but got JAXGROUPS_NATIVE={value!r}"
        )
    return wanted


def wider(name: str, limit: str) -> bool:
    """Whether an instruction set is wider than another; an unknown one is not."""
    return name in ALL_ISAS and ALL_ISAS.index(name) < ALL_ISAS.index(limit)


def places() -> tuple[Path, ...]:
    """Where the library may be: in this folder, or in the user's cache if that is read-only.

    A user without a home directory, as in some containers, has no cache.
    """
    here = Path(__file__).parent / LIBRARY
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return (here,)
    return here, cache / "jaxgroups" / source_hash() / LIBRARY


def find_compiler() -> list[str] | None:
    """$CXX, else the first of c++, g++ and clang++ that is there."""
    if os.environ.get("CXX", "").strip():
        return shlex.split(os.environ["CXX"])
    for name in ("c++", "g++", "clang++"):
        path = shutil.which(name)
        if path:
            return [path]
    return None


def find_headers() -> Path | None:
    """The folder of XLA's FFI headers, of an installed jaxlib, without importing it."""
    spec = importlib.util.find_spec("jaxlib")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / "include"
        if (path / "xla" / "ffi" / "api" / "ffi.h").is_file():
            return path
    return None


def _commands(
    compiler: list[str], headers: Path, to: Path, flags: str, isas: dict[str, str] | None = None
) -> Iterator[list[str]]:
    """One compilation for each object; the longest first."""
    common = [*compiler, "-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden"]
    common += ["-ffp-contract=fast", "-pthread", "-I", str(SOURCES), *shlex.split(flags)]
    if isas is None:
        isas = {name: compilable_isas()[name] for name in chosen_isas()}
    source = str(SOURCES / "kernels" / "kernels.cc")
    for name, options in isas.items():
        for size in (32, 64):
            which = [f"-DJG_ISA={name}", f"-DJG_TYPE={size}"]
            k_split = _K_SPLIT_MODES if (name, size) == ("avx512", 32) else ()  # see kHasKSplit
            for mode in (*k_split, *_MODES, ""):
                part = [f"-DJG_MODE={mode}"] if mode else []
                output = str(to / f"{name}{size}{mode}.o")
                yield [*common, *options.split(), *which, *part, "-c", source, "-o", output]
    for path in ("ffi/ffi_handlers", "runtime/problem", "runtime/isa"):
        source, output = str(SOURCES / f"{path}.cc"), str(to / f"{Path(path).name}.o")
        defines = [f'-DJG_SOURCES="{source_hash()}"', "-isystem", str(headers)]
        defines += [f"-DJG_WITH_{isa.upper()}" for isa in isas]
        yield [*common, *defines, "-c", source, "-o", output]


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise BuildError(f"the C++ compiler {command[0]} does not run: {error}") from error
    if done.returncode:
        raise BuildError(f"{shlex.join(command)}\n{done.stderr[-4000:]}")


def build(
    target: Path,
    flags: str = "",
    link: str = "-shared",
    compiler: list[str] | None = None,
    isas: dict[str, str] | None = None,
) -> Path:
    """Compile the library to `target`; it appears there whole or not at all.

    Args:
      target: the file to make.
      flags: options of every command.
      link: the options that say what is made of the objects.
      compiler: its command; that of `find_compiler` if it is None.
      isas: the instruction sets, with the compiler's options; those of `chosen_isas` if it is None.

    Raises:
      BuildError: something is missing, or the compiler fails.
    """
    if os.name != "posix":
        raise BuildError("the kernels are built on Linux and macOS only")
    compiler, headers = compiler or find_compiler(), find_headers()
    if compiler is None:
        raise BuildError("no C++ compiler was found: install g++ or clang++, or set $CXX")
    if headers is None:
        raise BuildError("jaxlib, whose headers are needed, is not installed")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        to = Path(folder)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(_run, _commands(compiler, headers, to, flags, isas)))
        objects = [str(path) for path in sorted(to.glob("*.o"))]
        how = [*shlex.split(flags), *shlex.split(link)]
        _run([*compiler, "-std=c++17", "-pthread", *how, *objects, "-o", str(to / LIBRARY)])
        os.replace(to / LIBRARY, target)
    return target


def build_wheel(name: str, folder: Path) -> None:
    """Make the wheel of a platform in `folder`: hatchling runs the hook of hatch_build.py.

    Raises:
      BuildError: the sources or hatchling are missing, or the build fails.
    """
    from jaxgroups._native import targets

    root = Path(__file__).parents[2]
    if not (root / "hatch_build.py").is_file():
        raise BuildError(f"wheels are made in a checkout, and {root} has no hatch_build.py")
    if importlib.util.find_spec("hatchling") is None:
        raise BuildError(f"hatchling is not installed: {sys.executable} -m pip install hatchling")
    try:
        target = targets.find(name)
        targets.compiler(target)
        targets.check_headers(find_headers())
    except targets.TargetError as error:
        raise BuildError(str(error)) from error
    environment = {k: v for k, v in os.environ.items() if k != "JAXGROUPS_NATIVE"}
    environment[targets.VARIABLE] = name
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
    done = subprocess.run([*command, "-d", str(folder.absolute())], cwd=root, env=environment)
    if done.returncode:
        raise BuildError(f"no wheel was made for {name}")


def main(arguments: list[str]) -> int:
    """Build beside the package, or in the user's cache if the package's folder is read-only."""
    if arguments[:1] == ["--wheel"] and len(arguments) in (2, 3):
        try:
            build_wheel(arguments[1], Path((arguments[2:] or ["dist"])[0]))
        except BuildError as failure:
            print(f"jaxgroups: {failure}", file=sys.stderr)
            return 1
        return 0
    if arguments:
        command = "python -m jaxgroups._native.build"
        print(f"usage: {command} [--wheel TARGET [FOLDER]]", file=sys.stderr)
        return 2
    error: Exception | None = None
    for place in places():
        try:
            built = build(place)
        except BuildError as failure:
            error = failure
            break
        except OSError as failure:  # read-only: try the next place
            error = failure
            continue
        print(f"built {built} with {', '.join(chosen_isas())} instructions")
        return 0
    print(f"jaxgroups: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
