"""Reads a torch file without torch."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxgroups.convert._files import torch_legacy, torch_objects, torch_zip
from jaxgroups.convert._files.base import Checkpoint, CheckpointError, repeated
from jaxgroups.convert._files.bytes import Place, Stamp, read_array
from jaxgroups.convert._files.pickle import FindStorage
from jaxgroups.convert._files.select import select
from jaxgroups.convert._files.torch_objects import Storage, Tensor

TorchFormat = Literal["torch-zip", "torch-legacy"]


class OwnTorchCheckpoint(Checkpoint):
    """A torch file whose tensors are read one at a time, at their positions in the file."""

    def __init__(self, path: Path, format: TorchFormat, key: str | None) -> None:
        self._file = path
        self._stamp = Stamp.of(path)
        root, self._places = read_torch(path, format, self._stamp.size)
        self._tensors, extras = select(root, key, is_tensor)
        super().__init__(
            path,
            format,
            {name: tensor.info for name, tensor in self._tensors.items()},
            reader="own",
            aliases=repeated({name: memory_of(tensor) for name, tensor in self._tensors.items()}),
            extras=extras,
        )

    def _read(self, name: str) -> np.ndarray:
        self._stamp.check(self._file)
        tensor = self._tensors[name]
        place = self._places[tensor.storage.key]
        info, start = tensor.info, place.start + tensor.start
        return read_array(self._file, start, info.shape, info.numpy_dtype, tensor.stride, place)


def read_torch(path: Path, format: TorchFormat, size: int) -> tuple[Any, dict[str, Place]]:
    """The content of the file, and the byte ranges of its storages, whose sizes are checked."""
    storage, storages = collecting()
    if format == "torch-zip":
        root, places = torch_zip.read(path, size, storage)
    else:
        root, places = torch_legacy.read(path, size, storage, storages)
    check_storages(storages, {key: place.length for key, place in places.items()})
    return root, places


def collecting() -> tuple[FindStorage, Mapping[str, Storage]]:
    """A function for the storages of a pickle, and the storages that it has returned, by key."""
    storages: dict[str, Storage] = {}

    def storage(identity: Any) -> Any:
        made = torch_objects.storage(identity)
        if not isinstance(made, Storage):
            return made
        first = storages.setdefault(made.key, made)
        if (first.dtype, first.count) != (made.dtype, made.count):
            raise CheckpointError(
                f"damaged: storage {made.key} is named as {first.count} {first.dtype} and as "
                f"{made.count} {made.dtype}"
            )
        return made

    return storage, storages


def check_storages(storages: Mapping[str, Storage], lengths: Mapping[str, int]) -> None:
    """Raise CheckpointError for a storage that is missing or has another size than announced."""
    for key, storage in storages.items():
        if key not in lengths:
            raise CheckpointError(f"damaged: it needs storage {key}, which is not in the file")
        needed, found = storage.count * storage.itemsize, lengths[key]
        if found != needed:
            raise CheckpointError(
                f"damaged: it needs storage {key} of {needed} bytes, but the file holds {found} "
                "of it: download or save it again"
            )


def is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def memory_of(tensor: Tensor) -> Hashable:
    """A key that is equal for tensors with the same memory; None for one without elements."""
    if 0 in tensor.shape:
        return None
    return (tensor.storage.key, tensor.start, tensor.shape, tensor.stride, tensor.dtype)
