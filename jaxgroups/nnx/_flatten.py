"""Flatten and Unflatten in torch's order of the features, on channels-last input.

Axes are counted as in torch, ``(*batch, C, *spatial)``. The result is torch's with the channel axis
moved to the end, so a layer after it needs no reordering of torch's weights.
"""

from collections.abc import Iterable
from math import prod
from typing import Any

import jax
import jax.numpy as jnp

from jaxgroups._spec import arguments
from jaxgroups._types import Ints, Shape
from jaxgroups.nnx._base import FeatureLayer


class Flatten(FeatureLayer):
    """Flattens axes in torch's order, with the arguments of ``torch.nn.Flatten``.

    Shape: input ``(*batch, *spatial, C)``; output by default ``(*batch, C prod(spatial))`` with the
    channel varying slowest, as torch flattens ``(*batch, C, *spatial)``. Where the flattened axis
    holds the channels and other axes stay (``Flatten(1, 2)``), it is the channel axis of the
    output, the last one. Where it holds batch axes too, the output is in torch's order.

    Arrays whose features are the last axis in torch too, such as sequences ``(N, T, F)``, need
    ``x.reshape`` instead.

    Args:
      start_dim: the first axis to flatten, counted as in torch.
      end_dim: the last axis to flatten, counted as in torch.
      batch_axes: number of batch axes. torch's modules have one.

    Raises:
      ValueError: at the call, axes that the input does not have.
      TypeError: arguments that are no ints.
    """

    shown = ("start_dim", "end_dim")

    def __init__(self, start_dim: int = 1, end_dim: int = -1, *, batch_axes: int = 1) -> None:
        self.start_dim = arguments.integer("Flatten", "start_dim", start_dim)
        self.end_dim = arguments.integer("Flatten", "end_dim", end_dim)
        self.batch_axes = _batch_axes("Flatten", batch_axes)

    def __call__(self, x: Any) -> jax.Array:
        """``(*batch, *spatial, C)`` -> ``(*batch, C prod(spatial))`` by default."""
        x, channel = _to_torch("Flatten", jnp.asarray(x), self.batch_axes)
        start, end = _axis(x, self.start_dim), _axis(x, self.end_dim)
        if start > end:
            raise ValueError(
                "flatten() has invalid args: start_dim cannot come after end_dim: Flatten() got "
                f"start_dim={self.start_dim}, end_dim={self.end_dim} for {x.ndim} axes"
            )
        flat = x.reshape(*x.shape[:start], prod(x.shape[start : end + 1]), *x.shape[end + 1 :])
        if start < channel <= end:  # batch axes and channels in one
            return flat
        return jnp.moveaxis(flat, channel - (end - start if end < channel else 0), -1)


class Unflatten(FeatureLayer):
    """Splits an axis in torch's order, with the arguments of ``torch.nn.Unflatten``.

    Shape: input ``(*batch, *spatial, C)``. The axis is counted and split as torch does in
    ``(*batch, C, *spatial)``: ``Unflatten(1, (C, H, W))`` makes ``(N, H, W, C)`` of ``(N, C H W)``,
    and undoes ``Flatten()``. Where the channels are split, the first part is the channel axis of
    the output, the last one, and the others are spatial axes.

    Args:
      dim: the axis to split, counted as in torch. Names of axes are not supported.
      unflattened_size: the sizes; one of them may be -1.
      batch_axes: number of batch axes. torch's modules have one.

    Raises:
      ValueError: at the call, an axis that the input does not have, or sizes that do not fit.
      TypeError: arguments that are no ints.
    """

    shown = ("dim", "unflattened_size")

    def __init__(self, dim: int, unflattened_size: Iterable[int], *, batch_axes: int = 1) -> None:
        self.dim = arguments.integer("Unflatten", "dim", dim)
        if not isinstance(unflattened_size, Iterable):
            raise TypeError(
                "unflattened_size must be a tuple of ints, but found type "
                f"{type(unflattened_size).__name__}: Unflatten() got "
                f"unflattened_size={unflattened_size!r}"
            )
        sizes = arguments.integers("Unflatten", "unflattened_size", unflattened_size)
        if not sizes:
            raise ValueError("unflatten: sizes must be non-empty: Unflatten() got ()")
        if min(sizes) < -1 or sizes.count(-1) > 1:
            raise ValueError(
                "unflatten: only one dimension can be inferred, and sizes must not be negative: "
                f"Unflatten() got unflattened_size={sizes}"
            )
        self.unflattened_size = sizes
        self.batch_axes = _batch_axes("Unflatten", batch_axes)

    def __call__(self, x: Any) -> jax.Array:
        """``(*batch, *spatial, C)`` -> the same with one axis split."""
        x, channel = _to_torch("Unflatten", jnp.asarray(x), self.batch_axes)
        axis = _axis(x, self.dim)
        sizes = _inferred(self.unflattened_size, x.shape[axis], axis)
        split = x.reshape(*x.shape[:axis], *sizes, *x.shape[axis + 1 :])
        return jnp.moveaxis(split, channel + (len(sizes) - 1 if axis < channel else 0), -1)


def _batch_axes(name: str, value: Any) -> int:
    number = arguments.integer(name, "batch_axes", value)
    if number < 0:
        raise ValueError(f"{name}: batch_axes must not be negative: got batch_axes={number}")
    return number


def _to_torch(name: str, x: jax.Array, batch_axes: int) -> tuple[jax.Array, int]:
    """The input in torch's order of axes, and the axis of its channels there."""
    if x.ndim <= batch_axes:
        raise ValueError(
            f"{name}: expected {batch_axes + 1}D or more input (got {x.ndim}D input): "
            f"{list(x.shape)} has no channels after batch_axes={batch_axes}"
        )
    return jnp.moveaxis(x, -1, batch_axes), batch_axes


def _axis(x: jax.Array, dim: int) -> int:
    if not -x.ndim <= dim < x.ndim:
        raise ValueError(
            f"Dimension out of range (expected to be in range of [{-x.ndim}, {x.ndim - 1}], but "
            f"got {dim})"
        )
    return dim % x.ndim


def _inferred(sizes: Ints, total: int, axis: int) -> Shape:
    known = prod(size for size in sizes if size != -1)
    fits = known == total if -1 not in sizes else known > 0 and total % known == 0
    if not fits:
        raise ValueError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {axis} "
            f"({total}) in the input tensor"
        )
    return tuple(total // known if size == -1 else size for size in sizes)
