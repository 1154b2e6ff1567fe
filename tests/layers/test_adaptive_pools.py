"""Adaptive pooling: torch's samples, uneven bins, ties, NaN, indices, gradients, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import opinfo, transformed
from support.helpers import distinct, to_last
from support.messages import error_test
from support.torch_bridge import to_numpy, to_torch, torch

import jaxgroups as jg
from jaxgroups import nnx as jnn

POOLS = [f"adaptive_{kind}_pool{rank}d" for kind in ("avg", "max") for rank in (1, 2, 3)]
SIZES = (11, 8, 7)
# uneven, even, larger than the input, and kept
OUTPUTS = [(4, 3, 5), (11, 4, 1), (13, None, 2), (1, 1, 1)]


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
@pytest.mark.parametrize("name", POOLS)
def test_samples(name, dtype):
    found = opinfo.samples(name, dtype, every=9 if "max" in name else 4)
    assert found
    for sample in found:
        opinfo.assert_equal_to_torch(getattr(jg, name), name, sample, dtype)


@pytest.mark.parametrize("name", POOLS)
def test_what_torch_refuses_is_refused(name):
    found = opinfo.refused(name)
    assert found
    for sample, _, _ in found:
        opinfo.assert_refused(getattr(jg, name), sample)


def theirs(name, x, output, cotangent=None, **kw):
    """torch's result, and with a cotangent the gradient."""
    tensor = to_torch(x).requires_grad_()
    result = getattr(torch.nn.functional, name)(tensor, output, **kw)
    if cotangent is None:
        return result
    (result[0] if isinstance(result, tuple) else result).backward(to_torch(cotangent))
    return to_numpy(tensor.grad)


def with_gradient(function, x, cotangent):
    """``function(x)``, a pair, and the gradient of its first value."""

    def run(x, cotangent):
        value, pullback, rest = jax.vjp(function, x, has_aux=True)
        return (value, rest), pullback(cotangent)[0]

    return jax.jit(run)(jnp.asarray(x), jnp.asarray(cotangent))


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_averages_of_uneven_bins(rng, rank, output):
    x = distinct(rng, (2, 3, *SIZES[:rank]))
    name, output = f"adaptive_avg_pool{rank}d", output[:rank]
    expected = theirs(name, x, output)
    cotangent = rng.integers(1, 9, expected.shape).astype("float64")
    got, gradient = with_gradient(lambda x: (getattr(jg, name)(x, output), None), x, cotangent)
    np.testing.assert_allclose(got[0], to_numpy(expected), rtol=1e-14)
    true = theirs(name, x, output, cotangent)
    np.testing.assert_allclose(gradient, true, rtol=1e-14)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_maxima_of_uneven_bins(rng, rank, output):
    """Values, indices and gradient with ties, -inf and NaN."""
    x = rng.integers(0, 4, (2, 3, *SIZES[:rank])).astype("float64")
    x[rng.random(x.shape) < 0.3] = -np.inf
    x[0, 0] = -np.inf
    x[rng.random(x.shape) < 0.03] = np.nan
    name, output = f"adaptive_max_pool{rank}d", output[:rank]
    values, indices = theirs(name, x, output, return_indices=True)
    cotangent = rng.integers(1, 9, values.shape).astype("float64")
    got, gradient = with_gradient(lambda x: getattr(jg, name)(x, output, True), x, cotangent)
    np.testing.assert_array_equal(got[0], to_numpy(values))
    np.testing.assert_array_equal(got[1], to_numpy(indices))
    true = theirs(name, x, output, cotangent, return_indices=True)
    np.testing.assert_array_equal(gradient, true)


@pytest.mark.parametrize("name", ["adaptive_avg_pool2d", "adaptive_max_pool2d"])
def test_an_output_may_be_empty(name):
    x = np.ones((2, 3, 5, 4))
    got, gradient = with_gradient(
        lambda x: (getattr(jg, name)(x, (0, 3)), None), x, np.ones((2, 3, 0, 3))
    )
    assert got[0].shape == tuple(theirs(name, x, (0, 3)).shape)
    np.testing.assert_array_equal(gradient, np.zeros_like(x))


def test_an_infinity_stays_in_its_bins(rng):
    x = distinct(rng, (1, 2, 7, 5))
    x[0, 0, 3, 2] = np.inf
    x[0, 1, 6, 4] = np.nan
    expected = to_numpy(theirs("adaptive_avg_pool2d", x, (3, 2)))
    np.testing.assert_allclose(jg.adaptive_avg_pool2d(x, (3, 2)), expected, rtol=1e-14)


@pytest.mark.parametrize("name", POOLS)
def test_layers_are_channels_last_with_any_batch(rng, name):
    kind, rank = name.split("_")[1], int(name[-2])
    x = distinct(rng, (10, 3, *SIZES[:rank]))
    cls, output = f"Adaptive{kind.capitalize()}Pool{rank}d", (4, None, 3)[:rank]
    expected = to_last(to_numpy(getattr(torch.nn, cls)(output)(to_torch(x))), rank)
    layer = getattr(jnn, cls)(output)
    last = to_last(x, rank)
    got = jax.jit(lambda x: layer(x))(last.reshape(2, 5, *last.shape[1:]))
    np.testing.assert_allclose(got.reshape(expected.shape), expected, rtol=1e-14)
    assert repr(layer) == f"{cls}(output_size={output})"


def test_indices_of_the_layer(rng):
    x = distinct(rng, (2, 3, 7, 5))
    pair = torch.nn.AdaptiveMaxPool2d((3, 2), return_indices=True)(to_torch(x))
    got = jnn.AdaptiveMaxPool2d((3, 2), return_indices=True)(to_last(x, 2))
    for ours, their in zip(got, pair, strict=True):
        np.testing.assert_array_equal(ours, to_last(to_numpy(their), 2))


@pytest.mark.parametrize("kind", ["hessian", "vmap"])
@pytest.mark.parametrize("pool", ["avg", "max"])
def test_transformations(rng, pool, kind):
    x = jnp.asarray(distinct(rng, (2, 7, 5)))

    def ours(x):
        return getattr(jg, f"adaptive_{pool}_pool2d")(x, (3, 2))

    def their(x):
        return getattr(torch.nn.functional, f"adaptive_{pool}_pool2d")(x, (3, 2))

    transformed.assert_transforms(rng, kind, ours, their, x)


X = np.ones((2, 3, 7, 6), "float32")
ERRORS = [
    (
        lambda: jg.adaptive_avg_pool2d(X, (2, 3, 4)),
        ValueError,
        "adaptive_avg_pool2d: output_size must be 2: got output_size=(2, 3, 4) with 3 sizes, "
        "give one int or one for each spatial axis",
    ),
    (
        lambda: jg.adaptive_max_pool2d(X, (2, -1)),
        ValueError,
        "adaptive_max_pool2d: elements of output_size must be greater than or equal to 0 but "
        "received {2, -1}",
    ),
    (
        lambda: jg.adaptive_avg_pool2d(X[0, 0], 2),
        ValueError,
        "adaptive_avg_pool2d(): Expected 3D or 4D tensor, but got [7, 6] with "
        "data_format='channels_first'",
    ),
    (
        lambda: jg.adaptive_max_pool2d(X[..., :0], 2),
        ValueError,
        "adaptive_max_pool2d(): Expected input to have non-zero size for non-batch dimensions, "
        "but input has sizes [2, 3, 7, 0] with dimension 3 being empty",
    ),
    (
        lambda: jg.adaptive_max_pool2d(X[:, :0], 2),
        ValueError,
        "adaptive_max_pool2d(): Expected input to have non-zero size for non-batch dimensions, "
        "but input has sizes [2, 0, 7, 6] with dimension 1 being empty",
    ),
    (
        lambda: jg.adaptive_avg_pool2d(X.astype("int32"), 2),
        TypeError,
        '"adaptive_avg_pool2d" not implemented for int32: give floats',
    ),
    (
        lambda: jg.adaptive_avg_pool2d(X, None),
        TypeError,
        "adaptive_avg_pool2d(): argument 'output_size' must be tuple of ints, not NoneType: "
        "got output_size=None, give one int or one int an axis",
    ),
    (
        lambda: jg.adaptive_avg_pool2d(X, (2.5, 2)),
        TypeError,
        "adaptive_avg_pool2d(): argument 'output_size' must be int, not float: "
        "got output_size=2.5, give a whole number",
    ),
]


test_errors = error_test(ERRORS)
