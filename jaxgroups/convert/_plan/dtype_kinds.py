"""Kinds of dtypes: a cast within a kind changes precision, one between kinds the meaning."""

from functools import cache

import jax.numpy as jnp

from jaxgroups.convert._files import TensorInfo

_KINDS = {"float": jnp.floating, "complex": jnp.complexfloating, "integer": jnp.integer}


@cache
def kind(dtype: str) -> str:
    """``"float"`` (bfloat16 and float8 too), ``"complex"``, ``"integer"``, or the dtype itself."""
    try:
        found = TensorInfo((), dtype).numpy_dtype
    except KeyError:  # a dtype that no checkpoint can hold
        return dtype
    return next((name for name, of in _KINDS.items() if jnp.issubdtype(found, of)), dtype)
