"""Tracks the channel axis through reshapes and transpositions; reads constants of each channel."""

from math import prod
from typing import Any, NamedTuple

import numpy as np
from jax import lax

from jaxgroups._optimize.graph import Node, Value, constant


class _Step(NamedTuple):
    """A reshape, or a transposition by `order`."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    order: tuple[int, ...] | None


class Rearrangement:
    """A sequence of reshapes and transpositions of an array, and its channel axis after them.

    Attributes:
      shape: the shape of the result.
      axis: its channel axis.
      steps: the operations.
    """

    def __init__(self, shape: tuple[int, ...], axis: int) -> None:
        self.shape, self.axis = shape, axis
        self.steps: list[_Step] = []

    def then(self, node: Node) -> "Rearrangement | None":
        """This followed by a node; None for a node that does not keep an axis of channels."""
        shape, permutation = node.out.shape, None
        if node.name == "transpose":
            permutation = tuple(node.params["permutation"])
            axis = permutation.index(self.axis)
        elif node.name in ("reshape", "squeeze", "expand_dims", "broadcast_in_dim", "copy"):
            if prod(shape) != prod(self.shape) or node.params.get("dimensions") == ():
                return None
            if node.name == "reshape" and node.params["dimensions"] is not None:
                return None
            if node.name == "broadcast_in_dim":
                dims = node.params["broadcast_dimensions"]
                if tuple(dims) != tuple(sorted(dims)):
                    return None
            same = _same_axis(self.shape, self.axis, shape)
            if same is None:
                return None
            axis = same
        else:
            return None
        more = Rearrangement(shape, axis)
        more.steps = [*self.steps, _Step(self.shape, shape, permutation)]
        return more

    def apply(self, array: Any) -> Any:
        """The rearranged array."""
        for _, shape, order in self.steps:
            array = lax.reshape(array, shape) if order is None else lax.transpose(array, order)
        return array

    def undo(self, array: Any) -> Any:
        """The inverse of `apply`."""
        for shape, _, order in reversed(self.steps):
            if order is None:
                array = lax.reshape(array, shape)
            else:
                array = lax.transpose(array, np.argsort(order).tolist())
        return array


def _same_axis(old: tuple[int, ...], axis: int, new: tuple[int, ...]) -> int | None:
    """The axis after a reshape that consists of exactly this axis before it; None if none does."""
    before = prod(old[:axis])
    for i, size in enumerate(new):
        alike = size > 1 or (len(old) == len(new) and i == axis)
        if alike and size == old[axis] and prod(new[:i]) == before:
            return i
    return None


def per_channel(value: Value, shape: tuple[int, ...], axis: int) -> np.ndarray | None:
    """A constant operand of an array of this shape, as float64: one number, or one a channel.

    None if the operand is not constant, or varies along another axis.
    """
    if not value.fixed:
        return None
    source, dims = value, None
    node = value.node
    if node is not None and node.name == "broadcast_in_dim":
        source, dims = node.ins[0], tuple(node.params["broadcast_dimensions"])
        if node.params["shape"] != value.shape or len(value.shape) != len(shape):
            return None
    elif source.shape == ():
        dims = ()
    else:
        dims = tuple(range(len(source.shape)))
        if len(source.shape) != len(shape):
            return None
    if any(n > 1 and d != axis for n, d in zip(source.shape, dims, strict=True)):
        return None
    array = constant(source)
    if array is None:
        return None
    return np.asarray(array, np.float64).reshape(-1)


def number(value: Value) -> float | None:
    """The value of a constant operand all of whose elements are equal; otherwise None."""
    array = per_channel(value, value.shape, -1) if value.fixed else None
    return None if array is None or array.size != 1 else float(array[0])
