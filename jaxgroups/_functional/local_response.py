"""Local response normalization, as torch defines it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgroups._functional.dtypes import accumulator
from jaxgroups._functional.feature_map import of_any_rank
from jaxgroups._functional.observed import observed


@observed
def local_response_norm(
    input: Any,
    size: int,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    *,
    data_format: str = "channels_first",
) -> jax.Array:
    """Local response normalization: ``torch.nn.functional.local_response_norm``.

    Each value is divided by ``(k + alpha * mean of squares) ** beta``. The mean is over a window
    of `size` channels, padded with zeros.

    Args:
      input: ``(N, C, *)``; with channels_last ``(*batch, C)``; at least three axes. float16 and
        bfloat16 are computed in float32.
      size: the number of channels of the window.
      alpha: the factor of the mean.
      beta: the exponent.
      k: the summand.
      data_format: ``"channels_first"`` or ``"channels_last"``.

    Returns:
      The normalized input, in its shape and dtype; float32 for integers.

    Raises:
      ValueError: fewer than three axes, or a size that is not positive.
      TypeError: an input that does not hold real numbers.
    """
    where = "local_response_norm"
    sentence = "Expected 3D or higher dimensionality input, but got dimensions:"
    image = of_any_rank(where, input, data_format, sentence, 3)
    x = image.array
    integers = jnp.issubdtype(x.dtype, jnp.integer)
    dtype = x.dtype if integers else accumulator(where, x)
    if size < 1:
        raise ValueError(
            f"kernel size should be greater than zero, but got size={size}: {where}() takes the "
            "mean over size channels"
        )
    total = lax.reduce_window(
        lax.square(x.astype(dtype)),
        np.zeros((), dtype),  # concrete, so that lax recognises a sum, which has a derivative
        lax.add,
        [size if axis == image.channel else 1 for axis in range(x.ndim)],
        [1] * x.ndim,
        [
            (size // 2, (size - 1) // 2) if axis == image.channel else (0, 0)
            for axis in range(x.ndim)
        ],
    )
    if integers:  # torch's mean of integers is an integer
        mean = lax.div(total, jnp.full_like(total, size)).astype(jnp.float32)
        return x.astype(jnp.float32) / (mean * alpha + k) ** beta
    return (x.astype(dtype) / (total * (alpha / size) + k) ** beta).astype(x.dtype)
