"""Maxima over windows after `optimize`: their values and gradients are lax's own."""

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
