"""One safetensors file."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from jaxgroups.convert._files import dtypes
from jaxgroups.convert._files.base import Checkpoint, CheckpointError, TensorInfo
from jaxgroups.convert._files.bytes import Stamp, read_array
from jaxgroups.convert._files.header import read_header


class SafetensorsCheckpoint(Checkpoint):
    """One file; what the official library refuses is refused, unless a dtype is beyond it.

    The data are read, not mapped: pages of a map would stay until all of the model is in memory.
    """

    def __init__(self, path: Path) -> None:
        stamp = Stamp.of(path)
        header = read_header(path)
        aliases = {
            dropped: kept
            for dropped, kept in header.metadata.items()
            if kept in header.infos and dropped not in header.infos
        }
        infos = header.infos | {dropped: header.infos[kept] for dropped, kept in aliases.items()}
        super().__init__(path, "safetensors", infos, aliases=aliases, metadata=header.metadata)
        self._file = path
        self._starts = header.starts
        self._stamp = stamp
        if readable_by_library(infos.values()):
            try:
                with safe_open(path, framework="numpy") as official:
                    names = set(official.keys())
            except SafetensorError as error:
                raise CheckpointError(f"the safetensors library refuses it: {error}") from error
            if names != header.infos.keys():
                raise CheckpointError("the safetensors library finds other names in its header")

    def _read(self, name: str) -> np.ndarray:
        self._stamp.check(self._file)
        info = self.infos[name]
        return read_array(self._file, self._starts[name], info.shape, info.numpy_dtype)


def readable_by_library(infos: Iterable[TensorInfo]) -> bool:
    return all(info.dtype in dtypes.READ_BY_LIBRARY for info in infos)
