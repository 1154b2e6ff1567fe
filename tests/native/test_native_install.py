"""Compiling, finding and refusing the library of kernels."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support import command, native_builds

from jaxgroups import _native as native
from jaxgroups._native import build as _build

MISSING = native.status().missing
needs_kernels = pytest.mark.skipif(MISSING is not None, reason=f"NO KERNELS to load: {MISSING}")
INSTALL = "install a C++ compiler (g++ or clang++) and run: python -m jaxgroups._native.build"
NO_COMPILER = "no C++ compiler was found: install g++ or clang++, or set $CXX"


def touching(folder):
    """A compiler that makes what it is asked for, of no use."""
    script = folder / "c++"
    script.write_text('#!/bin/sh\nfor last; do :; done\necho made > "$last"\n')
    script.chmod(0o755)
    return str(script)


def no_compiler(monkeypatch):
    monkeypatch.setenv("CXX", " ")
    monkeypatch.setattr(_build.shutil, "which", lambda name: None)


def no_headers(monkeypatch):
    monkeypatch.setenv("CXX", "false")
    monkeypatch.setattr(_build.importlib.util, "find_spec", lambda name: None)


def not_posix(monkeypatch):
    monkeypatch.setattr(_build.os, "name", "nt")


REFUSED = {
    no_compiler: NO_COMPILER,
    no_headers: "jaxlib, whose headers are needed, is not installed",
    not_posix: "the kernels are built on Linux and macOS only",
}


@pytest.mark.parametrize("lacking", REFUSED)
def test_what_a_build_lacks_is_told(monkeypatch, tmp_path, lacking):
    target = tmp_path / "made" / "library.so"
    with monkeypatch.context() as context, pytest.raises(_build.BuildError) as caught:
        lacking(context)
        _build.build(target)
    assert str(caught.value) == REFUSED[lacking]
    assert not target.parent.exists()


@pytest.mark.slow
def test_the_handlers_compile_with_the_headers_of_this_jaxlib():
    """All that is XLA's; the library itself serves several versions, so it is compiled with one."""
    words = native_builds.command("", "-fsyntax-only", "-isystem", str(_build.find_headers()))
    native_builds.compiled(
        [
            *words,
            '-DJG_SOURCES="none"',
            "-I",
            str(_build.SOURCES),
            str(_build.SOURCES / "ffi" / "ffi_handlers.cc"),
        ]
    )


def test_a_failed_build_leaves_what_was_there(monkeypatch, tmp_path):
    target = tmp_path / "library.so"
    target.write_text("older")
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(_build.BuildError, match=r"^false -std=c\+\+17 -O3 "):
        _build.build(target)
    monkeypatch.setenv("CXX", str(tmp_path / "absent"))
    with pytest.raises(_build.BuildError, match=r"^the C\+\+ compiler .*absent does not run: "):
        _build.build(target)
    assert [path.name for path in tmp_path.iterdir()] == ["library.so"]
    assert target.read_text() == "older"


def test_the_library_appears_whole(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", f"{touching(tmp_path)} -DSPOKEN='by shells'")
    target = tmp_path / "made" / "library.so"
    assert _build.build(target) == target
    assert [path.name for path in target.parent.iterdir()] == ["library.so"]


ISAS = {
    None: ["avx512", "baseline"],
    "": ["avx512", "baseline"],
    "host": ["avx512", "baseline"],
    "all": ["avx512", "avx2", "baseline"],
    "avx2": ["avx2", "baseline"],
    "baseline": ["baseline"],
    "avx2, avx512": ["avx512", "avx2", "baseline"],
}


@pytest.mark.parametrize("wanted", ISAS)
def test_which_instruction_sets_are_compiled(monkeypatch, wanted):
    monkeypatch.setattr(_build.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(_build, "host_isas", lambda: ["avx512", "baseline"])
    monkeypatch.delenv("JAXGROUPS_NATIVE_ISAS", raising=False)
    if wanted is not None:
        monkeypatch.setenv("JAXGROUPS_NATIVE_ISAS", wanted)
    assert _build.chosen_isas() == ISAS[wanted]


def test_an_unknown_instruction_set_is_an_error(monkeypatch):
    monkeypatch.setattr(_build.platform, "machine", lambda: "x86_64")
    monkeypatch.setenv("JAXGROUPS_NATIVE_ISAS", "avx2,sse9")
    with pytest.raises(_build.BuildError) as caught:
        _build.chosen_isas()
    valid = "host, all, avx512, avx2, baseline"
    assert str(caught.value) == f"JAXGROUPS_NATIVE_ISAS has 'sse9', which is not one of {valid}"


AVX2 = "avx2 bmi1 bmi2 fma"
FLAGS = {
    f"flags : fpu {AVX2} avx512f avx512vl avx512dq avx512bw\n": ["avx512", "baseline"],
    f"flags : fpu {AVX2} avx512f avx512vl\n": ["avx2", "baseline"],
    "processor : 0\nflags : fpu avx2 fma\n": ["baseline"],
    "Features : asimd\n": ["avx512", "avx2", "baseline"],
    None: ["avx512", "avx2", "baseline"],
}


@pytest.mark.parametrize("flags", FLAGS)
def test_the_instruction_sets_of_this_processor(monkeypatch, tmp_path, flags):
    monkeypatch.setattr(_build.platform, "machine", lambda: "x86_64")
    if flags is not None:
        (tmp_path / "cpuinfo").write_text(flags)
    assert _build.host_isas(tmp_path / "cpuinfo") == FLAGS[flags]
    readable = flags is not None and flags.startswith(("flags", "processor"))
    assert _build.widest_isa(tmp_path / "cpuinfo") == (FLAGS[flags][0] if readable else None)


@needs_kernels
def test_a_library_without_this_processor_s_instructions_warns(monkeypatch):
    """As where an environment was made on another processor: it works, and says that it is slow."""
    found = native.status()
    monkeypatch.setattr(_build, "widest_isa", lambda: "sse9")
    text = "has no sse9 kernels, which this processor can run: convolutions use the slower "
    with pytest.warns(UserWarning, match=text + found.instruction_sets[0]):
        assert status_of(monkeypatch, found.path) == found


def test_a_build_goes_to_the_cache_where_the_package_cannot_be_written(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv("CXX", touching(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    package, cache = native.places()
    assert package == Path(native.__file__).with_name("_kernels.so")
    assert cache == tmp_path / "cache" / "jaxgroups" / _build.source_hash() / "_kernels.so"
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(_build, "places", lambda: (tmp_path / "file" / "_kernels.so", cache))
    assert _build.main([]) == 0
    isas = ", ".join(_build.chosen_isas())
    assert capsys.readouterr().out == f"built {cache} with {isas} instructions\n"
    monkeypatch.setattr(_build, "places", lambda: (tmp_path / "file" / "_kernels.so",))
    assert _build.main([]) == 1
    assert capsys.readouterr().err.startswith("jaxgroups: [Errno ")


def test_the_command_says_what_is_missing(monkeypatch, tmp_path, capsys):
    no_compiler(monkeypatch)
    monkeypatch.setattr(_build, "places", lambda: (tmp_path / "_kernels.so",))
    assert _build.main([]) == 1
    assert capsys.readouterr() == ("", f"jaxgroups: {NO_COMPILER}\n")
    usage = "usage: python -m jaxgroups._native.build [--wheel TARGET [FOLDER]]\n"
    for wrong in (["build"], ["--wheel"], ["--wheel", "a", "b", "c"]):
        assert _build.main(wrong) == 2
        assert capsys.readouterr() == ("", usage)


def status_of(monkeypatch, *paths):
    """What is found where the library is looked for there."""
    monkeypatch.delenv("JAXGROUPS_NATIVE", raising=False)
    monkeypatch.setattr(native, "places", lambda: paths)
    return native.find()


def test_without_a_library_the_reason_says_what_to_do(monkeypatch, tmp_path):
    found = status_of(monkeypatch, tmp_path / "absent.so")
    assert found == native.Status(f"the kernels are not compiled: {INSTALL}")


@needs_kernels
def test_a_library_of_other_sources_is_refused(monkeypatch):
    monkeypatch.setattr(_build, "source_hash", lambda: "0123456789abcdef")
    path = native.places()[0]
    path = path if path.is_file() else native.status().path
    text = f"{path} is not usable: it was compiled from other sources; {INSTALL}"
    assert status_of(monkeypatch, path) == native.Status(text)


def test_what_is_no_library_is_passed_over(monkeypatch, tmp_path):
    broken = tmp_path / "broken.so"
    broken.write_text("made")
    found = status_of(monkeypatch, broken)
    assert found.missing.startswith(f"{broken} is not usable: {broken}: ")
    foreign = Path(np.random.bit_generator.__file__)  # a library, of something else
    assert "jaxgroups_sources" in status_of(monkeypatch, broken, foreign).missing
    if MISSING is None:
        assert status_of(monkeypatch, broken, foreign, native.status().path) == native.status()


LOAD = """
import os, sys, warnings
from pathlib import Path
os.environ["JAXGROUPS_NATIVE"] = "0"  # the import does not look for the library
from jaxgroups import _native as native
del os.environ["JAXGROUPS_NATIVE"]
native.places = lambda: (Path(sys.argv[1]),)
native.register()
warnings.simplefilter("ignore")
print(native.status().missing)
import jax, jax.numpy as jnp, jaxgroups as jg
assert jg.conv1d(jnp.ones((1, 8, 9)), jnp.ones((8, 1, 3)), groups=8).shape == (1, 8, 7)
"""


@pytest.mark.parametrize("version", [(99, 0), (0, 99), (0, 0)])
def test_a_library_for_another_ffi_version_is_refused_and_xla_computes(tmp_path, version):
    """In a process where the backend is not up yet: it must come up all the same."""
    headers = _build.find_headers()
    if headers is None:
        pytest.skip("this jaxlib has no headers")
    if "XLA_FFI_Extension_Base" not in (headers / "xla/ffi/api/c_api.h").read_text():
        pytest.skip("the stub is written for the headers that the wheel is built with, jaxlib 0.10")
    library = tmp_path / "stub.so"
    flags = f"-shared -fPIC -DJG_MAJOR={version[0]} -DJG_MINOR={version[1]}"
    source = str(native_builds.HERE / "native_stub.cc")
    hashed = f'-DJG_SOURCES="{_build.source_hash()}"'
    words = native_builds.command("", *flags.split(), hashed, "-isystem", str(headers))
    subprocess.run([*words, source, "-o", str(library)], check=True)
    environment = {k: v for k, v in os.environ.items() if k != "JAXGROUPS_NATIVE"}
    done = command.python("-c", LOAD, str(library), env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{library} is not usable: ")
    assert f"API version ({version[0]}.{version[1]}) is incompatible" in done.stdout
    assert done.stdout.endswith(f"; {INSTALL}\n")
