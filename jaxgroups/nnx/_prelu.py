"""PReLU with torch's arguments and derivative."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from jaxgroups._functional.prelu import prelu
from jaxgroups.nnx._base import FeatureLayer


class PReLU(FeatureLayer):
    """``x`` where it is positive and ``negative_slope * x`` elsewhere, as ``torch.nn.PReLU``.

    At 0 the derivative is the slope, as in torch; that of ``flax.nnx.PReLU`` is 1.

    Shape: input and output ``(*batch, C)``, or any shape with one slope.

    Args:
      num_parameters: the number of slopes: 1, or the number of channels C.
      init: the initial value of the slopes.
      param_dtype: the dtype of the slopes.

    Attributes:
      negative_slope: the ``nnx.Param`` of torch's `weight`, ``(num_parameters,)``.

    Raises:
      ValueError: at the call, a number of channels other than `num_parameters`.
      TypeError: at the call, an input that does not hold floating-point numbers.
    """

    shown = ("num_parameters",)

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        *,
        param_dtype: DTypeLike = jnp.float32,
    ) -> None:
        self.num_parameters = num_parameters
        self.negative_slope = nnx.Param(jnp.full((num_parameters,), init, param_dtype))

    def __call__(self, x: Any) -> jax.Array:
        """An array of the shape and dtype of `x`."""
        return prelu(x, self.negative_slope[...], data_format="channels_last")
