"""Reads arrays from a byte range of a file, with checks."""

import os
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from jaxgroups.convert._files.base import CheckpointError

BUDGET = 1 << 25  # bytes read through one memory map before it is closed


class Budget:
    """Counts bytes read through a memory map, whose pages stay in memory until it is closed."""

    def __init__(self) -> None:
        self._used = 0

    def spent(self, nbytes: int) -> bool:
        """Count more bytes; returns whether the map should be closed, and then starts again."""
        self._used += nbytes
        if self._used < BUDGET:
            return False
        self._used = 0
        return True


@dataclass(frozen=True)
class Stamp:
    """Identifies a file, to detect changes after its header was read."""

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
    """The byte range of a storage in a file: first byte, length, and CRC-32 (0 if not known)."""

    start: int
    length: int
    crc: int = 0


def check_crc(what: str, data: bytes | memoryview, crc: int) -> None:
    """Raise CheckpointError for data with another checksum; 0 is none, as torch writes it."""
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

    Only the bytes from its first to its last element are read.

    Args:
      path: the file.
      start: the array's first byte in it.
      shape, dtype: of the array.
      stride: in elements; None for C order.
      within: the storage of the array. If the array fills it, the checksum is compared.

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
    """A C-contiguous copy of the view of `flat` with this stride, in elements.

    The caller has checked that the view is within `flat`.
    """
    strides = tuple(n * flat.itemsize for n in stride)
    # as_strided does not support all of ml_dtypes
    return np.array(np.ndarray(shape, flat.dtype, flat, strides=strides), order="C", copy=True)


def extent(shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """The number of elements from the first to the last one, both included."""
    if 0 in shape:
        return 0
    return 1 + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))


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
