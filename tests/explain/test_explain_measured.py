"""Measured times in `explain`: what is timed, the limits beside it, the table, the refusals."""

import json
import re

import jax
import pytest
from flax import nnx
from support.command import run
from support.messages import error_test
from support.schema_checks import validated

import jaxgroups as jg
from jaxgroups import nnx as jnn
from jaxgroups._explain import measure

TEXT = "conv2d in=4 out=6 kernel=3 groups=2 batch=1 size=8x9"


class Net(nnx.Module):
    """A convolution called twice, one of Flax, and layers that are not timed."""

    def __init__(self, rngs):
        self.twice = jnn.Conv2d(4, 4, 3, padding=1, groups=2, rngs=rngs)
        self.flax = nnx.Conv(4, 6, (3, 3), rngs=rngs)
        self.norm = jnn.BatchNorm2d(6)

    def __call__(self, x):
        return self.norm(self.flax(self.twice(self.twice(x))))


@pytest.fixture
def fixed(monkeypatch):
    """2 ms for every convolution, of which the limits would allow 0.5 ms; what was asked for."""
    asked = []

    def measured(spec, implementation, flops, moved):
        asked.append((str(spec), implementation, flops, moved))
        return measure.Measured(2e-3, 5e-4)

    monkeypatch.setattr(measure, "measured", measured)
    return asked


def test_a_convolution_is_timed():
    found = jg.explain(TEXT, measure=True)
    assert found.seconds > 0
    of = measure.limits("float32")
    assert found.limit_seconds == max(found.flops_inside / of.flops, found.bytes_moved / of.bytes)
    assert re.search(
        r"\n  time           [\d.e-]+ ms; this machine allows [\d.e-]+ ms \(\d+%\)\n", str(found)
    )
    plain = jg.explain(TEXT)
    assert (plain.seconds, plain.limit_seconds) == (None, None)
    assert "time " not in str(plain)


def test_the_limits_have_a_plausible_order():
    """A wrong count of operations or bytes would be off by a factor of 1000."""
    of = measure.limits("float32")
    assert 1e8 < of.flops < 1e15
    assert 1e8 < of.bytes < 1e14
    assert measure.limits("float32") is of


@pytest.mark.parametrize("implementation", ["shift", "matmul", "xla", None])
def test_the_implementation_that_is_asked_for_runs(monkeypatch, implementation):
    ran = []
    compute = measure.primitive.compute

    def spied(problem, lhs, rhs, implementation):
        ran.append((problem.lhs_shape, implementation))
        return compute(problem, lhs, rhs, implementation)

    monkeypatch.setattr(measure.primitive, "compute", spied)
    jg.explain(TEXT, implementation=implementation, measure=True)
    assert ran == [((1, 4, 8, 9), implementation)]


def test_without_floating_point_there_is_no_limit():
    found = jg.explain(f"{TEXT} dtype=int32", measure=True)
    assert found.seconds > 0
    assert found.limit_seconds is None
    assert "ms; this machine" not in str(found)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_other_dtypes(dtype):
    """float64 also where JAX computes float32 by default."""
    with jax.enable_x64(False):
        found = jg.explain(f"{TEXT} dtype={dtype}", measure=True)
    assert found.seconds > 0
    assert found.limit_seconds > 0


def test_the_convolutions_of_a_model(fixed):
    found = jg.explain(Net(nnx.Rngs(0)), (1, 8, 9, 4), measure=True)
    rows = {row.path: row for row in found.layers}
    assert (rows["twice"].calls, rows["twice"].seconds) == (2, 4e-3)
    assert rows["twice"].limit_seconds == 1e-3
    assert (rows["flax"].seconds, rows["norm"].seconds) == (2e-3, None)
    # of one call: 2 x 4 x 2 multiply-adds for each tap inside; input, weight, bias and output
    taps = (8 * 3 - 2) * (9 * 3 - 2)
    one = (2 * 4 * 2 * taps, 4 * (2 * 8 * 9 * 4 + 4 * 2 * 9 + 4))
    assert {asked[2:] for asked in fixed if "out=4" in asked[0]} == {one}
    assert {asked[1] for asked in fixed if "out=6" in asked[0]} == {"xla"}
    assert len(fixed) == 2  # each spec once
    text = found.text(width=300)
    head, *lines = text.splitlines()
    assert head.split()[-3:] == ["ms", "of", "limit"]
    assert next(line for line in lines if line.startswith("twice")).split()[-2:] == ["4", "25%"]
    assert next(line for line in lines if line.startswith("total")).split()[-1] == "6"
    assert "ms: convolutions alone" in text
    plain = jg.explain(Net(nnx.Rngs(0)), (1, 8, 9, 4)).text(width=300)
    assert "of limit" not in plain


def test_the_command(capsys, fixed):
    code, out, _ = run(capsys, "explain", TEXT, "--measure", "--json")
    assert code == 0
    found = validated(out, "explain")
    assert (found["seconds"], found["limit_seconds"]) == (2e-3, 5e-4)


def test_models_in_json(fixed):
    found = jg.explain(Net(nnx.Rngs(0)), (1, 8, 9, 4), measure=True).as_dict()
    assert validated(json.dumps(found), "explain") == json.loads(json.dumps(found))


HERE = jax.default_backend()
MODEL = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
PLATFORM = (
    f"measure=True runs the convolutions on {HERE}, JAX's default backend, but got platform='tpu'"
)
ERRORS = [
    (lambda: jg.explain(TEXT, platform="tpu", measure=True), ValueError, PLATFORM),
    (
        lambda: jg.explain(MODEL, (1, 2), platform="tpu", measure=True),
        ValueError,
        PLATFORM,
    ),
    (
        lambda: jg.explain("conv2d in=4 out=6 kernel=3 groups=2", measure=True),
        ValueError,
        "measure=True needs the size of the input: add size= to conv2d in=4 out=6 kernel=3 "
        "groups=2",
    ),
    (
        lambda: jg.explain("net.safetensors", measure=True),
        ValueError,
        "a checkpoint has tensors, and no convolutions that could be timed: 'net.safetensors'",
    ),
]
test_errors = error_test(ERRORS)
