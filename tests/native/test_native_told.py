"""What ``doctor`` and ``explain`` say of the compiled kernels, with and without them."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from support import command

import jaxgroups as jg
from jaxgroups import _native as native
from jaxgroups._native import build as _build
from jaxgroups._native import huge_pages as memory
from jaxgroups._problem import ynnpack

SPEC = "conv2d in=64 out=64 kernel=3 padding=1 groups=32 batch=2 size=28"


@pytest.fixture
def last_line(monkeypatch):
    """What the doctor says of memory, after the kernels: not of the machine that runs the test."""
    monkeypatch.setattr(ynnpack, "faults", list)
    monkeypatch.setattr(memory, "examine", lambda: memory.Memory("huge", "so it is"))
    return "transparent huge pages: on (so it is)"


def test_the_doctor_tells_of_the_kernels(monkeypatch, capsys, last_line):
    path = Path("somewhere/_kernels.so")
    for sets, words in {("avx2", "baseline"): "avx2", ("baseline",): "baseline"}.items():
        found = native.Status(None, path, sets)
        monkeypatch.setattr(native, "status", lambda found=found: found)
        status, out, err = command.run(capsys, "doctor")
        assert (status, err) == (0, "")
        also = ", ".join(sets[1:]) or "-"
        ready = f"compiled kernels: ready, with {words} instructions (also {also})"
        assert out.splitlines()[2:] == [ready, f"  {path}", last_line]


@pytest.mark.usefixtures("without_kernels")
@pytest.mark.parametrize("compiler", ["g++-13", None])
def test_the_doctor_tells_what_is_missing(monkeypatch, capsys, compiler, last_line):
    monkeypatch.setattr(_build, "find_compiler", lambda: compiler and [compiler, "-O"])
    status, out, err = command.run(capsys, "doctor")
    assert (status, err) == (0, "")
    assert f"jax {jax.__version__}" in out.splitlines()[0]
    assert out.splitlines()[2:] == [
        "compiled kernels: none: the kernels are not compiled",
        f"  C++ compiler: {compiler or 'not found'}",
        "  without them, grouped convolutions on a CPU use XLA's operations, which are slower",
        last_line,
    ]


@pytest.mark.usefixtures("without_kernels")
def test_explain_names_the_reason(capsys):
    found = jg.explain(SPEC, platform="cpu")
    assert found.implementation != "native"
    assert found.refused["native"] == "the kernels are not compiled"
    _, out, _ = command.run(capsys, "explain", SPEC)
    assert "  not native     the kernels are not compiled\n" in out


@pytest.mark.usefixtures("with_kernels")
def test_explain_names_the_kernels(capsys):
    assert jg.explain(SPEC, platform="cpu").implementation == "native"
    _, out, _ = command.run(capsys, "explain", SPEC)
    assert "  implementation native on cpu: C++ kernels through XLA's FFI\n" in out
    assert "XLA's cost_analysis() counts as -1: take the FLOPs above\n" in out


@pytest.mark.usefixtures("without_kernels")
def test_explain_does_not_speak_of_kernels_that_are_not_used(capsys):
    _, out, _ = command.run(capsys, "explain", SPEC)
    assert "cost_analysis" not in out


@pytest.mark.skipif(native.status().missing is not None, reason="NO KERNELS to count")
@pytest.mark.usefixtures("flax_promotion")
def test_flax_s_table_counts_the_kernels_as_minus_one():
    """As `explain` says: XLA has no table of the costs of custom calls."""
    x = jnp.ones((2, 28, 28, 64), jnp.float32)

    def flops(implementation):
        layer = jg.nnx.Conv2d(
            64,
            64,
            3,
            padding=1,
            groups=32,
            bias=False,
            implementation=implementation,
            rngs=nnx.Rngs(0),
        )
        return jax.jit(layer).lower(x).cost_analysis()["flops"]

    assert flops("native") < 0
    assert flops("xla") == jg.explain(SPEC, platform="cpu").flops_inside
