"""Arrays out of a stretch of a file, checked against what the file holds."""

import os
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import NamedTuple, Self

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


class Place(NamedTuple):
    """Where a storage lies in a file: first byte, length, and the CRC-32 of it (0 if not known)."""

    start: int
    length: int
    crc: int = 0


def check_crc(what: str, data: bytes | memoryview, crc: int) -> None:
    """CheckpointError for data of another checksum; 0 is what torch writes without checksums."""
    if crc and zlib.crc32(data) != crc:
        raise CheckpointError(
            f"damaged: the {len(data)} bytes of {what} do not have the checksum that the zip "
            "announces: download or save it again"
        )


def read_array(
    path: Path,
    start: int,
    shape: tuple[int, ...],
    dtype: np.dtype,
    stride: tuple[int, ...] | None = None,
    within: Place | None = None,
) -> np.ndarray:
    """The array that starts at byte `start`.

    Only the stretch between its first and its last element is read.

    Args:
      path: the file.
      start: the array's first byte in it.
      shape, dtype: of the array.
      stride: in elements; None for C order.
      within: the storage that the array is a part of. If it is all of it, the checksum is compared.

    Raises:
      CheckpointError: the file ends too early, or has another checksum.
    """
    if 0 in shape or stride == contiguous(shape):
        stride = None
    flat = np.empty(prod(shape) if stride is None else extent(shape, stride), dtype)
    _fill(path, start, flat)
    if within is not None and (start, flat.nbytes) == (within.start, within.length):
        check_crc("the storage", flat.view(np.uint8).data, within.crc)
    return flat.reshape(shape) if stride is None else strided(flat, shape, stride)


def strided(flat: np.ndarray, shape: tuple[int, ...], stride: tuple[int, ...]) -> np.ndarray:
    """A C-contiguous copy of the view with this stride, in elements, that starts at `flat`'s first.

    The caller has checked that the view lies within `flat`.
    """
    strides = tuple(n * flat.itemsize for n in stride)
    # not as_strided, which does not take all of ml_dtypes
    return np.array(np.ndarray(shape, flat.dtype, flat, strides=strides), order="C", copy=True)


def extent(shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """How many elements lie between the first and the last one, both included."""
    if 0 in shape:
        return 0
    return 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of C order, in elements."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _fill(path: Path, start: int, array: np.ndarray) -> None:
    target = array.view(np.uint8).data
    with open(path, "rb") as file:
        file.seek(start)
        got = file.readinto(target)
    if got != len(target):
        raise CheckpointError(
            f"truncated: {len(target)} bytes should start at byte {start}, but {got} were there: "
            "download or save it again"
        )
