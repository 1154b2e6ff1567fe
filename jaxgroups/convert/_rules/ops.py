"""The closed set of operations between a torch tensor and a Flax parameter, with their inverses.

An operation rearranges values, without arithmetic: ``to_flax`` goes from torch to Flax,
``to_torch`` back, and ``to_torch(to_flax(x))`` is ``x`` bit for bit for every dtype.
`_rules.merges` has the computations on several tensors.

    Identity()                 no change
    Permute((2, 3, 1, 0))      np.transpose
    Flip((0, 1))               reverse the given axes (of the Flax side)
    Reshape((1,), ())          same values in the same order; both shapes given
    ChannelsLast(0, (c, h, w)) a flattened feature map along axis 0: (C H W) -> (H W C)
    Part(i, n)                 the i-th of n equal blocks along axis 0 of a tensor
    Chain((a, b))              a, then b
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from jaxgroups._types import Shape


class ShapeRefused(ValueError):
    """A tensor does not have the shape that an operation needs."""


class Op:
    """An invertible rearrangement of values.

    ``flax_shape`` and ``torch_shape`` convert shapes, and raise `ShapeRefused` for those that the
    operation does not apply to. ``to_flax`` and ``to_torch`` do not check the shape.
    """

    def flax_shape(self, torch: Shape) -> Shape:
        """The Flax shape for a torch shape; raises ShapeRefused if there is none."""
        raise NotImplementedError

    def torch_shape(self, flax: Shape) -> Shape:
        """The torch shape for a Flax shape; raises ShapeRefused if there is none."""
        raise NotImplementedError

    def to_flax(self, x: np.ndarray) -> np.ndarray:
        """The Flax array for a torch array."""
        raise NotImplementedError

    def to_torch(self, y: np.ndarray) -> np.ndarray:
        """The torch array for a Flax array."""
        raise NotImplementedError


@dataclass(frozen=True)
class Identity(Op):
    """The same array on both sides."""

    def flax_shape(self, torch: Shape) -> Shape:
        return torch

    def torch_shape(self, flax: Shape) -> Shape:
        return flax

    def to_flax(self, x: np.ndarray) -> np.ndarray:
        return x

    def to_torch(self, y: np.ndarray) -> np.ndarray:
        return y


@dataclass(frozen=True)
class Permute(Op):
    """Flax's axis i is torch's axis ``axes[i]``.

    Args:
      axes: a permutation of the axes 0 to n - 1, for arrays of n axes.

    Raises:
      ValueError: `axes` is not a permutation.
    """

    axes: Shape

    def __post_init__(self) -> None:
        _ints(self, "axes")
        if sorted(self.axes) != list(range(len(self.axes))):
            raise ValueError(
                f"{self.axes} must be a permutation of the axes 0 to {len(self.axes) - 1}"
            )

    @property
    def inverse(self) -> Shape:
        return tuple(self.axes.index(i) for i in range(len(self.axes)))

    def flax_shape(self, torch: Shape) -> Shape:
        _needs(len(torch) == len(self.axes), self, torch, f"{len(self.axes)} axes")
        return tuple(torch[a] for a in self.axes)

    def torch_shape(self, flax: Shape) -> Shape:
        _needs(len(flax) == len(self.axes), self, flax, f"{len(self.axes)} axes")
        return tuple(flax[a] for a in self.inverse)

    def to_flax(self, x: np.ndarray) -> np.ndarray:
        return x.transpose(self.axes)

    def to_torch(self, y: np.ndarray) -> np.ndarray:
        return y.transpose(self.inverse)


@dataclass(frozen=True)
class Flip(Op):
    """The same axes, with those in `axes` reversed.

    Args:
      axes: the axes to reverse, each once and >= 0.

    Raises:
      ValueError: an axis is negative or occurs twice.
    """

    axes: Shape

    def __post_init__(self) -> None:
        _ints(self, "axes")
        if len(set(self.axes)) != len(self.axes):
            raise ValueError(f"duplicate axis in Flip: {self.axes}")

    def flax_shape(self, torch: Shape) -> Shape:
        _needs(all(a < len(torch) for a in self.axes), self, torch, "an axis more")
        return torch

    def torch_shape(self, flax: Shape) -> Shape:
        return self.flax_shape(flax)

    def to_flax(self, x: np.ndarray) -> np.ndarray:
        return np.flip(x, self.axes)

    def to_torch(self, y: np.ndarray) -> np.ndarray:
        return np.flip(y, self.axes)


@dataclass(frozen=True)
class Reshape(Op):
    """The same values in the same order, in another shape.

    Args:
      torch: the whole shape in torch.
      flax: the whole shape in Flax.

    Raises:
      ValueError: the shapes do not hold the same number of values.
    """

    torch: Shape
    flax: Shape

    def __post_init__(self) -> None:
        _ints(self, "torch")
        _ints(self, "flax")
        if prod(self.torch) != prod(self.flax):
            raise ValueError(f"{self.torch} and {self.flax} do not hold the same number of values")

    def flax_shape(self, torch: Shape) -> Shape:
        _needs(tuple(torch) == self.torch, self, torch, f"{self.torch}")
        return self.flax

    def torch_shape(self, flax: Shape) -> Shape:
        _needs(tuple(flax) == self.flax, self, flax, f"{self.flax}")
        return self.torch

    def to_flax(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(self.flax_shape(x.shape))

    def to_torch(self, y: np.ndarray) -> np.ndarray:
        return y.reshape(self.torch_shape(y.shape))


@dataclass(frozen=True)
class ChannelsLast(Op):
    """A flattened feature map along one axis: ``(C, *spatial)`` becomes ``(*spatial, C)``.

    Args:
      axis: the axis of the Flax side, which has the same length in torch.
      sizes: ``(C, *spatial)``, the sizes of the feature map.
      around: numbers of entries before and after the feature map, which are not reordered.

    Raises:
      ValueError: `axis` is negative, `sizes` has fewer than two entries or a zero, or `around` does
        not have two.
    """

    axis: int
    sizes: Shape
    around: Shape = (0, 0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "axis", _int(self, "axis", self.axis, 0))
        _ints(self, "sizes")
        _ints(self, "around")
        if len(self.sizes) < 2 or 0 in self.sizes:
            raise ValueError(f"sizes must be those of (C, *spatial), each >= 1, got {self.sizes}")
        if len(self.around) != 2:
            raise ValueError(f"around must be numbers before and after, got {self.around}")

    def __repr__(self) -> str:
        around = f", around={self.around}" if any(self.around) else ""
        return f"ChannelsLast(axis={self.axis}, sizes={self.sizes}{around})"

    def flax_shape(self, torch: Shape) -> Shape:
        length = prod(self.sizes) + sum(self.around)
        fits = len(torch) > self.axis and torch[self.axis] == length
        _needs(fits, self, torch, f"an axis {self.axis} of length {length}")
        return torch

    def torch_shape(self, flax: Shape) -> Shape:
        return self.flax_shape(flax)

    def to_flax(self, x: np.ndarray) -> np.ndarray:
        return self._reordered(x, self.sizes, 0, len(self.sizes) - 1)

    def to_torch(self, y: np.ndarray) -> np.ndarray:
        return self._reordered(y, (*self.sizes[1:], self.sizes[0]), len(self.sizes) - 1, 0)

    def _reordered(self, x: np.ndarray, sizes: Shape, source: int, target: int) -> np.ndarray:
        """The array with the feature map, of `sizes`, transposed from axis `source` to `target`."""
        self.flax_shape(x.shape)  # a reshape would accept other sizes too
        before, count = self.around[0], prod(self.sizes)
        first, middle, end = np.split(x, (before, before + count), self.axis)
        whole = middle.reshape(*x.shape[: self.axis], *sizes, *x.shape[self.axis + 1 :])
        reordered = np.moveaxis(whole, self.axis + source, self.axis + target).reshape(middle.shape)
        return np.concatenate((first, reordered, end), self.axis) if any(self.around) else reordered


@dataclass(frozen=True)
class Part(Op):
    """One of `count` equal blocks along axis 0; `join` concatenates them.

    Args:
      index: which block, from 0.
      count: the number of blocks in the torch tensor.

    Raises:
      ValueError: `index` is not less than `count`.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        for name, least in (("index", 0), ("count", 1)):
            object.__setattr__(self, name, _int(self, name, getattr(self, name), least))
        if self.index >= self.count:
            raise ValueError(f"index must be less than count={self.count}, got {self.index}")

    def flax_shape(self, torch: Shape) -> Shape:
        fits = bool(torch) and torch[0] % self.count == 0
        _needs(fits, self, torch, f"{self.count} blocks")
        return (torch[0] // self.count, *torch[1:])

    def torch_shape(self, flax: Shape) -> Shape:
        _needs(bool(flax), self, flax, "an axis")
        return (flax[0] * self.count, *flax[1:])

    def to_flax(self, x: np.ndarray) -> np.ndarray:
        rows = self.flax_shape(x.shape)[0]
        return x[self.index * rows : (self.index + 1) * rows]

    def to_torch(self, y: np.ndarray) -> np.ndarray:
        return y  # one block of the tensor, for `join`


@dataclass(frozen=True)
class Chain(Op):
    """Several operations, in order from torch to Flax.

    Args:
      ops: the operations; those of a `Chain` among them are taken out of it.

    Raises:
      ValueError: a `Part` is not the first operation.
    """

    ops: tuple[Op, ...]

    def __post_init__(self) -> None:
        flat = [o for op in self.ops for o in (op.ops if isinstance(op, Chain) else (op,))]
        if any(isinstance(op, Part) for op in flat[1:]):
            raise ValueError(f"a Part can only be the first operation of a Chain: {self}")
        object.__setattr__(self, "ops", tuple(flat))

    def flax_shape(self, torch: Shape) -> Shape:
        for op in self.ops:
            torch = op.flax_shape(torch)
        return torch

    def torch_shape(self, flax: Shape) -> Shape:
        for op in reversed(self.ops):
            flax = op.torch_shape(flax)
        return flax

    def to_flax(self, x: np.ndarray) -> np.ndarray:
        for op in self.ops:
            x = op.to_flax(x)
        return x

    def to_torch(self, y: np.ndarray) -> np.ndarray:
        for op in reversed(self.ops):
            y = op.to_torch(y)
        return y


def part_of(op: Op) -> Part | None:
    """The `Part` that an operation starts with, if it does."""
    first = op.ops[0] if isinstance(op, Chain) and op.ops else op
    return first if isinstance(first, Part) else None


def join(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """The tensor that consists of these parts, in order."""
    return np.concatenate(list(blocks))


def _needs(ok: bool, op: Op, shape: Shape, expected: str) -> None:
    if not ok:
        raise ShapeRefused(f"{op} needs {expected}, but got shape {tuple(shape)}")


def _ints(op: Op, name: str) -> None:
    """Check that a field contains integers, and make it a tuple: it may be from a file."""
    values = getattr(op, name)
    if not isinstance(values, (tuple, list)):
        raise ValueError(f"{type(op).__name__}: {name} must be a tuple of integers, got {values!r}")
    object.__setattr__(op, name, tuple(_int(op, name, n, 0) for n in values))


def _int(op: Op, name: str, value: Any, least: int) -> int:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
        raise ValueError(
            f"{type(op).__name__}: {name} must be an integer >= {least}, got {value!r}"
        )
    return int(value)
