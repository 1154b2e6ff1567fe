"""The product of two vectors and a matrix for each output, as torch computes it."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgroups._functional.dtypes import accumulator


def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> jax.Array:
    """``x1^T A x2 + b`` for every output: ``torch.nn.functional.bilinear``.

    Args:
      input1: ``(*, in1)``.
      input2: ``(*, in2)`` with the same axes before the last one.
      weight: ``(out, in1, in2)``.
      bias: ``(out,)`` or None.

    Returns:
      ``(*, out)``. Sums of float16 and bfloat16 are float32.

    Raises:
      ValueError: sizes that do not fit.
      TypeError: arrays of different dtypes, or not of floating-point numbers.
    """
    x, y, w = (jnp.asarray(array) for array in (input1, input2, weight))
    b = None if bias is None else jnp.asarray(bias)
    _check(x, y, w, b)
    wide = accumulator("bilinear", x)
    # (*, out, in2), then the sum over in2
    rows = lax.dot_general(x, w, (((x.ndim - 1,), (1,)), ((), ())), preferred_element_type=wide)
    batch = tuple(range(x.ndim - 1))
    out = lax.dot_general(rows, y.astype(wide), (((x.ndim,), (y.ndim - 1,)), (batch, batch)))
    if b is not None:
        out = out + b.astype(wide).reshape((1,) * len(batch) + (-1,))
    return out.astype(x.dtype)


def _check(x: jax.Array, y: jax.Array, w: jax.Array, b: jax.Array | None) -> None:
    shapes = f"shapes {x.shape}, {y.shape} and {w.shape}"
    dtypes = [array.dtype.name for array in (x, y, w, b) if array is not None]
    if len(set(dtypes)) > 1:
        raise TypeError(
            f"All tensors must have the same dtype, got {', '.join(dtypes)}: bilinear()"
        )
    if w.ndim != 3:
        raise ValueError(f"bilinear(): weight must have 3 axes (out, in1, in2), got {w.shape}")
    if x.ndim != y.ndim:
        raise ValueError(
            f"bilinear(): input dimensions do not match: got {x.ndim} and {y.ndim}: {shapes}"
        )
    if not x.ndim:
        raise ValueError(f"bilinear(): inputs must have at least one axis: {shapes}")
    for axis, (one, other) in enumerate(zip(x.shape[:-1], y.shape[:-1], strict=True)):
        if one != other:
            raise ValueError(
                f"bilinear(): input batch dimensions do not match at dim {axis}: got {one} and "
                f"{other}: {shapes}"
            )
    for number, array in ((1, x), (2, y)):
        if array.shape[-1] != w.shape[number]:
            raise ValueError(
                f"bilinear(): input{number} size does not match weight size: got "
                f"{array.shape[-1]} but expected {w.shape[number]}: {shapes}"
            )
    if b is not None and b.shape != w.shape[:1]:
        raise ValueError(
            f"bilinear(): bias size does not match weight size: got {b.shape} but expected "
            f"{w.shape[:1]}"
        )
