"""PReLU as torch defines it."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxgroups._functional.activations import with_slope
from jaxgroups._functional.feature_map import along, check_format
from jaxgroups._functional.observed import observed


@observed
def prelu(input: Any, weight: Any, *, data_format: str = "channels_first") -> jax.Array:
    """``x`` where it is positive and ``weight * x`` elsewhere: ``torch.nn.functional.prelu``.

    At 0 the derivative is `weight`, as in torch.

    Args:
      input: any shape; with a slope for each channel ``(N, C, *)``, or with channels_last
        ``(*batch, C)``.
      weight: the slopes: one number, ``()`` or ``(1,)``, or one a channel, ``(C,)``.
      data_format: ``"channels_first"`` or ``"channels_last"``.

    Returns:
      An array of the shape and dtype of the input.

    Raises:
      ValueError: the number of slopes does not fit the channels.
      TypeError: an input that does not hold floating-point numbers.
    """
    check_format("prelu", data_format)
    x, slope = jnp.asarray(input), jnp.asarray(weight)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(
            f"prelu: Type promoting not supported. Got {x.dtype.name} and {slope.dtype.name}"
        )
    if slope.ndim > 1:
        raise ValueError(
            f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {slope.ndim}"
        )
    slope = slope.astype(x.dtype)
    if slope.size == 1:
        slope = slope.reshape((1,) * x.ndim)
    else:
        last = data_format == "channels_last"
        axis = x.ndim - 1 if last else 1
        channels = x.shape[axis] if x.ndim > 1 - last else 1
        if slope.size != channels:
            raise ValueError(
                "Mismatch of parameter numbers and input channel size. Found parameter numbers = "
                f"{slope.size} and channel size = {channels}: prelu() got an input of shape "
                f"{list(x.shape)} with data_format={data_format!r}"
            )
        slope = along(slope, x.ndim, (axis,))
    return with_slope(x, slope)
