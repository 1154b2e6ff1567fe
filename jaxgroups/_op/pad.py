"""Torch's padding modes but zeros, as copies of parts of the input along one axis after the other.

Only the amounts are needed as numbers, so that a size may be symbolic.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxgroups._types import Pairs


def pad(x: jax.Array, mode: str, amounts: Pairs, first: int) -> jax.Array:
    """The input with padding around its spatial axes.

    Args:
      mode: ``"reflect"``, ``"replicate"`` or ``"circular"``.
      amounts: ``(low, high)`` of each spatial axis, within torch's limits for the mode.
      first: the first spatial axis.
    """
    for axis, (low, high) in enumerate(amounts, first):
        parts = [_part(x, mode, axis, low, at_end=False)] if low else []
        parts += [x]
        parts += [_part(x, mode, axis, high, at_end=True)] if high else []
        x = lax.concatenate(parts, axis) if len(parts) > 1 else x
    return x


def _part(x: jax.Array, mode: str, axis: int, length: int, *, at_end: bool) -> jax.Array:
    """What stands before, or behind, the input."""
    n = x.shape[axis]
    if mode == "reflect":
        start = n - 1 - length if at_end else 1
        return lax.rev(lax.slice_in_dim(x, start, start + length, axis=axis), (axis,))
    if mode == "circular":
        start = 0 if at_end else n - length
        return lax.slice_in_dim(x, start, start + length, axis=axis)
    start = n - 1 if at_end else 0
    border = lax.slice_in_dim(x, start, start + 1, axis=axis)
    return jnp.broadcast_to(border, (*x.shape[:axis], length, *x.shape[axis + 1 :]))
