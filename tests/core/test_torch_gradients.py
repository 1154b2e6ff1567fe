"""Gradients in input, weight and bias against torch's autograd, exact in float64."""

import jax
import numpy as np
import pytest
from support.cases import CASES, TRANSPOSED_GRID
from support.helpers import (
    arrays,
    assert_same,
    from_same,
    run,
    to_first,
    to_last,
    weight_to_last,
    whole,
)
from support.torch_bridge import convolve, to_numpy, to_torch

from jaxgroups._op import functional

EMPTY = [name for name, spec in CASES.items() if 0 in spec.batch]
THIN = TRANSPOSED_GRID[::3]
LAST = [name for name, spec in CASES.items() if name not in EMPTY and from_same(spec)]
SPECS = [
    *(pytest.param(spec, id=name) for name, spec in CASES.items() if name not in EMPTY),
    *(pytest.param(spec, id=str(spec)) for spec in THIN),
]


def operands(rng, spec):
    """What the gradient is taken in, and a cotangent of the output's shape."""
    given = [a for a in arrays(rng, spec) if a is not None]
    return given, whole(rng, spec.output_shape)


def of_jax(spec, given, cotangent, **how):
    def forward(x, weight, bias=None):
        if from_same(spec):
            return run(spec, x, weight, bias, **how)
        return functional.apply(spec.with_input(x.shape, x.dtype.name), x, weight, bias)

    @jax.jit
    def gradients(given, cotangent):
        return jax.vjp(forward, *given)[1](cotangent)

    return gradients(given, cotangent)


def of_torch(spec, given, cotangent):
    leaves = [to_torch(a).requires_grad_() for a in given]
    convolve(spec, *leaves).backward(to_torch(cotangent))
    return [to_numpy(leaf.grad) for leaf in leaves]


@pytest.mark.parametrize("spec", SPECS)
def test_gradients_are_autograds(rng, spec):
    given, cotangent = operands(rng, spec)
    expected = of_torch(spec, given, cotangent)
    assert len(expected) == 2 + spec.bias
    for ours, theirs in zip(of_jax(spec, given, cotangent), expected, strict=True):
        assert_same(ours, theirs)


@pytest.mark.parametrize("name", LAST)
def test_gradients_channels_last(rng, name):
    """The same operands as channels_last keeps them; the gradients come in that layout too."""
    spec = CASES[name]
    (x, weight, *bias), cotangent = operands(rng, spec)
    x_grad, weight_grad, *bias_grad = of_torch(spec, [x, weight, *bias], cotangent)
    actual = of_jax(
        spec,
        [to_last(x, spec.rank), weight_to_last(weight), *bias],
        to_last(cotangent, spec.rank),
        data_format="channels_last",
    )
    assert_same(to_first(actual[0], spec.rank), x_grad)
    assert_same(actual[1], weight_to_last(weight_grad))
    for ours, theirs in zip(actual[2:], bias_grad, strict=True):
        assert_same(ours, theirs)


@pytest.mark.parametrize("name", EMPTY)
def test_no_examples_no_gradient(rng, name):
    given, cotangent = operands(rng, CASES[name])
    expected = of_torch(CASES[name], given, cotangent)
    assert [g.shape for g in expected] == [a.shape for a in given]
    for ours, theirs in zip(of_jax(CASES[name], given, cotangent), expected, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs, strict=True)
        assert not np.any(ours)


def test_grid_is_thinned_not_gutted():
    """Every rank, channel split, stride, padding, dilation and output padding is still there."""
    axes = ("rank", "in_channels", "stride", "padding", "dilation", "output_padding")
    for axis in axes:
        assert {getattr(s, axis) for s in THIN} == {getattr(s, axis) for s in TRANSPOSED_GRID}
