"""torch.save's format since 1.6: ``NAME/data.pkl`` and one member ``NAME/data/KEY`` a storage.

Members are stored uncompressed, so a storage is a stretch of the file. The directory is read by
`zipfile`; its claims are compared with the size of the file and the local headers.
"""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

from jaxgroups.convert._files.base import CheckpointError
from jaxgroups.convert._files.pickle import unpickle
from jaxgroups.convert._files.torch_objects import storage

_LOCAL = struct.Struct("<4s22xHH")  # a local header: signature, length of name and of extra field
_UTF8, _ENCRYPTED = 0x800, 0x1  # flags


def read(path: Path, size: int) -> tuple[Any, dict[str, tuple[int, int]]]:
    """What the file holds, and the first byte and the length of every storage in it."""
    members = _members(path, size)
    pickles = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise CheckpointError(
            f"a zip of {len(members)} members with {len(pickles)} named */data.pkl instead of 1: "
            "not what torch.save writes"
        )
    top = pickles[0].removesuffix("data.pkl")
    if f"{top}constants.pkl" in members:
        raise CheckpointError(
            "a TorchScript archive, which holds code: load it with torch.jit.load and save its "
            "state_dict()"
        )
    with open(path, "rb") as file:
        places = {name: _place(file, info, size) for name, info in members.items()}
        order = _content(file, places.get(f"{top}byteorder", (0, 0)))
        if order not in (b"", b"little"):
            raise CheckpointError(
                f"byte order {order!r:.20}: only little-endian files are read; save it again on a "
                "little-endian machine"
            )
        pickle = _content(file, places[pickles[0]])
    root = unpickle(io.BytesIO(pickle), len(pickle), storage, pickles[0])
    data = f"{top}data/"
    return root, {n.removeprefix(data): at for n, at in places.items() if n.startswith(data)}


def _members(path: Path, size: int) -> dict[str, zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, struct.error) as e:
        raise CheckpointError(
            f"truncated or damaged: it starts as a zip, but its {size} bytes do not end with a "
            f"readable directory ({e}): download or save it again"
        ) from e
    members = {info.filename: info for info in infos}
    if len(members) != len(infos):
        raise CheckpointError(f"damaged: {len(infos)} members, but {len(members)} names")
    return members


def _place(file: BinaryIO, info: zipfile.ZipInfo, size: int) -> tuple[int, int]:
    """First byte and length of a member's data."""
    name = info.filename
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & _ENCRYPTED:
        raise CheckpointError(
            f"member {name} is compressed or encrypted, as torch.save never does: unpack the zip "
            "and pack it again with no compression (zip -0), or save it again"
        )
    if info.compress_size != info.file_size:
        raise CheckpointError(
            f"damaged: member {name} announces {info.file_size} bytes, but stores "
            f"{info.compress_size}"
        )
    file.seek(info.header_offset)
    head = file.read(_LOCAL.size)
    if len(head) < _LOCAL.size or not head.startswith(b"PK\3\4"):
        raise CheckpointError(f"damaged: no member starts at byte {info.header_offset}: {name}")
    _, name_length, extra_length = _LOCAL.unpack(head)
    if file.read(name_length) != name.encode("utf-8" if info.flag_bits & _UTF8 else "cp437"):
        raise CheckpointError(f"damaged: member {name} has another name in its own header")
    start = info.header_offset + _LOCAL.size + name_length + extra_length
    if start + info.file_size > size:
        raise CheckpointError(
            f"truncated: member {name} needs {info.file_size} bytes from byte {start} on, but the "
            f"file has {size} bytes: download or save it again"
        )
    return start, info.file_size


def _content(file: BinaryIO, place: tuple[int, int]) -> bytes:
    file.seek(place[0])
    return file.read(place[1])
