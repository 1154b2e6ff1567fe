"""What ``doctor`` and ``explain`` say of the compiled kernels, with and without them."""

from pathlib import Path

import command
import jax
import pytest

import jaxgroups as jg
from jaxgroups import native
from jaxgroups.native import _build

SPEC = "conv2d in=64 out=64 kernel=3 padding=1 groups=32 batch=2 size=28"


def test_the_doctor_tells_of_the_kernels(monkeypatch, capsys):
    path = Path("somewhere/_kernels.so")
    for sets, words in {("avx2", "baseline"): "avx2", ("baseline",): "baseline"}.items():
        found = native.Status(None, path, sets)
        monkeypatch.setattr(native, "status", lambda found=found: found)
        status, out, err = command.run(capsys, "doctor")
        assert (status, err) == (0, "")
        also = ", ".join(sets[1:]) or "-"
        ready = f"compiled kernels: ready, with {words} instructions (also {also})"
        assert out.splitlines()[2:4] == [ready, f"  {path}"]


@pytest.mark.usefixtures("without_kernels")
@pytest.mark.parametrize("compiler", ["g++-13", None])
def test_the_doctor_tells_what_is_missing(monkeypatch, capsys, compiler):
    monkeypatch.setattr(_build, "find_compiler", lambda: compiler and [compiler, "-O"])
    status, out, err = command.run(capsys, "doctor")
    assert (status, err) == (0, "")
    assert f"jax {jax.__version__}" in out.splitlines()[0]
    assert out.splitlines()[2:5] == [
        "compiled kernels: none: the kernels are not compiled",
        f"  C++ compiler: {compiler or 'not found'}",
        "  without them, grouped convolutions on a CPU use XLA's operations, which are slower",
    ]


@pytest.mark.usefixtures("without_kernels")
def test_explain_names_the_reason(capsys):
    found = jg.explain(SPEC, platform="cpu")
    assert found.implementation != "native"
    assert found.refused["native"] == "the kernels are not compiled"
    _, out, _ = command.run(capsys, "explain", SPEC)
    assert "  not native  the kernels are not compiled\n" in out


@pytest.mark.usefixtures("with_kernels")
def test_explain_names_the_kernels(capsys):
    assert jg.explain(SPEC, platform="cpu").implementation == "native"
    _, out, _ = command.run(capsys, "explain", SPEC)
    assert "  lowering    native on cpu: C++ kernels through XLA's FFI\n" in out
