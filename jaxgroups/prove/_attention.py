"""``jax.nn.dot_product_attention`` in float64: JAX rounds its scores to float32."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp

NOTE = (
    "jax.nn.dot_product_attention rounds scores to float32: its definition was compared in float64 "
    "instead"
)


@contextmanager
def exact_attention() -> Iterator[list[str]]:
    """Within the block, attention of float64 is computed in float64, in Flax's layers too.

    Yields:
      A list, which gets `NOTE` once attention has been computed so.
    """
    notes: list[str] = []
    original = jax.nn.dot_product_attention

    def exact(query: Any, key: Any, value: Any, bias: Any = None, mask: Any = None, **how: Any):
        plain = {*how} <= {"scale", "is_causal"} and query.ndim == 4
        if query.dtype != jnp.float64 or not plain or query.shape[2] != key.shape[2]:
            return original(query, key, value, bias, mask, **how)
        notes[:] = [NOTE]
        scale = how.get("scale")
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) * scale
        if bias is not None:
            scores = scores + bias
        if how.get("is_causal"):
            causal = jnp.tril(jnp.ones(scores.shape[-2:], bool))
            scores = jnp.where(causal, scores, -jnp.inf)
        if mask is not None:
            scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
        return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), value)

    jax.nn.dot_product_attention = exact
    try:
        yield notes
    finally:
        jax.nn.dot_product_attention = original
