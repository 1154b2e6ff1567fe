"""Pooling: torch's samples, ties, NaN, indices, gradients, layouts and errors."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import opinfo, transformed
from support.helpers import to_last
from support.messages import error_test
from support.torch_bridge import to_numpy, to_torch, torch

import jaxgroups as jg
from jaxgroups import nnx as jnn

POOLS = [f"{kind}_pool{rank}d" for kind in ("max", "avg", "lp") for rank in (1, 2, 3)]
EVERY = {"max_pool1d": 107, "max_pool2d": 179, "max_pool3d": 71}  # of 864, 1440 and 576 samples
IN_CORPUS = [name for name in POOLS if not name.startswith("lp")]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "int64"])
@pytest.mark.parametrize("name", IN_CORPUS)
def test_samples(name, dtype):
    if getattr(torch, dtype) not in opinfo.info(name).dtypes:
        pytest.skip(f"torch has no {name} of {dtype}")
    every = EVERY.get(name, 1) * (1 if dtype == "float64" else 2)
    found = opinfo.samples(name, dtype, every=every)
    assert found
    for sample in found:
        opinfo.assert_equal_to_torch(getattr(jg, name), name, sample, dtype)


@pytest.mark.parametrize("name", IN_CORPUS)
def test_what_torch_refuses_is_refused(name):
    for sample, _, _ in opinfo.refused(name):
        opinfo.assert_refused(getattr(jg, name), sample)


def values_with_ties(rng, shape):
    """Few distinct values, rows of -inf, and NaN."""
    x = rng.integers(0, 4, shape).astype("float64")
    x[rng.random(shape) < 0.3] = -np.inf
    x[rng.random(shape) < 0.02] = np.nan
    return x


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(("padding", "dilation", "ceil_mode"), [*product((0, 1), (1, 2), (0, 1))])
def test_ties_nan_and_infinities(rng, rank, padding, dilation, ceil_mode):
    """Values, indices and gradient; torch takes the first greatest element and the last NaN."""
    x = values_with_ties(rng, (2, 3, 11, 8, 7)[: rank + 2])
    name, how = f"max_pool{rank}d", ((3, 2, 4)[:rank], 2, padding, dilation, bool(ceil_mode))
    tensor = to_torch(x).requires_grad_()
    values, indices = getattr(torch.nn.functional, name)(tensor, *how, return_indices=True)

    def pool(x):
        return getattr(jg, name)(x, *how, return_indices=True)

    got, pullback, places = jax.vjp(pool, jnp.asarray(x), has_aux=True)
    np.testing.assert_array_equal(got, to_numpy(values))
    np.testing.assert_array_equal(places, to_numpy(indices))
    cotangent = rng.integers(1, 9, got.shape).astype("float64")
    values.backward(to_torch(cotangent))
    np.testing.assert_array_equal(pullback(cotangent)[0], to_numpy(tensor.grad))


@pytest.mark.parametrize("kernel", [9, 40])
def test_windows_too_large_to_unroll(rng, kernel):
    x = values_with_ties(rng, (2, 3, 90, 41))
    tensor = to_torch(x).requires_grad_()
    expected = torch.nn.functional.max_pool2d(tensor, kernel, 3)
    got, pullback = jax.vjp(lambda x: jg.max_pool2d(x, kernel, 3), jnp.asarray(x))
    np.testing.assert_array_equal(got, to_numpy(expected))
    cotangent = rng.integers(1, 9, got.shape).astype("float64")
    expected.backward(to_torch(cotangent))
    np.testing.assert_array_equal(pullback(cotangent)[0], to_numpy(tensor.grad))


@pytest.mark.parametrize("kernel", [3, 9])
@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_a_window_of_the_size_of_a_padded_input(rng, name, kernel):
    x = rng.integers(1, 50, (2, 3, kernel, kernel)).astype("float64")
    for stride in (1, kernel):
        expected = to_numpy(getattr(torch.nn.functional, name)(to_torch(x), kernel, stride, 1))
        np.testing.assert_allclose(getattr(jg, name)(x, kernel, stride, 1), expected, rtol=1e-14)


@pytest.mark.parametrize(("kernel", "stride"), [(90, 90), (100, 7)])
def test_long_windows_keep_nan(rng, kernel, stride):
    """XLA's own reduction loses them where windows do not overlap."""
    x = values_with_ties(rng, (3, 5, 700))
    x[:, 1:] = np.where(np.isnan(x[:, 1:]), 1.0, x[:, 1:])  # in some rows only
    expected = to_numpy(torch.nn.functional.max_pool1d(to_torch(x), kernel, stride))
    assert 0 < np.isnan(expected).sum() < expected.size
    np.testing.assert_array_equal(jg.max_pool1d(x, kernel, stride), expected)


@pytest.mark.parametrize("name", POOLS)
def test_layers_are_channels_last_with_any_batch(rng, name):
    """The layer on (2, 5, *spatial, C) is the function on each of the ten, channels first."""
    kind, rank = name.split("_")[0], int(name[-2])
    x = rng.integers(1, 50, (10, 3, 9, 8, 7)[: rank + 2]).astype("float64")
    first = (2.0,) if kind == "lp" else ()
    cls = {"max": "MaxPool", "avg": "AvgPool", "lp": "LPPool"}[kind] + f"{rank}d"
    theirs = getattr(torch.nn, cls)(*first, 3, 2, ceil_mode=True)
    expected = to_last(to_numpy(theirs(to_torch(x))), rank)
    layer = getattr(jnn, cls)(*first, 3, 2, ceil_mode=True)
    last = to_last(x, rank)
    got = layer(last.reshape(2, 5, *last.shape[1:]))
    np.testing.assert_allclose(got.reshape(expected.shape), expected, rtol=1e-14)
    assert repr(layer).startswith(f"{cls}({'norm_type=2.0, ' if first else ''}kernel_size=3")


@pytest.mark.parametrize("kind", transformed.KINDS)
@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d", "lp_pool2d"])
def test_transformations(rng, name, kind):
    x = jnp.asarray(rng.permutation(1.0 + np.arange(2 * 7 * 5)).reshape(2, 7, 5))
    first = (3.0,) if name == "lp_pool2d" else ()

    def ours(x):
        return getattr(jg, name)(x, *first, 3, 2)

    def theirs(x):
        return getattr(torch.nn.functional, name)(x, *first, 3, 2)

    transformed.assert_transforms(rng, kind, ours, theirs, x)


X = np.ones((2, 3, 7, 6), "float32")
ERRORS = [
    (
        lambda: jg.max_pool2d(X, (2, 2, 2)),
        ValueError,
        "max_pool2d: kernel_size must either be a single int, or a tuple of two ints: "
        "got kernel_size=(2, 2, 2)",
    ),
    (
        lambda: jg.avg_pool2d(X, 2, (1, 1, 1)),
        ValueError,
        "avg_pool2d: stride must either be omitted, a single int, or a tuple of two ints: "
        "got stride=(1, 1, 1)",
    ),
    (
        lambda: jg.max_pool2d(X, 2, padding=2),
        ValueError,
        "pad should be at most half of effective kernel size: max_pool2d() got "
        "kernel_size=(2, 2), stride=(2, 2), padding=(2, 2), dilation=(1, 1)",
    ),
    (
        lambda: jg.max_pool2d(X, 2.5),
        TypeError,
        "max_pool2d(): argument 'kernel_size' must be tuple of ints, not float: "
        "got kernel_size=2.5, give one int or one int an axis",
    ),
    (
        lambda: jg.max_pool2d(X, 9),
        ValueError,
        "Given input size: (3x7x6). Calculated output size: (3x0x0). Output size is too small: "
        "max_pool2d() with kernel_size=(9, 9), padding=(0, 0), dilation=(1, 1)",
    ),
    (
        lambda: jg.avg_pool2d(X, 2, divisor_override=0),
        ValueError,
        "divisor must be not zero: avg_pool2d() got divisor_override=0",
    ),
    (
        lambda: jg.max_pool2d(X[None], 2),
        ValueError,
        "max_pool2d: Expected 3D or 4D (batch mode) tensor with optional 0 dim batch size for "
        "input, but got: [1, 2, 3, 7, 6] with data_format='channels_first'; give "
        "data_format='channels_last' for more batch axes",
    ),
    (
        lambda: jg.max_pool2d(X > 0, 2),
        TypeError,
        '"max_pool2d" not implemented for bool: an order is needed',
    ),
    (
        lambda: jg.max_pool2d(X, 2, data_format="NHWC"),
        ValueError,
        "max_pool2d(): data_format must be 'channels_first' or 'channels_last', got 'NHWC'",
    ),
]


test_errors = error_test(ERRORS)


POOLS_TWICE = {
    "padded": lambda y, **how: jg.max_pool2d(y, (2, 2), (2, 1), (0, 1), **how),
    "whole": lambda y, **how: jg.max_pool2d(y, 2, **how),
    "adaptive": lambda y, **how: jg.adaptive_max_pool2d(y, (3, 5), **how),
}


@pytest.mark.parametrize("pool", POOLS_TWICE.values(), ids=POOLS_TWICE)
def test_the_element_is_found_in_what_xla_computes_several_times(pool, rng):
    """XLA fuses what the pool reads into each of its readers, and may round it in several ways."""
    x = jnp.asarray(rng.standard_normal((3, 4, 10, 12)))
    scale, shift = rng.standard_normal((2, 12))[:, None, None, None]
    weight = rng.standard_normal((2, 2, 12, 16))

    def normed(x):
        mean, var = x.mean((0, 1, 2), keepdims=True), x.var((0, 1, 2), keepdims=True)
        y = (x - mean) / jnp.sqrt(var + 1e-5) * scale + shift
        return jnp.where(y > 0, y, 0.2 * y)

    def total(x):
        y = pool(normed(x), data_format="channels_last")
        y = jg.conv2d(y, weight, data_format="channels_last")
        return (y * jnp.cos(y)).sum()

    def places(x):
        return pool(normed(x), data_format="channels_last", return_indices=True)

    expected = jax.grad(total)(x)
    np.testing.assert_allclose(jax.jit(jax.grad(total))(x), expected, rtol=1e-9, atol=1e-12)
    for ours, theirs in zip(jax.jit(places)(x), places(x), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("name", ["avg_pool1d", "lp_pool1d", "max_pool1d"])
def test_long_windows_have_a_gradient_under_jit(rng, name):
    x = rng.integers(1, 50, (2, 3, 300)).astype("float64")
    arguments = (2.0, 100, 70) if name == "lp_pool1d" else (100, 70)
    tensor = to_torch(x).requires_grad_()
    getattr(torch.nn.functional, name)(tensor, *arguments).square().sum().backward()
    gradient = jax.jit(jax.grad(lambda x: (getattr(jg, name)(x, *arguments) ** 2).sum()))(x)
    np.testing.assert_allclose(gradient, to_numpy(tensor.grad), rtol=1e-12)
