"""Maxima over windows and spatial sums after `optimize`: lax and float64 judge."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import jaxgroups as jg

PADDING: Any = ((1, 0), (0, 1))


def windows(x, window, strides=(1, 1, 1, 1), padding: Any = "VALID", **dilations):
    return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, padding, **dilations)


# function of x, shape of x
WINDOWS = {
    "3x3 with stride 2": (
        lambda x: windows(x, (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0))),
        (2, 9, 8, 5),
    ),
    "SAME, one-sided": (lambda x: windows(x, (1, 2, 3, 1), (1, 2, 3, 1), "SAME"), (2, 7, 8, 5)),
    "dilation": (lambda x: windows(x, (1, 2, 2, 1), window_dilation=(1, 3, 2, 1)), (2, 7, 8, 3)),
    "channels first": (lambda x: windows(x, (1, 1, 2, 3), (1, 1, 2, 1)), (2, 3, 7, 8)),
    "batch and channels": (lambda x: windows(x, (2, 1, 2, 3), (1, 1, 2, 1)), (3, 3, 7, 8)),
    "more padding than window": (
        lambda x: windows(x, (1, 2, 2, 1), (1, 3, 3, 1), ((0, 0), (4, 3), (0, 5), (0, 0))),
        (1, 4, 5, 2),
    ),
    "flax": (lambda x: nnx.max_pool(x, (3, 2), (2, 1), PADDING), (2, 7, 8, 5)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("name", WINDOWS)
def test_values_and_gradients_are_those_of_lax(name, dtype):
    function, shape = WINDOWS[name]
    x = jnp.asarray(np.random.default_rng(0).integers(-5, 6, shape), dtype)
    x = x.at[(0,) * (x.ndim - 1)].set(jnp.nan).at[(0, 1, 2, 1)].set(-jnp.inf)
    optimized = jg.optimize(function, x)
    assert "reduce_window" not in str(jax.make_jaxpr(optimized)(x))
    np.testing.assert_array_equal(
        np.asarray(optimized(x), "float32"), np.asarray(function(x), "float32")
    )
    x = jnp.nan_to_num(x, nan=3, neginf=-3)
    np.testing.assert_array_equal(jax.vmap(optimized)(x[None])[0], function(x))
    if name == "dilation":  # which lax does not differentiate
        return
    weights = jnp.arange(optimized(x).size, dtype=dtype).reshape(optimized(x).shape)
    got, expected = (
        jax.grad(lambda x, f=f: (f(x) * weights).sum())(x) for f in (optimized, function)
    )
    np.testing.assert_array_equal(np.asarray(got, "float32"), np.asarray(expected, "float32"))


def test_other_windows_are_left():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 9, 9, 2)), "float32")
    cases = {
        "large": lambda x: windows(x, (1, 6, 6, 1)),
        "dilated": lambda x: windows(x, (1, 2, 2, 1), base_dilation=(1, 2, 1, 1)),
        "sum": lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1,) * 4, "VALID"),
        "one element": lambda x: windows(x, (1, 1, 1, 1), (1, 2, 2, 1)),
    }
    for name, function in cases.items():
        optimized = jg.optimize(function, x)
        assert "reduce_window" in str(jax.make_jaxpr(optimized)(x)), name
        np.testing.assert_array_equal(optimized(x), function(x), err_msg=name)


@pytest.mark.parametrize("shape", [(2, 5, 7), (2, 5, 7, 6), (3, 4, 5, 6, 2), (1, 3, 3, 3)])
def test_spatial_sums_are_products(shape):
    x = np.random.default_rng(0).integers(-99, 100, shape)
    axes = tuple(range(1, x.ndim - 1))

    def function(x):
        return x.mean(axes, keepdims=True) + x.sum(axes, keepdims=True)

    optimized = jg.optimize(function, jnp.asarray(x, "float64"))
    program = str(jax.make_jaxpr(optimized)(jnp.asarray(x, "float64")))
    assert "reduce_sum" not in program
    assert program.count("dot_general") == 2
    expected = x.sum(axes, keepdims=True) * (1 + 1 / np.prod([x.shape[a] for a in axes]))
    np.testing.assert_allclose(optimized(jnp.asarray(x, "float64")), expected, rtol=1e-14)
    grad = jax.grad(lambda x: (optimized(x) ** 2).sum())(jnp.asarray(x, "float64"))
    plain = jax.grad(lambda x: (function(x) ** 2).sum())(jnp.asarray(x, "float64"))
    np.testing.assert_allclose(grad, plain, rtol=1e-12)


def test_other_sums_are_left():
    x = jnp.asarray(np.random.default_rng(0).integers(-9, 10, (2, 3, 4, 5)), "float32")
    for axes in ((0, 1, 2), (2, 3), (1,), (1, 2, 3), ()):
        optimized = jg.optimize(lambda x, axes=axes: x.sum(axes), x)
        assert "dot_general" not in str(jax.make_jaxpr(optimized)(x)), axes
        np.testing.assert_array_equal(optimized(x), np.asarray(x, "float64").sum(axes))
