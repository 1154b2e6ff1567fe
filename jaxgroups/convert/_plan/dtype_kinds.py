"""Kinds of dtypes: within one a cast changes precision, between two it changes the meaning."""

import jax.numpy as jnp

from jaxgroups.convert._files import TensorInfo

_KINDS = {"float": jnp.floating, "complex": jnp.complexfloating, "integer": jnp.integer}


def kind(dtype: str) -> str:
    """``"float"`` (bfloat16 and float8 too), ``"complex"``, ``"integer"``, or the dtype itself."""
    try:
        found = TensorInfo((), dtype).numpy_dtype
    except KeyError:  # one that no checkpoint can hold
        return dtype
    return next((name for name, of in _KINDS.items() if jnp.issubdtype(found, of)), dtype)
