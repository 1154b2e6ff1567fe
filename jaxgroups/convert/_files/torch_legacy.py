"""torch.save's format before 1.6: five pickles, then the storages.

magic number, version of the protocol, {"little_endian": ...}, the data, keys of storages
for each key: number of elements, 8 bytes little-endian, and the elements
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxgroups.convert._files.base import CheckpointError, short
from jaxgroups.convert._files.bytes import Place
from jaxgroups.convert._files.pickle import FindStorage, unpickle
from jaxgroups.convert._files.torch_objects import Storage

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001


def read(
    path: Path, size: int, storage: FindStorage, storages: Mapping[str, Storage]
) -> tuple[Any, dict[str, Place]]:
    """The content of the file, and the byte range of every storage.

    Args:
      path, size: the file and its size in bytes.
      storage: the function from a persistent id to its value.
      storages: the storages that `storage` has returned so far, by key.

    Raises:
      CheckpointError: another kind of pickle, or a damaged file.
    """

    with open(path, "rb") as file:
        magic = unpickle(file, size, what="its first pickle")
        if magic != MAGIC:
            raise CheckpointError(
                f"a pickle, but not torch's: it starts with {short(magic)} instead of torch's "
                "number. Load it with the library that made it and save a dict of tensors"
            )
        version = unpickle(file, size, what="the version")
        if version != VERSION:
            raise CheckpointError(f"version {short(version)} of torch's format, not {VERSION}")
        system = unpickle(file, size, what="the system")
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise CheckpointError(
                "written on a big-endian machine, or it does not say: only little-endian files "
                "are read; save it again on a little-endian machine"
            )
        root = unpickle(file, size, storage, what="its data")
        keys = unpickle(file, size, what="the list of storages")
        if type(keys) is not list or not all(type(key) in (str, int) for key in keys):
            raise CheckpointError(f"damaged: {short(keys)} is not a list of storages")
        if not {str(key) for key in keys} <= storages.keys():
            raise CheckpointError(f"damaged: {short(keys)} does not list the storages in use")
        start = file.tell()
        places: dict[str, Place] = {}
        for key in map(str, keys):
            file.seek(start)
            count = int.from_bytes(file.read(8), "little")
            length = count * storages[key].itemsize
            if start + 8 + length > size:
                raise CheckpointError(
                    f"truncated: storage {key} needs {8 + length} bytes from byte {start} on, but "
                    f"the file has {size} bytes: download or save it again"
                )
            if key in places:
                raise CheckpointError(f"damaged: storage {key} is listed twice")
            places[key] = Place(start + 8, length)
            start += 8 + length
        if start != size:
            raise CheckpointError(
                f"damaged: {size - start} bytes follow the last of {len(keys)} storages"
            )
    return root, places
