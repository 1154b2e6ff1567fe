"""The dtypes in which functions compute: float32 for the 16-bit floats, as in torch."""

from typing import Any

import jax
import jax.numpy as jnp


def widened(dtype: Any) -> Any:
    """float32 for a narrower floating-point dtype; every other dtype as it is."""
    narrow = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32
    return jnp.float32 if narrow else dtype


def accumulator(where: str, array: jax.Array) -> Any:
    """The `widened` dtype of an array of floating-point numbers.

    Raises:
      TypeError: the array does not hold real floating-point numbers; `where` names the function.
    """
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f'"{where}" not implemented for {array.dtype.name}')
    return widened(array.dtype)
