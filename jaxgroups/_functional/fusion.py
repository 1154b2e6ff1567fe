"""Keeps XLA from recomputing an array for each of its readers.

The derivative of a window is a sum over its taps. XLA fuses the operands of the terms into the sum,
and so recomputes them for each tap: the gradient of a 3x3 max pool of 112x112x64 took 49 ms, and
takes 0.9 ms without. XLA's CPU compiler drops ``lax.optimization_barrier`` before it fuses, but it
fuses nothing into or out of a loop. It may hoist loop invariants, and then fuse them.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


@jax.custom_jvp
def in_memory(array: jax.Array) -> jax.Array:
    """The array, stored before it is read, so that all its readers see the same bits.

    XLA does not guarantee this for an array that it recomputes for each reader: one fusion may
    contract ``a * b + c`` where another one rounds twice. Integers are exact in any case.
    """
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return array
    return computed_once(lambda array: array, array)


@in_memory.defjvp
def _(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    return in_memory(*primals), *tangents


def computed_once(function: Callable[..., jax.Array], *arrays: jax.Array) -> jax.Array:
    """``function(*arrays)``, computed once for all readers; it has no derivative.

    The loop runs once. Its bound depends on the data, so that XLA does not remove it.
    """
    arrays = tuple(lax.stop_gradient(array) for array in arrays)
    result = jax.eval_shape(function, *arrays)
    if 0 in result.shape:
        return jnp.zeros(result.shape, result.dtype)
    never = arrays[0][(0,) * arrays[0].ndim] > jnp.inf
    bound = 1 + never.astype(jnp.int32)

    def step(carry: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
        return carry[0] + 1, function(*arrays)

    start = (jnp.int32(0), jnp.zeros(result.shape, result.dtype))
    return lax.while_loop(lambda carry: carry[0] < bound, step, start)[1]
