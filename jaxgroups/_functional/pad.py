"""Padding with torch's modes and order of the amounts: the last axis first.

Each axis is concatenated from slices, so that the gradient is a sum of padded slices and not a
scatter.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgroups._functional.feature_map import check_format
from jaxgroups._functional.observed import observed
from jaxgroups._spec import arguments
from jaxgroups._types import IntOrInts, Ints, Pairs

MODES = ("constant", "reflect", "replicate", "circular")


@observed
def pad(
    input: Any,
    pad: IntOrInts,
    mode: str = "constant",
    value: Any = None,
    *,
    data_format: str = "channels_first",
) -> jax.Array:
    """Pads axes of the input, the last one first: ``torch.nn.functional.pad``.

    Args:
      input: ``(N, C, *spatial)`` or ``(C, *spatial)``; for ``"constant"`` of any shape. With
        channels_last ``(*batch, *spatial, C)``; the channels are then not padded.
      pad: (low, high) of the last axis, then of the one before, and so on; with channels_last from
        the last spatial axis on. Negative amounts remove elements.
      mode: ``"constant"``; ``"reflect"``, at the edge element, which is not repeated;
        ``"replicate"``, the edge repeated; or ``"circular"``. All but the first pad one, two or
        three spatial axes.
      value: the constant, 0 by default.
      data_format: ``"channels_first"`` or ``"channels_last"``.

    Returns:
      The padded array.

    Raises:
      ValueError: amounts or shapes that torch refuses, or an unknown mode.
      TypeError: amounts that are no tuple of ints.
    """
    check_format("pad", data_format)
    if mode not in MODES:
        raise ValueError(f"Unrecognised padding mode {mode}: use one of {', '.join(MODES)}")
    array = jnp.asarray(input)
    last = data_format == "channels_last"
    axes, pairs = _axes_and_pairs(array, pad, last)
    if mode == "constant":
        return _constant(array, axes, pairs, 0 if value is None else value)
    if value is not None and value != 0:
        raise ValueError(f'Padding mode "{mode}" doesn\'t take in value argument: got {value!r}')
    _check_rank(array, len(pairs), last)
    _check_sizes(array, axes, pairs, mode, last)
    for axis, (low, high) in zip(axes, pairs, strict=True):
        array = _padded(array, axis, low, high, mode)
    return array


def _axes_and_pairs(array: jax.Array, pad: Any, last: bool) -> tuple[Ints, Pairs]:
    if isinstance(pad, int):
        raise TypeError(
            f"pad(): argument 'pad' must be tuple of ints, not {type(pad).__name__}: got "
            f"pad={pad!r}, give (low, high) for each axis"
        )
    amounts = arguments.integers("pad", "pad", pad)
    if len(amounts) % 2:
        raise ValueError(
            f"Padding length must be divisible by 2: got pad={amounts}, give (low, high) for "
            "each axis"
        )
    rank, end = len(amounts) // 2, array.ndim - last
    if rank > end:
        but = " with data_format='channels_last', whose channels are not padded" if last else ""
        raise ValueError(
            "Padding length should be less than or equal to two times the input dimension but "
            f"got padding length {len(amounts)} and input of dimension {array.ndim}{but}"
        )
    axes = tuple(range(end - 1, end - 1 - rank, -1))
    return axes, tuple(zip(amounts[::2], amounts[1::2], strict=True))


def _check_rank(array: jax.Array, rank: int, last: bool) -> None:
    if not 1 <= rank <= 3 or array.ndim < rank + 1 or (array.ndim > rank + 2 and not last):
        raise ValueError(
            f"Padding size {2 * rank} is not supported for {array.ndim}D input tensor: except for "
            "mode='constant' give (low, high) for each of one, two or three spatial axes of "
            "(N, C, *spatial) or (C, *spatial)"
        )


def _check_sizes(array: jax.Array, axes: Ints, pairs: Pairs, mode: str, last: bool) -> None:
    shape, rank = array.shape, len(axes)
    channel = array.ndim - 1 if last else array.ndim - rank - 1
    if mode != "circular" and 0 in [shape[axis] for axis in (channel, *axes)]:
        raise ValueError(
            f"Expected {rank + 1}D or {rank + 2}D (batch mode) tensor with possibly 0 batch size "
            f"and other non-zero dimensions for input, but got: {list(shape)}"
        )
    for axis, (low, high) in zip(axes, pairs, strict=True):
        size = shape[axis]
        where = f"padding ({low}, {high}) at dimension {axis} of input {list(shape)}"
        if mode == "reflect" and max(low, high) >= size:
            raise ValueError(
                "Padding size should be less than the corresponding input dimension, but got: "
                + where
            )
        if mode == "circular":
            if max(low, high) > size:
                raise ValueError(f"Padding value causes wrapping around more than once: {where}")
            kept = size + min(low, 0) + min(high, 0)
            if size + low + high < 0 or max(low, high) > kept:
                raise ValueError(
                    f"Negative padding value is resulting in an empty dimension: {where}: "
                    f"{max(kept, 0)} elements are left to repeat"
                )
        elif size + low + high < 0:
            raise ValueError(_negative(size, axis, low, high))


def _negative(size: int, axis: int, low: int, high: int) -> str:
    return (
        f"The input size {size}, plus negative padding {low} and {high} resulted in a negative "
        f"output size, which is invalid. Check dimension {axis} of your input."
    )


def _constant(array: jax.Array, axes: Ints, pairs: Pairs, value: Any) -> jax.Array:
    real = not jnp.issubdtype(array.dtype, jnp.complexfloating)
    if isinstance(value, complex) and real:
        raise TypeError(f"pad(): value={value} cannot be converted to {array.dtype.name}")
    config = [(0, 0, 0)] * array.ndim
    for axis, (low, high) in zip(axes, pairs, strict=True):
        size = array.shape[axis]
        if size + min(low, 0) + min(high, 0) < 0:
            raise ValueError(_negative(size, axis, low, high))
        config[axis] = (low, high, 0)
    return lax.pad(array, jnp.asarray(value).astype(array.dtype), config)


def _padded(array: jax.Array, axis: int, low: int, high: int, mode: str) -> jax.Array:
    """One axis padded, without checks."""
    if low == high == 0:
        return array
    size = array.shape[axis]

    def part(start: int, end: int) -> jax.Array:
        return lax.slice_in_dim(array, start, end, axis=axis)

    first, end = max(-low, 0), size - max(-high, 0)
    if first >= end:  # no element of the input is kept in the middle
        return jnp.take(array, _indices(size, low, high, mode), axis)
    low, high = max(low, 0), max(high, 0)
    if mode == "reflect":
        before = lax.rev(part(1, 1 + low), (axis,))
        after = lax.rev(part(size - 1 - high, size - 1), (axis,))
    elif mode == "replicate":
        before, after = (
            jnp.repeat(part(0, 1), low, axis),
            jnp.repeat(part(size - 1, size), high, axis),
        )
    else:
        before, after = part(end - low, end), part(first, first + high)
    pieces = [piece for piece in (before, part(first, end), after) if piece.shape[axis]]
    return jnp.concatenate(pieces, axis)


def _indices(size: int, low: int, high: int, mode: str) -> np.ndarray:
    """The index in the input of each element of a reflected or replicated axis."""
    indices = np.arange(-low, size + high)
    if mode == "reflect":
        return size - 1 - np.abs(size - 1 - np.abs(indices))
    return np.clip(indices, 0, size - 1)
