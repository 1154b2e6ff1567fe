"""torch.save's format since 1.6: ``NAME/data.pkl``, and ``NAME/data/KEY`` for each storage.

Members are stored uncompressed, so a storage is a byte range of the file. `zipfile` reads the
directory, which is checked against the size of the file and the local headers.
"""

import io
import struct
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO

from jaxgroups.convert._files.base import CheckpointError
from jaxgroups.convert._files.bytes import Place, check_crc
from jaxgroups.convert._files.pickle import FindStorage, unpickle

_LOCAL = struct.Struct("<4s4xH16xHH")  # signature, method, length of name and of extra field
_UTF8, _ENCRYPTED = 0x800, 0x1  # flags
UNREADABLE = (
    *(zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, struct.error),
    EOFError,
)  # what zipfile raises for damaged files


def read(path: Path, size: int, storage: FindStorage) -> tuple[Any, dict[str, Place]]:
    """The content of the file, and the byte range of every storage."""
    with open(path, "rb") as file:
        places = _places(file, size)
        top = top_of(places)
        contents = {
            name: _content(file, name, places[name])
            for name in (f"{top}byteorder", f"{top}data.pkl")
            if name in places
        }
    root = unpickle_member(contents, top, storage)
    data = f"{top}data/"
    return root, {n.removeprefix(data): at for n, at in places.items() if n.startswith(data)}


def top_of(names: Any) -> str:
    """The folder of the archive that torch.save made, ``NAME/``."""
    pickles = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise CheckpointError(
            f"a zip of {len(names)} members with {len(pickles)} named */data.pkl instead of 1: "
            "not what torch.save writes"
        )
    top = pickles[0].removesuffix("data.pkl")
    if f"{top}constants.pkl" in names:
        raise CheckpointError(
            "a TorchScript archive, which holds code: load it with torch.jit.load and save its "
            "state_dict()"
        )
    return top


def unpickle_member(contents: dict[str, bytes], top: str, storage: FindStorage) -> Any:
    """The content of data.pkl; refuses another byte order than little-endian."""
    order = contents.get(f"{top}byteorder", b"")
    if order not in (b"", b"little"):
        raise CheckpointError(
            f"byte order {order!r:.20}: only little-endian files are read; save it again on a "
            "little-endian machine"
        )
    pickle = contents[f"{top}data.pkl"]
    return unpickle(io.BytesIO(pickle), len(pickle), storage, f"{top}data.pkl")


def damaged(size: int, error: Exception) -> CheckpointError:
    """The error of a zip that `zipfile` cannot read."""
    return CheckpointError(
        f"truncated or damaged: it starts as a zip, but its {size} bytes do not end with a "
        f"readable directory ({error}): download or save it again"
    )


def members_of(infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """The members by name; raises CheckpointError for duplicate names and negative offsets.

    torch ignores the case of names, so names that differ only in case are duplicates.
    """
    counts = Counter(info.filename.lower() for info in infos)
    name, count = max(counts.items(), key=lambda item: item[1], default=("", 0))
    if count > 1:
        raise CheckpointError(
            f"damaged: {len(infos)} members, but {len(counts)} names: {name} is there {count} "
            "times, and programs differ in which of them they read"
        )
    for info in infos:  # zipfile adds up what a damaged directory says
        if info.header_offset < 0:
            raise CheckpointError(
                f"damaged: no member starts at byte {info.header_offset}: {info.filename}"
            )
    return {info.filename: info for info in infos}


def _places(file: BinaryIO, size: int) -> dict[str, Place]:
    """The byte range of the data of every member."""
    try:
        with zipfile.ZipFile(file) as archive:
            infos, end = archive.infolist(), archive.start_dir
    except UNREADABLE as error:
        raise damaged(size, error) from error
    members = members_of(infos)
    places = {name: _place(file, info, size) for name, info in members.items()}
    for info in sorted(infos, key=lambda info: -info.header_offset):
        start, length, _ = places[info.filename]
        if start + length > end:
            raise CheckpointError(
                f"damaged: member {info.filename} reaches to byte {start + length}, into what "
                f"starts at byte {end}"
            )
        end = info.header_offset
    return places


def _place(file: BinaryIO, info: zipfile.ZipInfo, size: int) -> Place:
    name = info.filename
    file.seek(info.header_offset)
    head = file.read(_LOCAL.size)
    if len(head) < _LOCAL.size or not head.startswith(b"PK\3\4"):
        raise CheckpointError(f"damaged: no member starts at byte {info.header_offset}: {name}")
    _, method, name_length, extra_length = _LOCAL.unpack(head)
    if {method, info.compress_type} != {zipfile.ZIP_STORED} or info.flag_bits & _ENCRYPTED:
        raise CheckpointError(
            f"member {name} is compressed or encrypted, as torch.save never does: try "
            "reader='zipfile', or unpack the zip and pack it again with no compression (zip -0)"
        )
    if info.compress_size != info.file_size:
        raise CheckpointError(
            f"damaged: member {name} announces {info.file_size} bytes, but stores "
            f"{info.compress_size}"
        )
    if file.read(name_length) != name.encode("utf-8" if info.flag_bits & _UTF8 else "cp437"):
        raise CheckpointError(f"damaged: member {name} has another name in its own header")
    start = info.header_offset + _LOCAL.size + name_length + extra_length
    if start + info.file_size > size:
        raise CheckpointError(
            f"truncated: member {name} needs {info.file_size} bytes from byte {start} on, but the "
            f"file has {size} bytes: download or save it again"
        )
    return Place(start, info.file_size, info.CRC)


def _content(file: BinaryIO, name: str, place: Place) -> bytes:
    file.seek(place.start)
    content = file.read(place.length)
    check_crc(f"member {name}", content, place.crc)
    return content
