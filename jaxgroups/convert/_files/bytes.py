"""Arrays out of a stretch of a file, checked against what the file holds."""

import os
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Self

import numpy as np

from jaxgroups.convert._files.base import CheckpointError

BUDGET = 1 << 25  # bytes read through one map of a file before it is let go


class Budget:
    """Counts what was read through a map of a file, whose pages stay in memory until it is gone."""

    def __init__(self) -> None:
        self._used = 0

    def spent(self, nbytes: int) -> bool:
        """Whether, with so many bytes more, it is time to let go; then it starts again."""
        self._used += nbytes
        if self._used < BUDGET:
            return False
        self._used = 0
        return True


@dataclass(frozen=True)
class Stamp:
    """Tells whether a file is still the one whose header was read."""

    size: int
    time: int
    node: tuple[int, int]

    @classmethod
    def of(cls, path: Path) -> Self:
        stat = os.stat(path)
        return cls(stat.st_size, stat.st_mtime_ns, (stat.st_dev, stat.st_ino))

    def check(self, path: Path) -> None:
        now = type(self).of(path)
        if now != self:
            raise CheckpointError(
                f"the file changed since it was opened ({self.size} bytes then, {now.size} now): "
                "open it again"
            )


def read_array(
    path: Path,
    start: int,
    shape: tuple[int, ...],
    dtype: np.dtype,
    stride: tuple[int, ...] | None = None,
) -> np.ndarray:
    """The array that starts at byte `start`; `stride` in elements, None for C order.

    Only the stretch between its first and its last element is read.
    """
    if stride is None or 0 in shape or stride == contiguous(shape):
        array = np.empty(shape, dtype)
        _fill(path, start, array)
        return array
    flat = np.empty(extent(shape, stride), dtype)
    _fill(path, start, flat)
    strides = tuple(n * dtype.itemsize for n in stride)
    # not as_strided, which does not take all of ml_dtypes
    view = np.ndarray(shape, dtype, flat, strides=strides)
    return np.array(view, order="C", copy=True)


def extent(shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """How many elements lie between the first and the last one, both included."""
    if 0 in shape:
        return 0
    return 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of C order, in elements."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _fill(path: Path, start: int, array: np.ndarray) -> None:
    target = array.reshape(-1).view(np.uint8).data
    with open(path, "rb") as file:
        file.seek(start)
        got = file.readinto(target)
    if got != len(target):
        raise CheckpointError(
            f"truncated: {len(target)} bytes should start at byte {start}, but {got} were there: "
            "download or save it again"
        )
