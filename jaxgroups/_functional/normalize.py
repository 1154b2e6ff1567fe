"""Mean, variance and normalization over some axes of an array, with derivatives in two sums.

The variance is the mean of squared distances from the mean, as torch computes it: the mean of
squares less the square of the mean loses all digits where the mean is large.
"""

from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgroups._types import Ints


def accumulator(where: str, array: jax.Array) -> Any:
    """The dtype to compute in: at least float32.

    Raises:
      TypeError: the array does not hold real floating-point numbers.
    """
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f'"{where}" not implemented for {array.dtype.name}')
    return widened(array.dtype)


def widened(dtype: Any) -> Any:
    """float32 for a narrower floating-point dtype, and every other dtype as it is."""
    return jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype


def along(vector: jax.Array, ndim: int, axes: Ints) -> jax.Array:
    """An array of ``len(axes)`` axes, reshaped so that it broadcasts along these axes of `ndim`."""
    shape = [1] * ndim
    for axis, size in zip(axes, vector.shape, strict=True):
        shape[axis] = size
    return vector.reshape(shape)


def moments(x: jax.Array, axes: Ints) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance over `axes`, which stay with size 1.

    The mean is that of distances from the first element, whose sum is small where the mean is
    large; an array is read twice all the same.
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

    The rule below is written so that its transpose has two sums over `axes`, that of the gradient
    and that of the gradient times the normalized input; both serve `x`, `weight` and `bias`.
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
    along_one = jnp.mean(dx, axes, keepdims=True)
    along_unit = jnp.mean(unit * dx, axes, keepdims=True)
    dy = factor * dx + unit * (dweight - factor * along_unit) + (dbias - factor * along_one)
    return (y, mean, var), (dy, along_one, 2 * deviation * along_unit)


def scaled(
    x: jax.Array, mean: jax.Array, var: jax.Array, eps: float, weight: jax.Array, bias: jax.Array
) -> jax.Array:
    """Normalization by a mean and a variance that do not depend on `x`."""
    return (x - mean) * (weight / lax.sqrt(var + eps)) + bias
