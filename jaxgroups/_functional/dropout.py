"""Alpha dropout with a given mask, as torch computes it."""

from math import sqrt

import jax
import jax.numpy as jnp

_ALPHA = 1.7580993408473766  # the limit of SELU at minus infinity is -_ALPHA


def alpha_dropped(x: jax.Array, kept: jax.Array, p: float) -> jax.Array:
    """`x` where it is kept and ``-_ALPHA`` elsewhere, scaled and shifted.

    If `x` has mean 0 and variance 1, the result has too.

    Args:
      x: an array of floating-point numbers.
      kept: a mask that broadcasts to `x`.
      p: the probability of an element to be dropped.
    """
    if p == 1:
        return x * 0
    a = 1 / sqrt((_ALPHA**2 * p + 1) * (1 - p))
    noise = jnp.broadcast_to(kept, x.shape).astype(x.dtype)
    return x * (noise * a) + ((noise - 1) * (_ALPHA * a) + _ALPHA * a * p)
