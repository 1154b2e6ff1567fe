"""A torch file without torch: the tensors that its pickle describes, read from where they lie."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from jaxgroups.convert._files import torch_legacy as _torch_legacy
from jaxgroups.convert._files import torch_zip as _torch_zip
from jaxgroups.convert._files.base import Checkpoint, CheckpointError, repeated
from jaxgroups.convert._files.bytes import Stamp, read_array
from jaxgroups.convert._files.select import select
from jaxgroups.convert._files.torch_objects import Tensor


class OwnTorchCheckpoint(Checkpoint):
    """Knows of every storage where it starts in the file; each tensor is read from there."""

    def __init__(
        self, path: Path, format: Literal["torch-zip", "torch-legacy"], key: str | None
    ) -> None:
        self._file = path
        self._stamp = Stamp.of(path)
        read = _torch_zip.read if format == "torch-zip" else _torch_legacy.read
        root, self._places = read(path, self._stamp.size)
        self._tensors, extras = select(root, key, lambda value: isinstance(value, Tensor))
        for name, tensor in self._tensors.items():
            _check_place(name, tensor, self._places)
        super().__init__(
            path,
            format,
            {name: tensor.info for name, tensor in self._tensors.items()},
            aliases=repeated({name: _memory(tensor) for name, tensor in self._tensors.items()}),
            extras=extras,
        )

    def _read(self, name: str) -> np.ndarray:
        self._stamp.check(self._file)
        tensor = self._tensors[name]
        start = self._places[tensor.storage.key][0] + tensor.start
        info = tensor.info
        return read_array(self._file, start, info.shape, info.numpy_dtype, tensor.stride)


def _memory(tensor: Tensor) -> Hashable:
    if 0 in tensor.shape:
        return None
    return (tensor.storage.key, tensor.start, tensor.shape, tensor.stride, tensor.dtype)


def _check_place(name: str, tensor: Tensor, places: Mapping[str, tuple[int, int]]) -> None:
    storage = tensor.storage
    if storage.key not in places:
        raise CheckpointError(
            f"damaged: {name!r} needs storage {storage.key}, which is not in the file"
        )
    needed, found = storage.count * storage.itemsize, places[storage.key][1]
    if found != needed:
        raise CheckpointError(
            f"damaged: {name!r} needs storage {storage.key} of {needed} bytes, but the file holds "
            f"{found} of it: download or save it again"
        )
