"""Mean, variance and normalization over some axes of an array, with derivatives in two sums.

The variance is computed in two passes, as in torch: ``mean(x ** 2) - mean(x) ** 2`` cancels where
the mean is large.
"""

from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgroups._types import Ints


def moments(x: jax.Array, axes: Ints) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance over `axes`, which stay with size 1.

    The first element is subtracted before the sum, so that the mean keeps its digits where it is
    large. The array is read twice in any case.
    """
    start = jnp.zeros((1,) * x.ndim, x.dtype)
    if prod(x.shape[axis] for axis in axes) != 0:
        first = [slice(0, 1) if axis in axes else slice(None) for axis in range(x.ndim)]
        start = x[tuple(first)]
        start = jnp.where(jnp.isfinite(start), start, jnp.zeros_like(start))
        start = lax.stop_gradient(start)
    mean = start + jnp.mean(x - start, axes, keepdims=True)
    return mean, jnp.mean(lax.square(x - mean), axes, keepdims=True)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def normalized(
    axes: Ints, eps: float, x: jax.Array, weight: jax.Array, bias: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """``(x - mean) / sqrt(var + eps) * weight + bias``, the mean and the variance.

    `weight` and `bias` have as many axes as `x`, and size 1 along `axes`.

    The derivative rule below is written so that its transpose needs two sums over `axes` only: of
    the gradient, and of the gradient times the normalized input.
    """
    mean, var = moments(x, axes)
    return (x - mean) * (weight / lax.sqrt(var + eps)) + bias, mean, var


@normalized.defjvp
def _(axes: Ints, eps: float, primals: Any, tangents: Any) -> Any:
    x, weight, bias = primals
    dx, dweight, dbias = tangents
    y, mean, var = normalized(axes, eps, x, weight, bias)
    deviation = lax.sqrt(var + eps)
    unit = (x - mean) * (1 / deviation)
    factor = weight / deviation
    mean_of_dx = jnp.mean(dx, axes, keepdims=True)
    mean_of_unit_dx = jnp.mean(unit * dx, axes, keepdims=True)
    dy = factor * dx + unit * (dweight - factor * mean_of_unit_dx) + (dbias - factor * mean_of_dx)
    return (y, mean, var), (dy, mean_of_dx, 2 * deviation * mean_of_unit_dx)


def scaled(
    x: jax.Array, mean: jax.Array, var: jax.Array, eps: float, weight: jax.Array, bias: jax.Array
) -> jax.Array:
    """Normalization by a mean and a variance that do not depend on `x`."""
    return (x - mean) * (weight / lax.sqrt(var + eps)) + bias
