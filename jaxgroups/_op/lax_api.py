"""``conv_general_dilated`` with lax's signature: for Flax's own layers and direct calls."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxgroups._op import primitive


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    out_sharding: Any = None,
) -> jax.Array:
    """``jax.lax.conv_general_dilated``: same signature, same results, same errors.

    Flax's own layers take it: ``nnx.Conv(..., conv_general_dilated=jg.conv_general_dilated)``.
    """
    params = {
        "window_strides": window_strides,
        "padding": padding,
        "lhs_dilation": lhs_dilation,
        "rhs_dilation": rhs_dilation,
        "dimension_numbers": dimension_numbers,
        "feature_group_count": feature_group_count,
        "batch_group_count": batch_group_count,
        "precision": precision,
        "preferred_element_type": preferred_element_type,
        "out_sharding": out_sharding,
    }
    return primitive.bind(lhs, rhs, **{name: _hashable(value) for name, value in params.items()})


def _hashable(value: Any) -> Any:
    """Sequences as tuples, at any depth. Named tuples and strings are returned as they are."""
    if isinstance(value, (list, np.ndarray)) or type(value) is tuple:
        return tuple(_hashable(item) for item in value)
    return value
