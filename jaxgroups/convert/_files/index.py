"""The JSON index of several files: ``{"weight_map": {tensor: file}, "metadata": {...}}``.

Names in use: ``model.safetensors.index.json``, ``pytorch_model.bin.index.json``, and with a variant
``model.safetensors.index.fp16.json``.
"""

import json
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from jaxgroups.convert._files import framework
from jaxgroups.convert._files.base import Checkpoint, CheckpointError, about
from jaxgroups.convert._files.header import without_duplicates

_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")  # of a shard


class IndexCheckpoint(Checkpoint):
    """The shards that an index names, in the folder of the index.

    Args:
      path: the index.
      open_shard: opens one file of tensors.
    """

    def __init__(self, path: Path, open_shard: Callable[[Path], Checkpoint]) -> None:
        index = _index(path)
        weight_map: dict[str, str] = index["weight_map"]
        files = list(dict.fromkeys(weight_map.values()))
        shards = {file: _shard(path, file, open_shard) for file in files}
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
        described = {key: str(value) for key, value in index.get("metadata", {}).items()}
        _check_formats(described, shards)
        readers = {shard.reader for shard in shards.values()}
        super().__init__(
            path,
            "safetensors-index" if all(map(_is_safetensors, files)) else "torch-index",
            infos,
            reader="own" if "own" in readers or not readers else min(readers),
            aliases=aliases,
            metadata=metadata | described,
            extras=dict.fromkeys(name for shard in shards.values() for name in shard.extras),
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


def _shard(index: Path, file: str, open_shard: Callable[[Path], Checkpoint]) -> Checkpoint:
    # an index of safetensors must not name a pickle
    suffixes = _SUFFIXES[: 1 if ".safetensors.index." in index.name else None]
    if PurePath(file).name != file or "\\" in file or not file.endswith(suffixes):
        raise CheckpointError(
            f"the index names the shard {file!r}: a shard is a {' or '.join(suffixes)} file beside "
            "its index"
        )
    path = index.parent / file
    if not path.is_file():
        raise CheckpointError(f"the index names the shard {file}, which is not there beside it")
    with about(f"shard {file}"):
        return open_shard(path)


def _is_safetensors(file: str) -> bool:
    return file.endswith(".safetensors")


def _check_formats(described: dict[str, str], shards: dict[str, Checkpoint]) -> None:
    """Refuse shards of several frameworks, which may have several layouts."""
    named = {
        file: shard.metadata[framework.KEY]
        for file, shard in shards.items()
        if framework.KEY in shard.metadata
    }
    named |= {"the index": described[framework.KEY]} if framework.KEY in described else {}
    if len(set(named.values())) > 1:
        found = ", ".join(f"{value!r} in {file}" for file, value in named.items())
        raise CheckpointError(f"one format is needed in the metadata, but there is {found:.200}")
