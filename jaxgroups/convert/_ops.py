"""The closed set of operations between a torch tensor and a Flax leaf, each with its inverse.

An operation only moves values: ``forward`` goes from torch to Flax, ``backward`` back, and
``backward(forward(x))`` is ``x`` bit for bit for every dtype. Arithmetic is not in the set; the one
exception, folding a weight norm, is import-only and lives in `_plan` as a status of its own.

    Identity()                 as it is
    Permute((2, 3, 1, 0))      np.transpose
    Flip((0, 1))               reverse the given axes (of the Flax side)
    Reshape((1,), ())          same values in the same order, both shapes told
    FlattenCHW(c, h, w)        Linear after flatten: (O, C H W) -> (H W C, O)
    Part(i, n)                 the i-th of n equal blocks along axis 0; Flax leaves share a tensor
    Chain((a, b))              a, then b
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import numpy as np

Shape = tuple[int, ...]


class Op:
    """An invertible move. ``shape`` gives the Flax shape of a torch shape, or says why not."""

    def shape(self, torch: Shape) -> Shape:
        """The Flax shape of a torch shape; ValueError where it has none."""
        raise NotImplementedError

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Torch's array as Flax holds it."""
        raise NotImplementedError

    def backward(self, y: np.ndarray) -> np.ndarray:
        """Flax's array as torch holds it."""
        raise NotImplementedError


@dataclass(frozen=True)
class Identity(Op):
    """The same array on both sides."""

    def shape(self, torch: Shape) -> Shape:
        return torch

    def forward(self, x: np.ndarray) -> np.ndarray:
        return x

    def backward(self, y: np.ndarray) -> np.ndarray:
        return y


@dataclass(frozen=True)
class Permute(Op):
    """Flax's axis i is torch's axis ``axes[i]``."""

    axes: Shape

    def shape(self, torch: Shape) -> Shape:
        _needs(len(torch) == len(self.axes), self, torch, f"{len(self.axes)} axes")
        return tuple(torch[a] for a in self.axes)

    def forward(self, x: np.ndarray) -> np.ndarray:
        return x.transpose(self.axes)

    def backward(self, y: np.ndarray) -> np.ndarray:
        return y.transpose(tuple(int(a) for a in np.argsort(self.axes)))


@dataclass(frozen=True)
class Flip(Op):
    """The same axes, those of `axes` run backwards."""

    axes: Shape

    def shape(self, torch: Shape) -> Shape:
        _needs(all(a < len(torch) for a in self.axes), self, torch, "an axis more")
        return torch

    def forward(self, x: np.ndarray) -> np.ndarray:
        return np.flip(x, self.axes)

    def backward(self, y: np.ndarray) -> np.ndarray:
        return np.flip(y, self.axes)


@dataclass(frozen=True)
class Reshape(Op):
    """The same values in the same order, in another shape."""

    torch: Shape
    flax: Shape

    def __post_init__(self) -> None:
        if prod(self.torch) != prod(self.flax):
            raise ValueError(f"{self.torch} and {self.flax} do not hold the same number of values")

    def shape(self, torch: Shape) -> Shape:
        _needs(torch == self.torch, self, torch, f"{self.torch}")
        return self.flax

    def forward(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(self.flax)

    def backward(self, y: np.ndarray) -> np.ndarray:
        return y.reshape(self.torch)


@dataclass(frozen=True)
class FlattenCHW(Op):
    """Torch flattens (C, H, W), Flax (H, W, C), before the Linear that holds this weight."""

    c: int
    h: int
    w: int

    def shape(self, torch: Shape) -> Shape:
        n = self.c * self.h * self.w
        _needs(len(torch) == 2 and torch[1] == n, self, torch, f"(out, {n})")
        return (n, torch[0])

    def forward(self, x: np.ndarray) -> np.ndarray:
        chw = x.reshape(-1, self.c, self.h, self.w)
        return chw.transpose(2, 3, 1, 0).reshape(-1, len(x))

    def backward(self, y: np.ndarray) -> np.ndarray:
        hwc = y.reshape(self.h, self.w, self.c, -1)
        return hwc.transpose(3, 2, 0, 1).reshape(y.shape[1], -1)


@dataclass(frozen=True)
class Part(Op):
    """One of `count` blocks along axis 0; `join` puts them together again."""

    index: int
    count: int

    def shape(self, torch: Shape) -> Shape:
        _needs(bool(torch) and torch[0] % self.count == 0, self, torch, f"{self.count} blocks")
        return (torch[0] // self.count, *torch[1:])

    def forward(self, x: np.ndarray) -> np.ndarray:
        return np.split(x, self.count)[self.index]

    def backward(self, y: np.ndarray) -> np.ndarray:
        return y  # one block of the tensor: `join` needs them all


@dataclass(frozen=True)
class Chain(Op):
    """One operation after the other, from torch to Flax."""

    ops: tuple[Op, ...]

    def shape(self, torch: Shape) -> Shape:
        for op in self.ops:
            torch = op.shape(torch)
        return torch

    def forward(self, x: np.ndarray) -> np.ndarray:
        for op in self.ops:
            x = op.forward(x)
        return x

    def backward(self, y: np.ndarray) -> np.ndarray:
        for op in reversed(self.ops):
            y = op.backward(y)
        return y


def part_of(op: Op) -> Part | None:
    """The `Part` that an operation starts with, if it does."""
    first = op.ops[0] if isinstance(op, Chain) and op.ops else op
    return first if isinstance(first, Part) else None


def torch_shape(op: Op, flax: Shape) -> Shape:
    """The torch shape whose forward gives `flax`: what the inverse makes of an array like it."""
    like = op.backward(np.broadcast_to(np.zeros((), np.int8), flax)).shape
    part = part_of(op)
    return like if part is None else (like[0] * part.count, *like[1:])


def join(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """The tensor whose parts these are, in order."""
    return np.concatenate(list(blocks))


class ShapeRefused(ValueError):
    """A tensor has not the shape that the operation of its layer needs."""


def _needs(ok: bool, op: Op, shape: Shape, expected: str) -> None:
    if not ok:
        raise ShapeRefused(f"{op} needs {expected}, but got shape {shape}")


# --- JSON --------------------------------------------------------------------------------------

_KINDS: dict[str, Any] = {
    c.__name__: c for c in (Identity, Permute, Flip, Reshape, FlattenCHW, Part)
}


def to_json(op: Op) -> Any:
    """``["Permute", {"axes": [2, 3, 1, 0]}]``, a chain as a list of those."""
    if isinstance(op, Chain):
        return ["Chain", [to_json(o) for o in op.ops]]
    return [type(op).__name__, asdict(op)]  # type: ignore[call-overload]


def from_json(data: Any) -> Op:
    """Raises ValueError for an operation that is not in the closed set."""
    kind, fields = data
    if kind == "Chain":
        return Chain(tuple(from_json(o) for o in fields))
    if kind not in _KINDS:
        raise ValueError(f"unknown operation {kind!r}: expected one of {', '.join(_KINDS)}, Chain")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    return _KINDS[kind](**values)
