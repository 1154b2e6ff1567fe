"""One safetensors file, or several behind an index."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from jaxgroups.convert._files import dtypes
from jaxgroups.convert._files.base import Checkpoint, CheckpointError, TensorInfo, about
from jaxgroups.convert._files.bytes import Budget, Stamp, read_array
from jaxgroups.convert._files.header import read_header, without_duplicates


class SafetensorsCheckpoint(Checkpoint):
    """One file; what the official library refuses is refused, unless a dtype is beyond it.

    The data are read, not mapped: pages of a map would stay until all of the model is in memory.
    With `by_library`, the official library reads them, unless a dtype is beyond it.
    """

    def __init__(self, path: Path, by_library: bool = False) -> None:
        stamp = Stamp.of(path)
        header = read_header(path)
        aliases = {
            dropped: kept
            for dropped, kept in header.metadata.items()
            if kept in header.infos and dropped not in header.infos
        }
        infos = header.infos | {dropped: header.infos[kept] for dropped, kept in aliases.items()}
        readable = readable_by_library(infos.values())
        super().__init__(
            path,
            "safetensors",
            infos,
            reader="safetensors" if by_library and readable else "own",
            aliases=aliases,
            metadata=header.metadata,
        )
        self._file = path
        self._library = library_reader(path) if self.reader == "safetensors" else None
        self._starts = header.starts
        self._stamp = stamp
        if readable:
            try:
                with safe_open(path, framework="numpy") as official:
                    names = set(official.keys())
            except SafetensorError as error:
                raise CheckpointError(f"the safetensors library refuses it: {error}") from error
            if names != header.infos.keys():
                raise CheckpointError("the safetensors library finds other names in its header")

    def _read(self, name: str) -> np.ndarray:
        self._stamp.check(self._file)
        if self._library is not None:
            return np.array(self._library(name), order="C", copy=True)
        info = self.infos[name]
        return read_array(self._file, self._starts[name], info.shape, info.numpy_dtype)


def library_reader(path: Path) -> Callable[[str], np.ndarray]:
    """Reads tensors by the official library, and lets its map of the file go now and then."""
    budget = Budget()
    opened: list[Any] = []

    def read(name: str) -> np.ndarray:
        if not opened:
            opened.append(safe_open(path, framework="numpy"))
        array = opened[0].get_tensor(name)
        if budget.spent(array.nbytes):
            opened.clear()
        return array

    return read


def readable_by_library(infos: Iterable[TensorInfo]) -> bool:
    return all(info.dtype in dtypes.READ_BY_LIBRARY for info in infos)


class IndexCheckpoint(Checkpoint):
    """The shards that a ``*.safetensors.index.json`` names, which lie beside it."""

    def __init__(self, path: Path, by_library: bool = False) -> None:
        index = _index(path)
        weight_map: dict[str, str] = index["weight_map"]
        files = dict.fromkeys(weight_map.values())
        shards = {file: _shard(path, file, by_library) for file in files}
        infos, aliases, metadata = {}, {}, {}
        for name, file in weight_map.items():
            if name not in shards[file].infos:
                raise CheckpointError(
                    f"{name!r} should be in {file}, whose {len(shards[file].infos)} tensors do not "
                    "include it: index and shards are not of one checkpoint"
                )
            infos[name] = shards[file].infos[name]
        for file, shard in shards.items():
            for name, info in shard.infos.items():
                if weight_map.get(name, file) != file:
                    raise CheckpointError(
                        f"{name!r} is in two shards, {weight_map[name]} (which the index names) "
                        f"and {file}: which one is meant?"
                    )
                if name not in weight_map and name not in shard.aliases:
                    raise CheckpointError(
                        f"{name!r} is in {file}, but the index does not list it: "
                        "index and shards are not of one checkpoint"
                    )
                infos.setdefault(name, info)
            aliases |= shard.aliases
            metadata |= shard.metadata
        metadata |= {key: str(value) for key, value in index.get("metadata", {}).items()}
        readers = {shard.reader for shard in shards.values()}
        reader = "own" if readers != {"safetensors"} else "safetensors"
        super().__init__(
            path, "safetensors-index", infos, reader=reader, aliases=aliases, metadata=metadata
        )
        self._shards = {name: shard for shard in shards.values() for name in shard.infos}

    def _read(self, name: str) -> np.ndarray:
        return self._shards[name].read(name)

    def close(self) -> None:
        super().close()
        for shard in self._shards.values():
            shard.close()


def _index(path: Path) -> dict[str, Any]:
    try:
        index = json.loads(path.read_bytes(), object_pairs_hook=without_duplicates)
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"the index is not valid JSON: {error}") from error
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not all(isinstance(f, str) for f in weight_map.values()):
        raise CheckpointError("the index has no weight_map of file names by tensor: no such index")
    if not isinstance(index.get("metadata", {}), dict):
        raise CheckpointError(
            f"the index's metadata must be an object, got {index['metadata']!r:.200}"
        )
    return index


def _shard(index: Path, file: str, by_library: bool) -> SafetensorsCheckpoint:
    if PurePath(file).name != file or "\\" in file or not file.endswith(".safetensors"):
        raise CheckpointError(
            f"the index names the shard {file!r}: a shard is a .safetensors file beside its index"
        )
    path = index.parent / file
    if not path.is_file():
        raise CheckpointError(f"the index names the shard {file}, which is not there beside it")
    with about(f"shard {file}"):
        return SafetensorsCheckpoint(path, by_library)
