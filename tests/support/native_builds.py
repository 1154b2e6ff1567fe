"""Programs made of the kernels' sources for tests, compiled once and kept in `.cache/native`."""

import hashlib
import os
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

from jaxgroups._native import build as _build
from support import wheels

HERE = Path(__file__).parents[1] / "native"
# tiles of three widths, for those of all the library's take minutes more to compile
ADDRESS = (
    "-O1 -DJG_WIDTHS=7,2,1 -fsanitize=address "
    "-fno-sanitize-address-use-after-scope -fno-sanitize-recover=all"
)
UNDEFINED = f"{ADDRESS} -fsanitize=undefined"
# the whole of `undefined` takes minutes to compile for what is unrolled most
ARITHMETIC = f"{ADDRESS} -fsanitize=signed-integer-overflow,shift,bounds,integer-divide-by-zero"
THREADS = "-O1 -g -fsanitize=thread"
# the sanitizers' own branches make the compiler believe that vectors are used before they are set
WARNINGS = "-Wall -Wextra -Werror -Wno-maybe-uninitialized"


def command(flags: str, *arguments: str) -> list[str]:
    """The compiler with these flags; skips where there is none, or it lacks a sanitizer."""
    compiler = _build.find_compiler()
    if compiler is None:
        pytest.skip("NO C++ COMPILER, so the kernels run under no sanitizer here")
    reason = _lacks(tuple(compiler), flags)
    if reason:
        pytest.skip(f"NO C++ COMPILER takes {flags!r} here, so that goes untested: {reason}")
    return [*compiler, "-std=c++17", "-pthread", *shlex.split(flags), *arguments]


@cache
def _lacks(compiler: tuple[str, ...], flags: str) -> str | None:
    """Why an empty program with these flags does not compile or run, None if it does."""
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / f"empty-{os.getpid()}"
    how = [*compiler, "-x", "c++", "-", "-pthread", *shlex.split(flags), "-o", str(program)]
    try:
        made = subprocess.run(how, input="int main() {}", capture_output=True, text=True)
    except OSError as error:
        return str(error)
    if made.returncode:
        return made.stderr.strip() or f"exit status {made.returncode}"
    ran = subprocess.run([program], capture_output=True, text=True)
    program.unlink()
    return (ran.stderr.strip() or f"exit status {ran.returncode}") if ran.returncode else None


def _folder() -> Path:
    return wheels.cache_directory().parent / "native"


def kept(name: str, flags: str) -> Path:
    """Where a program of the present sources goes."""
    digest = hashlib.sha256(f"{_build.source_hash()} {_build.find_compiler()} {flags}".encode())
    for path in (*sorted(HERE.glob("native_*.[ch]*")), Path(__file__), Path(_build.__file__)):
        digest.update(path.read_bytes())
    return _folder() / f"{name}-{digest.hexdigest()[:16]}"


def compiled(words: list[str]) -> None:
    """Runs a compiler, which has nothing to say."""
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode or done.stderr:
        pytest.fail(f"{shlex.join(words)}\n{done.stderr[:4000]}")


def program(name: str, flags: str) -> Path:
    """`tests/<name>.cc` with the headers of the kernels alone."""
    words = command(flags, *WARNINGS.split(), "-I", str(_build.SOURCES))
    path = kept(name, flags)
    if not path.exists():
        compiled([*words, str(HERE / f"{name}.cc"), "-o", str(path)])
    return path


def sanitized_driver(fresh: Path) -> Path:
    """`native_driver.cc` with all kernels, under the sanitizers of addresses and arithmetic."""
    words = command(UNDEFINED, *WARNINGS.split(), "-I", str(_build.SOURCES))
    path = kept("driver", UNDEFINED + ARITHMETIC)
    if path.exists():
        return path
    compiler = _build.find_compiler()
    assert compiler is not None
    objects = []
    tasks = [[*words, "-c", str(HERE / "native_driver.cc"), "-o", str(fresh / "driver.o")]]
    for one in _build._commands(compiler, fresh, fresh, ""):
        stem = Path(one[-1]).stem
        if stem == "ffi_handlers":  # these are XLA's
            continue
        flags = UNDEFINED if stem in ("baseline64", "problem", "isa") else ARITHMETIC
        options = [word for word in one[:-2] if word != "-O3"]
        tasks.append([*options, *shlex.split(f"{flags} {WARNINGS}"), *one[-2:]])
    objects = [task[-1] for task in tasks]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compiled, tasks))
    compiled([*words, *objects, "-o", str(fresh / "driver")])
    return (fresh / "driver").rename(path)


def said(*words):
    """What a program prints that ends well and complains of nothing."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[:6000]
    assert done.stderr == ""
    return done.stdout
