"""A torch file by torch itself, its restricted unpickler; memory-mapped where the format allows."""

from importlib import import_module
from pathlib import Path
from typing import Literal

import numpy as np

from jaxgroups.convert._files._base import Checkpoint, CheckpointError, repeated
from jaxgroups.convert._files._memory import copied, info_of, is_torch, memory_of
from jaxgroups.convert._files._select import select
from jaxgroups.convert._files._torch_objects import check_expansion


class TorchCheckpoint(Checkpoint):
    def __init__(
        self, path: Path, format: Literal["torch-zip", "torch-legacy"], key: str | None
    ) -> None:
        torch = import_module("torch")
        try:
            root = torch.load(
                str(path), map_location="cpu", weights_only=True, mmap=format == "torch-zip"
            )
        except Exception as error:
            raise CheckpointError(
                f"torch.load(weights_only=True) refuses it: {_reason(error)}. If the file is whole "
                "and yours, load it where it was made and save model.state_dict()"
            ) from error
        self._tensors, extras = select(root, key, is_torch)
        infos = {name: info_of(name, tensor) for name, tensor in self._tensors.items()}
        for name, tensor in self._tensors.items():
            check_expansion(infos[name], tensor.untyped_storage().nbytes())
        keys = {name: memory_of(tensor) for name, tensor in self._tensors.items()}
        super().__init__(path, format, infos, aliases=repeated(keys), extras=extras)

    def _read(self, name: str) -> np.ndarray:
        return copied(self._tensors[name])

    def close(self) -> None:
        super().close()
        self._tensors = {}


def _reason(error: Exception) -> str:
    """The sentence that says why, without the advice to load it unsafely."""
    _, _, rest = str(error).partition("WeightsUnpickler error: ")
    return (rest or str(error)).strip().split("\n")[0].split(". ")[0].rstrip(".")
