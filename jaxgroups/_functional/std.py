"""The standard deviation, with torch's gradient where it is 0.

``jnp.std`` has NaN as the gradient of equal numbers.
"""

from collections.abc import Sequence
from math import inf, prod
from typing import Any

import jax
import jax.numpy as jnp

from jaxgroups._functional.dtypes import widened
from jaxgroups._functional.observed import observed
from jaxgroups._functional.vector_norm import axes_of


@observed
def std(
    input: Any,
    dim: int | Sequence[int] | None = None,
    *,
    correction: float = 1,
    keepdim: bool = False,
) -> jax.Array:
    """The standard deviation: ``torch.std``.

    The root of ``sum((x - mean) ** 2) / (n - correction)`` over the axes `dim` of n numbers. Where
    it is 0, its gradient is 0, as in torch.

    Args:
      input: an array of floating-point numbers. float16 and bfloat16 are computed in float32.
      dim: the axis or axes; None is all of them.
      correction: subtracted from the number of elements. 1 is Bessel's correction.
      keepdim: whether these axes stay, with size 1.

    Returns:
      The standard deviations, in the dtype of the input. Where `correction` is not less than the
      number of elements, they are infinite, and NaN for equal numbers.

    Raises:
      ValueError: an axis that is not there or is given twice.
      TypeError: an input that does not hold real floating-point numbers.
    """
    x = jnp.asarray(input)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(
            "std and var only support floating point and complex dtypes: std() takes real "
            f"floating-point numbers, got {x.dtype.name}"
        )
    axes = axes_of(dim, x.ndim, "std")
    count = prod(x.shape[axis] for axis in axes)
    divisor = count - correction
    variance = jnp.var(x.astype(widened(x.dtype)), axes, keepdims=keepdim)
    variance = variance * (count / divisor if divisor > 0 else inf)
    zero = variance == 0
    root = jnp.sqrt(jnp.where(zero, jnp.ones_like(variance), variance))
    return jnp.where(zero, jnp.zeros_like(root), root).astype(x.dtype)
