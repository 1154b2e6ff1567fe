"""Mean, variance and normalization over some axes of an array, with derivatives in two sums.

The variance is that of the differences from the mean, as in torch: ``mean(x ** 2) - mean(x) ** 2``
cancels where the mean is large.
"""

from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgroups._op import channel_sums
from jaxgroups._types import Ints


def _rows(x: jax.Array, axes: Ints) -> Ints | None:
    """The shape of `x` as ``(I, M, C)``, where `axes` are one axis M, just before the last one."""
    if not axes or axes != tuple(range(axes[0], x.ndim - 1)):
        return None
    return prod(x.shape[: axes[0]]), prod(x.shape[axes[0] : -1]), x.shape[-1]


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def normalized(
    axes: Ints, eps: float, x: jax.Array, weight: jax.Array, bias: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """``(x - mean) / sqrt(var + eps) * weight + bias``, the mean and the variance.

    `weight` and `bias` have as many axes as `x`, and size 1 along `axes`.

    The derivative rule below is written so that its transpose needs two sums over `axes` only: of
    the gradient, and of the gradient times the normalized input.
    """
    rows = _rows(x, axes)
    if rows is not None and channel_sums.takes(x, weight, bias):
        mean, var = map(partial(_kept, x, axes), channel_sums.moments(x.reshape(rows)))
    else:
        mean, var = channel_sums.moments_over(x, axes)
    return (x - mean) * (weight / lax.sqrt(var + eps)) + bias, mean, var


def _kept(x: jax.Array, axes: Ints, vectors: jax.Array) -> jax.Array:
    """Numbers ``(I, C)`` with the axes of `x`, of size 1 along `axes`."""
    return vectors.reshape([1 if i in axes else n for i, n in enumerate(x.shape)])


@normalized.defjvp
def _(axes: Ints, eps: float, primals: Any, tangents: Any) -> Any:
    x, weight, bias = primals
    dx, dweight, dbias = tangents
    y, mean, var = normalized(axes, eps, x, weight, bias)
    deviation = lax.sqrt(var + eps)
    factor = weight / deviation
    rows = _rows(x, axes)
    if rows is not None and channel_sums.takes(x, weight, bias, *tangents):
        shift = mean.reshape(rows[0], rows[2])
        first, second = channel_sums.sums(dx.reshape(rows), x.reshape(rows), shift)
        count = jnp.asarray(rows[1], x.dtype)
        mean_of_dx, mean_of_unit_dx = (
            _kept(x, axes, total / count)
            for total in (first, second / deviation.reshape(shift.shape))
        )
        u = dbias - factor * mean_of_dx
        v = (dweight - factor * mean_of_unit_dx) / deviation
        u, v = (jnp.broadcast_to(n, mean.shape).reshape(shift.shape) for n in (u, v))
        dy = factor * dx + channel_sums.affine(u, v, x.reshape(rows), shift).reshape(x.shape)
    else:
        unit = (x - mean) * (1 / deviation)
        mean_of_dx = jnp.mean(dx, axes, keepdims=True)
        mean_of_unit_dx = jnp.mean(unit * dx, axes, keepdims=True)
        dy = (
            factor * dx
            + unit * (dweight - factor * mean_of_unit_dx)
            + (dbias - factor * mean_of_dx)
        )
    return (y, mean, var), (dy, mean_of_dx, 2 * deviation * mean_of_unit_dx)


def scaled(
    x: jax.Array, mean: jax.Array, var: jax.Array, eps: float, weight: jax.Array, bias: jax.Array
) -> jax.Array:
    """Normalization by a mean and a variance that do not depend on `x`."""
    return (x - mean) * (weight / lax.sqrt(var + eps)) + bias
