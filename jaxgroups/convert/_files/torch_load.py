"""Reads a torch file by torch's restricted unpickler, memory-mapped if the format allows it.

A map does not check that members are uncompressed and have the right length. So the own reader
checks the archive, and the length of every storage, first.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from jaxgroups.convert._files.base import Checkpoint, CheckpointError, repeated
from jaxgroups.convert._files.bytes import Budget, Stamp
from jaxgroups.convert._files.in_memory import copied, info_of, is_torch, memory_of
from jaxgroups.convert._files.select import select
from jaxgroups.convert._files.torch_objects import check_expansion
from jaxgroups.convert._files.torch_own import TorchFormat, read_torch


class TorchCheckpoint(Checkpoint):
    """A torch file; a zip is mapped again now and then, since a map keeps the pages in memory."""

    def __init__(self, path: Path, format: TorchFormat, key: str | None) -> None:
        self._file, self._key, self._mapped = path, key, format == "torch-zip"
        self._stamp = Stamp.of(path)
        self._budget = Budget()
        read_torch(path, format, self._stamp.size)
        self._tensors, extras = self._load()
        infos = {name: info_of(name, tensor) for name, tensor in self._tensors.items()}
        for name, tensor in self._tensors.items():
            check_expansion(infos[name], tensor.untyped_storage().nbytes())
        keys = {name: memory_of(tensor) for name, tensor in self._tensors.items()}
        super().__init__(path, format, infos, reader="torch", aliases=repeated(keys), extras=extras)

    def _load(self) -> tuple[dict[str, Any], list[str]]:
        torch = import_module("torch")
        try:
            root = torch.load(
                str(self._file), map_location="cpu", weights_only=True, mmap=self._mapped
            )
        except Exception as error:
            raise CheckpointError(
                f"torch.load(weights_only=True) refuses it: {_reason(error)}. Try reader='own', or "
                "if the file is yours, load it where it was made and save model.state_dict()"
            ) from error
        return select(root, self._key, is_torch)

    def _read(self, name: str) -> np.ndarray:
        if not self._mapped:
            return copied(self._tensors[name])
        self._stamp.check(self._file)
        if not self._tensors:
            self._tensors, _ = self._load()
        array = copied(self._tensors[name])
        if self._budget.spent(array.nbytes):
            self._tensors = {}
        return array

    def close(self) -> None:
        super().close()
        self._tensors = {}


def _reason(error: Exception) -> str:
    """The reason in torch's message, without the advice to load the file unsafely."""
    _, _, rest = str(error).partition("WeightsUnpickler error: ")
    return (rest or str(error)).strip().split("\n")[0].split(". ")[0].rstrip(".")
