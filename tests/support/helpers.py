"""Data, layouts and comparisons for the tests. Functions that compare are called assert_*."""

from math import prod, sqrt

import jax.numpy as jnp
import numpy as np

import jaxgroups as jg
from jaxgroups._lowerings.views import view_of


def whole(rng, shape, dtype="float64", bound=9):
    """Random whole numbers in [-bound, bound], never 0: sums of their products stay exact."""
    values = rng.integers(1, bound + 1, shape) * rng.choice([-1, 1], shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * np.roll(values, 1)
    return np.asarray(values).astype(dtype)


def distinct(rng, shape, dtype="float64"):
    """A shuffled 1..n: all entries differ, so every permutation changes the array."""
    return rng.permutation(np.arange(1, prod(shape) + 1)).reshape(shape).astype(dtype)


def arrays(rng, spec, dtype="float64", make=whole):
    """x, weight, bias in torch's layout for a spec; bias is None without one."""
    x = make(rng, (*spec.batch, spec.in_channels, *spec.size), dtype)
    weight = make(rng, spec.torch_weight_shape, dtype)
    bias = make(rng, (spec.out_channels,), dtype) if spec.bias else None
    return x, weight, bias


def arguments(spec):
    """Keyword arguments of the function of a spec; uneven padding as 'same'."""
    uneven = any(lo != hi for lo, hi in spec.padding)
    kw = {
        "stride": spec.stride,
        "padding": "same" if uneven else tuple(lo for lo, _ in spec.padding),
        "dilation": spec.dilation,
        "groups": spec.groups,
    }
    if spec.transposed:
        return kw | {"output_padding": spec.output_padding}
    return kw | {"padding_mode": spec.padding_mode}


def from_same(spec):
    """Whether torch's arguments can express the padding of a spec (not a causal one)."""
    uneven = any(lo != hi for lo, hi in spec.padding)
    return not uneven or all(hi - lo in (0, 1) for lo, hi in spec.padding)


def run(spec, x, weight, bias=None, **how):
    """`jg.<op>` on arrays of torch's layout."""
    return getattr(jg, spec.op)(x, weight, bias, **arguments(spec), **how)


def to_last(array, rank):
    """(..., C, *spatial) -> (..., *spatial, C)."""
    return jnp.asarray(np.moveaxis(np.asarray(array), -rank - 1, -1))


def to_first(array, rank):
    return jnp.asarray(np.moveaxis(np.asarray(array), -1, -rank - 1))


def weight_to_last(weight):
    """Torch's weight in the layout of channels_last: axes (2.., 1, 0)."""
    return np.ascontiguousarray(np.transpose(weight, (*range(2, weight.ndim), 1, 0)))


def tolerance(dtype, terms, scale=1.0):
    """Bound on the error of a sum of `terms` products, each of size up to `scale`."""
    return 4 * float(jnp.finfo(dtype).eps) * sqrt(max(terms, 1)) * scale


def assert_same(actual, expected, atol=0.0):
    """Compare shape, dtype and values, bit by bit if atol is 0. Constant arrays are refused."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    assert actual.dtype == expected.dtype, f"dtype {actual.dtype}, expected {expected.dtype}"
    if expected.size > 3:
        assert len(np.unique(expected)) > 1, "a constant array does not show an error"
    if atol == 0.0:
        np.testing.assert_array_equal(actual, expected)
    else:
        np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)


def unsupported_reason(lowering, problem, platform="cpu"):
    """Why a lowering does not support a problem; None where it does."""
    return lowering.unsupported_reason(problem, view_of(problem), platform)
