"""Reads and checks the header of a safetensors file, and makes one.

8 bytes   length of the header, unsigned, little-endian
header    {"__metadata__": {str: str}, name: {"dtype", "shape", "data_offsets": [start, stop]}}
data      the tensors, C order, little-endian, without holes or overlaps
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxgroups.convert._files import dtypes
from jaxgroups.convert._files.base import CheckpointError, TensorInfo, short

LIMIT = 100_000_000  # bytes of the header; the limit of the official library
METADATA = "__metadata__"


@dataclass(frozen=True)
class Header:
    """The content of a header.

    Attributes:
      infos: shape and dtype of the tensors by name, in the order of the data.
      starts: their first bytes in the file.
      metadata: the metadata.
    """

    infos: dict[str, TensorInfo]
    starts: dict[str, int]
    metadata: dict[str, str]


def read_header(path: Path) -> Header:
    """The header of a safetensors file, checked.

    Raises:
      CheckpointError: it is damaged, or does not match the file.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8:
            raise CheckpointError(
                f"{size} bytes are not a safetensors file, which starts with 8 bytes"
            )
        if length > LIMIT:
            raise CheckpointError(
                f"the first 8 bytes announce a header of {length} bytes, over the limit of "
                f"{LIMIT}: not a safetensors file, or a damaged one"
            )
        if 8 + length > size:
            raise CheckpointError(
                f"truncated: the header needs {length} bytes after the first 8, but the file has "
                f"{size} bytes: download or save it again"
            )
        text = file.read(length)
    table = _parse(text)
    metadata = _metadata(table.pop(METADATA, {}))
    places = {name: _place(name, entry) for name, entry in table.items()}
    places = dict(sorted(places.items(), key=lambda item: item[1][1:]))
    _check_cover(places, size - 8 - length)
    return Header(
        {name: info for name, (info, _, _) in places.items()},
        {name: 8 + length + start for name, (_, start, _) in places.items()},
        metadata,
    )


def make_header(infos: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> bytes:
    """The first bytes of the file, up to the data, which start at a multiple of 8.

    Raises:
      CheckpointError: text that is not valid Unicode, or a header over the limit.
    """
    table: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    stop = 0
    for name, info in infos.items():
        start, stop = stop, stop + info.nbytes
        code = dtypes.TO_SAFETENSORS[info.dtype]
        table[name] = {"dtype": code, "shape": list(info.shape), "data_offsets": [start, stop]}
    try:
        text = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise CheckpointError(f"a name or a metadata text is not valid Unicode: {error}") from error
    text += b" " * (-len(text) % 8)
    if len(text) > LIMIT:
        raise CheckpointError(
            f"the header would take {len(text)} bytes, over safetensors' limit of {LIMIT}: "
            "write fewer tensors to a file, or less metadata"
        )
    return len(text).to_bytes(8, "little") + text


def _parse(text: bytes) -> dict[str, Any]:
    if text[:1] != b"{":
        raise CheckpointError(f"the header starts with {text[:1]!r} instead of {{: not safetensors")
    try:
        table = json.loads(text.decode(), object_pairs_hook=without_duplicates)
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"the header is not valid JSON: {error}") from error
    return table  # an object, since it starts with one


def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An `object_pairs_hook` for json: a dict; raises CheckpointError for a duplicate key."""
    table = dict(pairs)
    if len(table) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in table if keys.count(key) > 1)
        raise CheckpointError(f"{twice!r} is a duplicate key ({keys.count(twice)} times)")
    return table


def _metadata(entry: Any) -> dict[str, str]:
    if not isinstance(entry, dict) or not all(isinstance(v, str) for v in entry.values()):
        raise CheckpointError(f"{METADATA} must hold strings by name, but holds {short(entry)}")
    return entry


def _place(name: str, entry: Any) -> tuple[TensorInfo, int, int]:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(
            f"{name!r} needs exactly dtype, shape and data_offsets, but has {short(entry)}"
        )
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in dtypes.FROM_SAFETENSORS:
        raise CheckpointError(
            f"{name!r} has dtype {short(code)}, but only these can be read: "
            f"{', '.join(dtypes.FROM_SAFETENSORS)}"
        )
    if not _counts(shape):
        raise CheckpointError(
            f"{name!r} has shape {short(shape)}, which must be a list of at most 64 sizes >= 0"
        )
    if not _counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise CheckpointError(f"{name!r} has data_offsets {short(offsets)}: not a start and a stop")
    info = TensorInfo(tuple(shape), dtypes.FROM_SAFETENSORS[code])
    start, stop = offsets
    if stop - start != info.nbytes:
        raise CheckpointError(
            f"{name!r} is {info}, which takes {info.nbytes} bytes, but its data_offsets "
            f"[{start}, {stop}] hold {stop - start}"
        )
    return info, start, stop


def _counts(value: Any) -> bool:
    if not isinstance(value, list) or len(value) > 64:  # numpy's limit
        return False
    return all(type(n) is int and 0 <= n < 1 << 63 for n in value)


def _check_cover(places: dict[str, tuple[TensorInfo, int, int]], size: int) -> None:
    end = 0
    for name, (_, start, stop) in places.items():
        if start != end:
            what = "overlaps the tensor before it" if start < end else "leaves a hole before it"
            raise CheckpointError(f"{name!r} starts at byte {start} of the data and {what}: {end}")
        end = stop
    if end != size:
        what = "truncated" if end > size else "too long"
        raise CheckpointError(
            f"{what}: the tensors take {end} bytes, but {size} follow the header: "
            "download or save it again"
        )
