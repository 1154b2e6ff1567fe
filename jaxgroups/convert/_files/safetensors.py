"""Reads a safetensors file."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from jaxgroups.convert._files import dtypes
from jaxgroups.convert._files.base import Checkpoint, CheckpointError, TensorInfo
from jaxgroups.convert._files.bytes import Budget, Stamp, read_array
from jaxgroups.convert._files.header import read_header


class SafetensorsCheckpoint(Checkpoint):
    """One safetensors file. It must be valid for the official library, if that supports its dtypes.

    The data are read, not mapped: the pages of a map would stay in memory until it is closed.

    Args:
      path: the file.
      by_library: whether the official library reads the data, if it supports the dtypes.
    """

    def __init__(self, path: Path, by_library: bool = False) -> None:
        stamp = Stamp.of(path)
        header = read_header(path)
        aliases = {
            dropped: kept
            for dropped, kept in header.metadata.items()
            if kept in header.infos and dropped not in header.infos
        }
        infos = header.infos | {dropped: header.infos[kept] for dropped, kept in aliases.items()}
        readable = readable_by_library(infos.values())
        super().__init__(
            path,
            "safetensors",
            infos,
            reader="safetensors" if by_library and readable else "own",
            aliases=aliases,
            metadata=header.metadata,
        )
        self._file = path
        self._library = library_reader(path) if self.reader == "safetensors" else None
        self._starts = header.starts
        self._stamp = stamp
        if readable:
            try:
                with safe_open(path, framework="numpy") as official:
                    names = set(official.keys())
            except SafetensorError as error:
                raise CheckpointError(f"the safetensors library refuses it: {error}") from error
            if names != header.infos.keys():
                raise CheckpointError("the safetensors library finds other names in its header")

    def _read(self, name: str) -> np.ndarray:
        self._stamp.check(self._file)
        if self._library is not None:
            return np.array(self._library(name), order="C", copy=True)
        info = self.infos[name]
        return read_array(self._file, self._starts[name], info.shape, info.numpy_dtype)


def library_reader(path: Path) -> Callable[[str], np.ndarray]:
    """A function that reads tensors by the official library, and closes its map now and then."""
    budget = Budget()
    opened: list[Any] = []

    def read(name: str) -> np.ndarray:
        if not opened:
            opened.append(safe_open(path, framework="numpy"))
        array = opened[0].get_tensor(name)
        if budget.spent(array.nbytes):
            opened.clear()
        return array

    return read


def readable_by_library(infos: Iterable[TensorInfo]) -> bool:
    return all(info.dtype in dtypes.READ_BY_LIBRARY for info in infos)
