"""Wheels for other platforms: their names, what is refused, and what the libraries need.

The tests marked slow compile the kernels with zig for every platform. They are skipped where the
package ziglang is not installed.
"""

import ctypes
import importlib.util
import re
import shlex
import shutil
import struct
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from packaging.utils import parse_wheel_filename
from support import native_builds
from test_native_wheel import ROOT, hook, source

import jaxgroups
from jaxgroups import _native as native
from jaxgroups._native import build as _build
from jaxgroups._native import symbols, targets

in_checkout = pytest.mark.skipif(
    not (ROOT / "hatch_build.py").exists(), reason="the package is installed without its sources"
)
needs_zig = pytest.mark.skipif(
    importlib.util.find_spec("ziglang") is None,
    reason=f"ziglang is NOT installed, so nothing is compiled for other platforms: {targets.ZIG}",
)


# --- names ----------------------------------------------------------------------------------------

TAGS = {
    "x86_64-linux": "py3-none-manylinux_2_28_x86_64",
    "aarch64-linux": "py3-none-manylinux_2_28_aarch64",
    "x86_64-musl": "py3-none-musllinux_1_2_x86_64",
    "arm64-macos": "py3-none-macosx_11_0_arm64",
}


def test_every_platform_has_its_tag():
    assert {name: f"py3-none-{t.tag}" for name, t in targets.TARGETS.items()} == TAGS
    for tag in TAGS.values():
        parsed = parse_wheel_filename(f"jaxgroups-{jaxgroups.__version__}-{tag}.whl")
        assert [str(one) for one in parsed[3]] == [tag]


@pytest.mark.parametrize("name", TAGS)
def test_the_tag_promises_what_is_compiled_for(name):
    """The system's version stands in the tag, in zig's target, and in what is checked."""
    target = targets.find(name)
    promised = re.search(r"(?:manylinux|macosx)_(\d+)_(\d+)_", target.tag)
    compiled = re.search(r"(?:gnu|macos)\.(\d+)\.(\d+)$", target.zig)
    assert (promised is None) == (compiled is None) == ("musl" in name)
    if promised is not None and compiled is not None:
        assert promised.groups() == compiled.groups() == tuple(map(str, target.newest))
    assert target.tag.endswith(target.machine)


def test_wheels_have_every_instruction_set(monkeypatch):
    monkeypatch.setenv("JAXGROUPS_NATIVE_ISAS", "baseline")  # of local builds only
    assert list(_build.compilable_isas("x86_64")) == ["avx512", "avx2", "baseline"]
    assert list(_build.compilable_isas("aarch64")) == ["baseline"]
    isas = _build.compilable_isas("x86_64")
    made = list(_build._commands(["zig", "c++"], Path("include"), Path("to"), "", isas))
    assert {word for words in made for word in words if word.startswith("-DJG_ISA=")} == {
        "-DJG_ISA=avx512",
        "-DJG_ISA=avx2",
        "-DJG_ISA=baseline",
    }
    [isa] = [words for words in made if words[-1].endswith("isa.o")]
    assert {"-DJG_WITH_AVX512", "-DJG_WITH_AVX2", "-DJG_WITH_BASELINE"} <= set(isa)


def test_the_headers_are_those_of_the_oldest_jaxlib():
    """The bound is that of pyproject.toml, and jaxlib 0.10 really has this version of the FFI."""
    if (ROOT / "pyproject.toml").exists():
        lines = (ROOT / "pyproject.toml").read_text().splitlines()
        [requires] = [line for line in lines if line.startswith("requires = ")]
        assert f'"{targets.OLDEST_JAXLIB}"' in requires
        oldest = targets.OLDEST_JAXLIB.removeprefix("jaxlib").partition(",")[0]
        assert any(line.startswith(f'  "jaxlib{oldest},') for line in lines)
    headers = _build.find_headers()
    if headers is None:
        pytest.skip("this jaxlib has no headers")
    import jaxlib

    if jaxlib.__version__.startswith("0.10."):
        assert targets.ffi_version(headers) == targets.OLDEST_FFI
    else:
        assert targets.ffi_version(headers) >= targets.OLDEST_FFI


# --- refusals -------------------------------------------------------------------------------------


def headers(folder, major, minor):
    api = folder / "xla" / "ffi" / "api"
    api.mkdir(parents=True)
    (api / "ffi.h").write_text("")
    text = f"#define XLA_FFI_API_MAJOR {major}\n// more\n#define XLA_FFI_API_MINOR {minor}\n"
    (api / "c_api.h").write_text(text)
    return folder


def fake_zig(monkeypatch, folder, script="exit 1"):
    """A package ziglang whose compiler is a script of the shell."""
    package = folder / "ziglang"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "zig").write_text(f"#!/bin/sh\n{script}\n")
    (package / "zig").chmod(0o755)
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()


def absent(*names):
    find = importlib.util.find_spec
    return lambda name, *more: None if name in names else find(name, *more)


def told(capsys, name):
    assert _build.main(["--wheel", name]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("jaxgroups: ")
    return err.removeprefix("jaxgroups: ").rstrip("\n")


PIP = f"{sys.executable} -m pip install"


def present(monkeypatch, *without):
    """A checkout where all is installed but what is named."""
    monkeypatch.setattr(_build, "__file__", str(ROOT / "jaxgroups" / "_native" / "build.py"))
    real = absent(*without)
    there = {"hatchling"} - set(without)
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: name if name in there else real(name, *a)
    )


@in_checkout
def test_an_unknown_platform_is_refused(monkeypatch, capsys):
    present(monkeypatch)
    assert told(capsys, "x86_64-windows") == (
        "no wheels are made for 'x86_64-windows', only for x86_64-linux, aarch64-linux, "
        "x86_64-musl, arm64-macos"
    )


@in_checkout
def test_without_zig_the_command_that_installs_it_is_told(monkeypatch, capsys):
    present(monkeypatch, "ziglang")
    assert told(capsys, "x86_64-linux") == (
        f"the cross compiler is not installed: {PIP} 'ziglang==0.17.1'"
    )


@in_checkout
def test_without_hatchling_the_command_that_installs_it_is_told(monkeypatch, capsys):
    present(monkeypatch, "hatchling")
    assert told(capsys, "x86_64-linux") == f"hatchling is not installed: {PIP} hatchling"


def test_outside_a_checkout_no_wheel_is_made(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(_build, "__file__", str(tmp_path / "jaxgroups" / "_native" / "build.py"))
    assert told(capsys, "x86_64-linux") == (
        f"wheels are made in a checkout, and {tmp_path} has no hatch_build.py"
    )


@in_checkout
@pytest.mark.parametrize("version", [(0, 4), (1, 0)])
def test_headers_that_older_jaxlibs_refuse_are_refused(monkeypatch, tmp_path, capsys, version):
    fake_zig(monkeypatch, tmp_path / "packages")
    present(monkeypatch)
    newer = headers(tmp_path / "include", *version)
    monkeypatch.setattr(_build, "find_headers", lambda: newer)
    assert told(capsys, "aarch64-linux") == (
        f"the headers in {newer} are of FFI version {version[0]}.{version[1]}, and the oldest "
        f"jaxlib that jaxgroups supports takes at most 0.3: {PIP} 'jaxlib>=0.10,<0.11'"
    )
    monkeypatch.setattr(_build, "find_headers", lambda: None)
    assert told(capsys, "aarch64-linux") == (
        f"jaxlib, whose headers are needed, is not installed: {PIP} 'jaxlib>=0.10,<0.11'"
    )


@pytest.mark.parametrize("version", [(0, 3), (0, 2)])
def test_headers_that_every_jaxlib_takes_are_accepted(tmp_path, version):
    targets.check_headers(headers(tmp_path, *version))


@in_checkout
def test_a_failed_build_is_told(monkeypatch, tmp_path, capsys):
    """hatchling itself fails here: it is run in the folder of the sources, with the variable."""
    fake_zig(monkeypatch, tmp_path / "packages")
    present(monkeypatch)
    monkeypatch.setattr(_build, "find_headers", lambda: headers(tmp_path / "include", 0, 3))
    monkeypatch.setenv("JAXGROUPS_NATIVE", "0")
    seen = []

    def run(words, cwd, env):
        seen.append((words[1:], cwd, env[targets.VARIABLE], "JAXGROUPS_NATIVE" in env))
        return subprocess.CompletedProcess(words, 1)

    monkeypatch.setattr(_build.subprocess, "run", run)
    monkeypatch.chdir(tmp_path)
    assert told(capsys, "arm64-macos") == "no wheel was made for arm64-macos"
    words = ["-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    assert seen == [(words, ROOT, "arm64-macos", False)]


# --- the hook -------------------------------------------------------------------------------------

here_is_x86_64_linux = pytest.mark.skipif(
    sysconfig.get_platform() != "linux-x86_64" or shutil.which("g++") is None,
    reason="NO g++ for x86-64 Linux: the hook is not tested with a compiled library",
)
ALONE = 'extern "C" __attribute__((visibility("default"))) int jaxgroups_alone() { return 1; }\n'


def hook_for(monkeypatch, tmp_path, name, text, options):
    """The hook for a platform whose compiler compiles `text`, whatever it should compile."""
    (tmp_path / "text.cc").write_text(text)
    compiled = f'g++ -shared -fPIC {options} "{tmp_path}/text.cc" -o "$last"'
    fake_zig(monkeypatch, tmp_path / "packages", f"for last; do :; done\n{compiled}")
    monkeypatch.setenv(targets.VARIABLE, name)
    monkeypatch.setenv("CXX", "false")  # another compiler is not used
    return hook(monkeypatch, source(tmp_path))


@in_checkout
@here_is_x86_64_linux
def test_the_hook_makes_the_wheel_of_the_platform(monkeypatch, tmp_path):
    if _build.find_headers() is None or targets.ffi_version(_build.find_headers()) > (0, 3):
        pytest.skip("this jaxlib has no headers, or too new ones")
    ours = hook_for(monkeypatch, tmp_path, "x86_64-linux", ALONE, "-nostdlib")
    assert ours.dependencies() == ["ziglang==0.17.1"]
    data = {"force_include": {}}
    ours.initialize("standard", data)
    assert (data["pure_python"], data["tag"]) == (False, TAGS["x86_64-linux"])
    [(library, to)] = data["force_include"].items()
    assert to == "jaxgroups/_native/_kernels.so"
    assert symbols.read(Path(library)).exported == {"jaxgroups_alone"}
    start, end = ours.app.information
    assert start.startswith(
        "jaxgroups: compiling the kernels for x86_64-linux (avx512, avx2, baseline), which takes "
    )
    assert re.fullmatch(r"jaxgroups: compiled in \d+ s", end)
    ours.finalize("standard", data, "")
    assert not Path(library).exists()


WRONG = {
    "another platform": ("aarch64-linux", ALONE, "-nostdlib", "it is for x86_64, not for aarch64"),
    "a library": (
        "x86_64-linux",
        ALONE,
        "-Wl,--no-as-needed -lstdc++",
        "it needs libgcc_s.so.1, libstdc++.so.6",
    ),
    "Python": (
        "x86_64-linux",
        ALONE + 'extern "C" int PyErr_Occurred(); int (*f)() = PyErr_Occurred;',
        "-nostdlib -fvisibility=hidden",
        "it uses Python's PyErr_Occurred",
    ),
    "an export": (
        "x86_64-linux",
        ALONE + "int other() { return 2; }",
        "-nostdlib",
        "it exports _Z5otherv",
    ),
    "nothing": (
        "x86_64-linux",
        "int other() { return 2; }",
        "-nostdlib -fvisibility=hidden",
        "it exports nothing that begins with jaxgroups_",
    ),
}


@in_checkout
@here_is_x86_64_linux
@pytest.mark.parametrize("why", WRONG)
def test_the_hook_refuses_a_library_that_does_not_fit(monkeypatch, tmp_path, why):
    if _build.find_headers() is None or targets.ffi_version(_build.find_headers()) > (0, 3):
        pytest.skip("this jaxlib has no headers, or too new ones")
    name, text, options, problem = WRONG[why]
    ours = hook_for(monkeypatch, tmp_path, name, text, options)
    with pytest.raises(Exception, match=r"^the library for ") as caught:
        ours.initialize("standard", {"force_include": {}})
    assert type(caught.value).__name__ == "TargetError"
    assert str(caught.value).startswith(f"the library for {name} is wrong: {problem}")
    ours.finalize("standard", {}, "")


@in_checkout
def test_a_local_build_needs_no_cross_compiler(monkeypatch, tmp_path):
    monkeypatch.delenv(targets.VARIABLE, raising=False)
    assert hook(monkeypatch, source(tmp_path)).dependencies() == []


# --- symbols --------------------------------------------------------------------------------------


def by_nm(path):
    """The same by the tools of binutils."""
    lines = subprocess.run(["nm", "-D", path], check=True, capture_output=True, text=True).stdout
    words = [line.split() for line in lines.splitlines()]
    names = [(word[-2], word[-1].partition("@")[0]) for word in words]
    return {n for kind, n in names if kind not in "Uwv"}, {n for kind, n in names if kind in "Uwv"}


def by_readelf(path):
    words = ["readelf", "-W", "-d", "-V", path]
    text = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    needs = text.partition("Version needs section")[2] or text.partition(".gnu.version_r")[2]
    return (
        set(re.findall(r"Shared library: \[(.*)\]", text)),
        set(re.findall(r"Name: (\S+)  Flags", needs)),
    )


LIBRARIES = [
    native.find().path,
    Path(np.random.bit_generator.__file__),  # of another maker
]


@pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("readelf") is None, reason="NO readelf to compare with"
)
@pytest.mark.parametrize("path", [path for path in LIBRARIES if path is not None])
def test_the_symbols_are_those_of_binutils(path):
    found = symbols.read(path)
    assert (found.exported, found.undefined) == by_nm(path)
    assert (found.needed, found.versions) == by_readelf(path)
    assert found.versions  # both have some


def macho_command(kind, text):
    """A load command that names a library."""
    path = text.encode() + b"\0"
    path += b"\0" * (-len(path) % 8)
    return struct.pack("<IIIIII", kind, 24 + len(path), 24, 2, 0, 0) + path


def macho(
    machine=0x0100000C,
    signed=True,
    oldest=(11, 0),
    library="/usr/lib/libSystem.B.dylib",
    named="@rpath/_kernels.so",
):
    """A Mach-O file of load commands and five symbols."""
    names = ["_jaxgroups_forward", "_hidden", "_local", "_malloc", "_source.cc"]
    strings = b"\0" + b"\0".join(name.encode() for name in names) + b"\0"
    kinds = [0x0F, 0x1F, 0x0E, 0x01, 0x65]  # exported, hidden, local, undefined, of a debugger
    commands = [
        macho_command(0xD, named),
        macho_command(0xC, library),
        struct.pack("<IIIIII", 0x32, 24, 1, oldest[0] << 16 | oldest[1] << 8, 26 << 16, 0),
    ]
    if signed:
        commands.append(struct.pack("<IIII", 0x1D, 16, 0, 0))
    start = 32 + sum(map(len, commands)) + 24
    commands.append(struct.pack("<IIIIII", 0x2, 24, start, 5, start + 16 * 5, len(strings)))
    body = b"".join(commands)
    at = [strings.index(name.encode()) for name in names]
    table = b"".join(
        struct.pack("<IBBHQ", i, kind, 1 if kind & 0xE else 0, 0, 0)
        for i, kind in zip(at, kinds, strict=True)
    )
    head = struct.pack("<IIIIIIII", 0xFEEDFACF, machine, 0, 6, len(commands), len(body), 0, 0)
    return head + body + table + strings


MACOS = targets.find("arm64-macos")


def wrong(path, target):
    return symbols.problems(
        symbols.read(path),
        target.machine,
        target.needed,
        target.newest,
        targets.EXPORTS,
        target.more_exports,
    )


def test_a_library_of_macos_is_read(tmp_path):
    path = tmp_path / "library.dylib"
    path.write_bytes(macho())
    found = symbols.read(path)
    assert found.machine == "arm64"
    assert found.needed == {"/usr/lib/libSystem.B.dylib"}
    assert (found.exported, found.undefined) == ({"jaxgroups_forward"}, {"malloc"})
    assert (found.system, found.signed) == ((11, 0), True)
    assert found.name == "@rpath/_kernels.so"
    assert wrong(path, MACOS) == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"machine": 0x01000007}, "it is for machine 16777223, not for arm64"),
        ({"signed": False}, "it is not signed"),
        (
            {"named": "/tmp/build/_kernels.so"},
            "its name is /tmp/build/_kernels.so, a path of the machine that made it",
        ),
        ({"oldest": (13, 3)}, "it needs macOS 13.3"),
        ({"library": "/opt/libc++.dylib"}, "it needs /opt/libc++.dylib"),
    ],
)
def test_a_library_that_macos_does_not_load_is_found(tmp_path, change, text):
    path = tmp_path / "library.dylib"
    path.write_bytes(macho(**change))
    assert wrong(path, MACOS) == [text]


@pytest.mark.parametrize(
    ("versions", "text"),
    [
        ({"GLIBC_2.2.5", "GLIBC_2.28"}, None),
        ({"GLIBC_2.14", "GLIBC_2.29", "GLIBC_2.34"}, "it needs GLIBC_2.29, GLIBC_2.34, newer"),
        ({"GLIBC_2.3.4", "GLIBC_3.1"}, "it needs GLIBC_3.1, newer"),
        ({"GLIBCXX_3.4"}, "it needs GLIBCXX_3.4, newer"),
        ({"GLIBC_PRIVATE"}, "it needs GLIBC_PRIVATE, newer"),
    ],
)
def test_a_newer_glibc_is_found(versions, text):
    linux = targets.find("x86_64-linux")
    found = symbols.Symbols("x86_64", {"libc.so.6"}, versions, {"jaxgroups_forward"})
    problems = symbols.problems(found, "x86_64", linux.needed, linux.newest, targets.EXPORTS)
    assert problems == ([] if text is None else [f"{text} than 2.28"])


@pytest.mark.parametrize("data", [b"", b"!<arch>\n", b"\x7fELF\x01\x01", b"MZ"])
def test_what_is_no_library_is_refused(tmp_path, data):
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"neither a 64-bit ELF file nor a 64-bit Mach-O file$"):
        symbols.read(path)


@pytest.mark.parametrize("length", [40, 100, 150])
def test_a_library_that_is_cut_is_refused(tmp_path, length):
    path = tmp_path / "file"
    path.write_bytes(macho()[:length])
    with pytest.raises(ValueError, match="is damaged: "):
        symbols.read(path)


# --- with the cross compiler ----------------------------------------------------------------------


def cross_compiled(target, folder):
    return _build.build(
        folder / _build.LIBRARY,
        flags=targets.FLAGS,
        link=targets.link_options(target, folder),
        compiler=targets.compiler(target),
        isas=_build.compilable_isas(target.machine),
    )


@pytest.mark.slow
@needs_zig
@pytest.mark.parametrize("name", TAGS)
def test_the_library_of_every_platform_fits_it(tmp_path, name):
    target = targets.find(name)
    path = cross_compiled(target, tmp_path)
    assert wrong(path, target) == []
    exported = {n for n in symbols.read(path).exported if n.startswith(targets.EXPORTS)}
    assert exported == {
        "jaxgroups_forward",
        "jaxgroups_weight_gradient",
        "jaxgroups_sources",
        "jaxgroups_hint_huge_pages",
        "jaxgroups_instruction_set",
        "jaxgroups_use_instruction_set",
    }
    if name == "x86_64-linux" and sysconfig.get_platform() == "linux-x86_64":
        library = ctypes.CDLL(str(path))
        library.jaxgroups_instruction_set.restype = ctypes.c_char_p
        names = [library.jaxgroups_instruction_set(i) for i in range(4)]
        widest = _build.widest_isa()
        assert names[0] == widest.encode()  # the processor's, as Linux lists it
        assert names.index(None) == len(_build.ALL_ISAS) - _build.ALL_ISAS.index(widest)


@pytest.mark.slow
@needs_zig
@pytest.mark.skipif(shutil.which("qemu-aarch64-static") is None, reason="NO qemu-aarch64-static")
def test_the_kernels_of_aarch64_compute_what_loops_compute(tmp_path):
    """`native_driver.cc`, emulated: NEON against plain loops, exactly, in float32 and float64."""
    [zig, words, *_] = targets.compiler(targets.find("aarch64-linux"))
    # linked statically, with another C library, so that no root of the platform is needed
    compiler = [zig, words, "-target", "aarch64-linux-musl"]
    options = [*compiler, "-std=c++17", "-O2", "-I", str(_build.SOURCES)]
    main = str(native_builds.HERE / "native_driver.cc")
    tasks = [[*options, *shlex.split(targets.FLAGS), "-c", main, "-o", str(tmp_path / "driver.o")]]
    isas = _build.compilable_isas("aarch64")
    commands = _build._commands(compiler, tmp_path, tmp_path, targets.FLAGS, isas)
    tasks += [one for one in commands if not one[-1].endswith("ffi_handlers.o")]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(_build._run, tasks))
    program = str(tmp_path / "driver")
    _build._run([*compiler, "-static", "-s", *(task[-1] for task in tasks), "-o", program])
    out = native_builds.said("qemu-aarch64-static", program, 300, 1, 2)
    assert out == "300 problems, right with baseline\n"
