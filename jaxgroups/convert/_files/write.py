"""Writes safetensors files with one tensor in memory at a time, and verifies them.

The official writer needs all tensors at once, and up to version 0.8 writes the values of arrays
that are not contiguous in the wrong order.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from jaxgroups.convert._files import dtypes
from jaxgroups.convert._files.atomic import new_file
from jaxgroups.convert._files.base import CheckpointError, TensorInfo, about
from jaxgroups.convert._files.header import METADATA, make_header
from jaxgroups.convert._files.safetensors import (
    SafetensorsCheckpoint,
    library_reader,
    readable_by_library,
)

Source = tuple[str, TensorInfo, Callable[[], np.ndarray]]
Progress = Callable[[str, int, int], None]


def write_safetensors(
    path: str | os.PathLike[str],
    tensors: Iterable[Source],
    metadata: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write tensors in the given order, with one in memory at a time.

    The file is read back and compared before it gets its name, also if it replaces another one. The
    comparison maps up to 32 MiB of the file, or one tensor if it is larger. Equal tensors give
    equal files.

    Args:
      path: the file to write.
      tensors: name, shape and dtype, and a function that returns the array. It may have any memory
        layout and byte order; it is written in C order, little-endian.
      metadata: strings for the header.
      progress: called after each tensor with its name, the bytes of data so far, and in total.
      overwrite: whether an existing file may be replaced; a symbolic link is never replaced.

    Raises:
      CheckpointError: the file exists, or is a symbolic link; a dtype that safetensors does not
        have; an array with another shape or dtype than given; or a difference after reading back.
        After any exception, KeyboardInterrupt included, nothing is left.
    """
    path = Path(path)
    with about(path):
        sources = list(tensors)
        infos = _checked({name: info for name, info, _ in sources}, len(sources))
        header = make_header(infos, _strings(metadata or {}))
        with new_file(path, overwrite) as (file, readable):
            file.write(header)
            sums = _write(file, sources, progress)
            file.flush()
            os.fsync(file.fileno())
            _compare(readable, infos, dict(metadata or {}), sums)


def _checked(infos: dict[str, TensorInfo], count: int) -> dict[str, TensorInfo]:
    if len(infos) != count:
        raise CheckpointError(f"{count} tensors to write, but only {len(infos)} different names")
    for name, info in infos.items():
        if not isinstance(name, str) or name == METADATA:
            raise CheckpointError(f"a tensor cannot be named {name!r} in a safetensors file")
        if info.dtype not in dtypes.TO_SAFETENSORS:
            raise CheckpointError(
                f"{name!r} is {info}, but safetensors has no such dtype; it has "
                f"{', '.join(dtypes.TO_SAFETENSORS)}: cast it, or store real and imaginary parts"
            )
    return infos


def _strings(metadata: Mapping[str, str]) -> Mapping[str, str]:
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise CheckpointError(f"metadata are strings by name, but got {key!r}: {value!r:.100}")
    return metadata


def _write(file: BinaryIO, sources: list[Source], progress: Progress | None) -> dict[str, bytes]:
    total = sum(info.nbytes for _, info, _ in sources)
    done, sums = 0, {}
    for name, info, make in sources:
        data = _bytes(name, info, make())
        file.write(data)
        sums[name] = _sum(data)
        done += len(data)
        del data
        if progress is not None:
            progress(name, done, total)
    return sums


def _bytes(name: str, info: TensorInfo, array: np.ndarray) -> memoryview:
    found = TensorInfo(np.shape(array), np.asarray(array).dtype.name)
    if found != info:
        raise CheckpointError(f"{name!r} was announced as {info}, but the array is {found}")
    # np.ascontiguousarray would add an axis to a scalar
    array = np.asarray(array, dtype=info.numpy_dtype, order="C")
    return array.reshape(-1).view(np.uint8).data


def _sum(data: memoryview) -> bytes:
    return hashlib.blake2b(data).digest()


def _compare(
    path: Path, infos: dict[str, TensorInfo], metadata: dict[str, str], sums: dict[str, bytes]
) -> None:
    """Read the file back, by the official library if it supports the dtypes, and compare it."""
    with SafetensorsCheckpoint(path) as written:
        stored = {n: info for n, info in written.infos.items() if n not in written.aliases}
        if stored != infos or written.metadata != metadata:
            raise CheckpointError("the header differs after it was read back: try again")
        read = library_reader(path) if readable_by_library(infos.values()) else written.read
        for name, info in stored.items():
            if _sum(_bytes(name, info, read(name))) != sums[name]:
                raise CheckpointError(
                    f"{name!r} differs after it was written and read back: the disk or the memory "
                    "is faulty; the file was not written"
                )
