"""Reads a torch zip file by Python's `zipfile`: whole storages, unpacked, with their checksums.

It finds the bytes of a storage independently of the own reader, so that each can verify the other.
"""

import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from jaxgroups.convert._files.base import Checkpoint, CheckpointError, repeated
from jaxgroups.convert._files.bytes import Stamp
from jaxgroups.convert._files.select import select
from jaxgroups.convert._files.torch_objects import EXPANSION
from jaxgroups.convert._files.torch_own import check_storages, collecting, is_tensor, memory_of
from jaxgroups.convert._files.torch_zip import (
    UNREADABLE,
    damaged,
    members_of,
    top_of,
    unpickle_member,
)

_PICKLE = 1 << 20  # maximum size of a compressed pickle in a smaller file


class ZipfileTorchCheckpoint(Checkpoint):
    """A torch zip file. The last storage is kept in memory if several tensors share it."""

    def __init__(self, path: Path, key: str | None) -> None:
        self._file = path
        self._stamp = Stamp.of(path)
        try:
            self._archive = zipfile.ZipFile(path)
        except UNREADABLE as error:
            raise damaged(self._stamp.size, error) from error
        try:
            self._members = members_of(self._archive.infolist())
            self._top = top_of(self._members)
            self._tensors, extras = select(self._unpickled(), key, is_tensor)
        except BaseException:
            self._archive.close()
            raise
        self._shared = Counter(tensor.storage.key for tensor in self._tensors.values())
        self._last: tuple[str, bytes] = ("", b"")
        super().__init__(
            path,
            "torch-zip",
            {name: tensor.info for name, tensor in self._tensors.items()},
            reader="zipfile",
            aliases=repeated({name: memory_of(tensor) for name, tensor in self._tensors.items()}),
            extras=extras,
        )

    def _unpickled(self) -> Any:
        storage, storages = collecting()
        contents = {
            name: self._content(name, max(self._stamp.size, _PICKLE))
            for name in (f"{self._top}byteorder", f"{self._top}data.pkl")
            if name in self._members
        }
        root = unpickle_member(contents, self._top, storage)
        data = f"{self._top}data/"
        check_storages(
            storages,
            {
                name.removeprefix(data): member.file_size
                for name, member in self._members.items()
                if name.startswith(data)
            },
        )
        return root

    def _read(self, name: str) -> np.ndarray:
        self._stamp.check(self._file)
        tensor = self._tensors[name]
        dtype = tensor.info.numpy_dtype
        if 0 in tensor.shape:
            return np.zeros(tensor.shape, dtype)
        key = tensor.storage.key
        data = self._last[1] if self._last[0] == key else self._content(f"{self._top}data/{key}")
        self._last = (key, data) if self._shared[key] > 1 else ("", b"")
        strides = [stride * dtype.itemsize for stride in tensor.stride]
        view = np.ndarray(tensor.shape, dtype, data, tensor.start, strides)
        return np.array(view, order="C", copy=True)

    def _content(self, name: str, limit: int | None = None) -> bytes:
        """An unpacked member, whose size and checksum are checked."""
        member = self._members[name]
        if member.compress_size > self._stamp.size:  # zipfile would allocate as much
            raise CheckpointError(
                f"damaged: member {name} announces {member.compress_size} bytes in a file of "
                f"{self._stamp.size}: download or save it again"
            )
        limit = max(member.compress_size, EXPANSION) if limit is None else limit
        if member.file_size > limit:
            raise CheckpointError(
                f"member {name} unpacks from {member.compress_size} to {member.file_size} bytes, "
                f"which is allowed up to {limit}"
            )
        if member.CRC == 0:  # written by torch without checksums
            member.CRC = None  # pyright: ignore
        try:
            content = self._archive.read(member)
        except (*UNREADABLE, RuntimeError, zlib.error) as error:
            raise CheckpointError(
                f"damaged: member {name} cannot be unpacked ({error}): download or save it again"
            ) from error
        if len(content) != member.file_size:
            raise CheckpointError(
                f"damaged: member {name} announces {member.file_size} bytes, but {len(content)} "
                "were there"
            )
        return content

    def close(self) -> None:
        super().close()
        self._archive.close()
        self._last = ("", b"")
