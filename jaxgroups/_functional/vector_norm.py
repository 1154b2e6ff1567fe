"""The norm of vectors, with torch's gradient where numbers are 0.

``jnp.linalg.norm`` has NaN as the gradient of a vector of zeros.
"""

from collections.abc import Sequence
from math import inf
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgroups._functional.dtypes import widened
from jaxgroups._functional.observed import observed
from jaxgroups._types import Ints


@observed
def vector_norm(
    input: Any, ord: float = 2, dim: int | Sequence[int] | None = None, keepdim: bool = False
) -> jax.Array:
    """The norm of vectors: ``torch.linalg.vector_norm``.

    ``sum(abs(x) ** ord) ** (1 / ord)`` over the axes `dim`. The gradient with respect to a number
    that is 0 is 0, for every `ord`, as in torch.

    Args:
      input: an array of floating-point numbers. float16 and bfloat16 are computed in float32.
      ord: the kind of norm: any number. 0 counts the numbers that are not 0, infinity is the
        largest absolute value, and minus infinity the smallest.
      dim: the axis or axes of the vectors; None is all of them.
      keepdim: whether these axes stay, with size 1.

    Returns:
      The norms, in the dtype of the input.

    Raises:
      ValueError: an axis that is not there or is given twice, or a vector without numbers for an
        `ord` that is negative or infinite.
      TypeError: an input that does not hold real floating-point numbers.
    """
    x = jnp.asarray(input)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(
            "linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
            f"{x.dtype.name}: vector_norm() takes real floating-point numbers"
        )
    dtype = widened(x.dtype)
    axes = axes_of(dim, x.ndim, "vector_norm")
    if (ord < 0 or ord == inf) and 0 in [x.shape[axis] for axis in axes]:
        what = "an empty tensor because"
        if dim is not None:
            what = f"the dimension {dim} because this dimension is empty and"
        raise ValueError(
            f"linalg.vector_norm cannot compute the {ord} norm on {what} the operation does not "
            f"have an identity: vector_norm() got an input of shape {x.shape}"
        )
    x, given = x.astype(dtype), x.dtype
    size = x * lax.stop_gradient(jnp.sign(x))  # the gradient of jnp.abs at 0 is 1
    how: dict[str, Any] = {"axis": axes, "keepdims": keepdim}
    if ord == 0:
        total = jnp.sum(size != 0, **how, dtype=dtype)
    elif ord == 1:
        total = jnp.sum(size, **how)
    elif ord in (inf, -inf):
        total = jnp.max(size, **how) if ord > 0 else jnp.min(size, **how)
    else:
        powers = jnp.square(size) if ord == 2 else _power(size, ord)
        total = _power(jnp.sum(powers, **how), 1 / ord)
    return total.astype(given)


def _power(x: jax.Array, exponent: float) -> jax.Array:
    """``x ** exponent`` of numbers that are not negative, whose gradient at 0 is 0."""
    zero = x == 0
    power = jnp.sqrt if exponent == 0.5 else lambda x: x ** np.asarray(exponent, x.dtype)
    of_zero = jnp.asarray(0 if exponent > 0 else inf, x.dtype)
    return jnp.where(zero, of_zero, power(jnp.where(zero, jnp.ones_like(x), x)))


def axes_of(dim: int | Sequence[int] | None, rank: int, where: str) -> Ints:
    """The axes, all of them for None and for ``()``; a scalar has axis 0, as in torch."""
    given = () if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    axes = max(rank, 1)
    found = []
    for axis in given or range(rank):
        if not -axes <= axis < axes:
            raise ValueError(
                f"Dimension out of range (expected to be in range of [{-axes}, {axes - 1}], but "
                f"got {axis}): {where}() got an input of {rank} axes"
            )
        found.append(axis % axes)
    if len(set(found)) < len(found):
        raise ValueError(
            f"dim {next(a for a in found if found.count(a) > 1)} appears multiple times in the "
            f"list of dims: {where}() got dim={dim}"
        )
    return tuple(found) if rank else ()
