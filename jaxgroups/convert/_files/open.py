"""Opens a checkpoint by its path, with the reader for its format."""

import os
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from jaxgroups.convert._files.base import Checkpoint, CheckpointError, about
from jaxgroups.convert._files.first_bytes import FileFormat, format_of
from jaxgroups.convert._files.index import IndexCheckpoint
from jaxgroups.convert._files.safetensors import SafetensorsCheckpoint
from jaxgroups.convert._files.torch_load import TorchCheckpoint
from jaxgroups.convert._files.torch_own import OwnTorchCheckpoint
from jaxgroups.convert._files.torch_zipfile import ZipfileTorchCheckpoint

OpenFile = Callable[[Path, FileFormat, str | None], Checkpoint]
READERS = ("own", "torch", "zipfile")


def open_checkpoint(
    path: str | os.PathLike[str],
    key: str | None = None,
    *,
    reader: str | None = None,
) -> Checkpoint:
    """Open a checkpoint: a safetensors file, a file of torch.save, or the index of several.

    Args:
      path: the file. Only headers and pickles are read at first (by torch, all of a legacy file).
      key: the dict of a torch file: ``"model"``, ``"model.ema"`` for a nested one, ``""`` for the
        top level. None: the top level, if no nested dict has tensors.
      reader: of torch files: ``"own"``, the default, needs no torch and reads one tensor at a time.
        ``"torch"`` is ``torch.load(weights_only=True)``, after the own reader's checks; all of a
        legacy file is then in memory. ``"zipfile"`` is Python's module, which reads compressed
        members too, and whole storages. Ignored for other formats.

    Returns:
      The open checkpoint, a context manager.

    Raises:
      CheckpointError: not a checkpoint, a damaged one, one that would run code, or one that needs
        `key`; the message lists the possible keys.
      ValueError: an unknown reader.
      OSError: no such file, or it may not be read.
    """
    if reader is not None and reader not in READERS:
        raise ValueError(
            f"reader must be None, {', '.join(map(repr, READERS))}, but got reader={reader!r}"
        )
    path = Path(path)
    with about(path):
        return _opened(path, key, partial(_by_reader, reader=reader or "own"))


def open_otherwise(path: str | os.PathLike[str], key: str | None, used: str) -> Checkpoint:
    """Open a checkpoint with another reader than `used`, to detect errors of a reader.

    For a torch zip file, the other reader is torch if it is installed and accepts the file, else
    `zipfile`, or the own reader if another one was used; for a safetensors file it is the official
    library, except for dtypes that it does not support. A legacy torch file has no other reader
    without torch. The attribute `reader` names the reader.

    Raises:
      CheckpointError, OSError: as `open_checkpoint`.
    """
    path = Path(path)
    with about(path):
        return _opened(path, key, partial(_by_another, used=used))


def _opened(path: Path, key: str | None, open_file: OpenFile) -> Checkpoint:
    if path.is_dir():
        raise CheckpointError("a directory: give the file in it, or its *.index.json")
    kind = format_of(path)
    if key and kind in ("safetensors", "index"):
        what = "safetensors files" if kind == "safetensors" else "the shards of an index"
        raise CheckpointError(f"{what} are flat, but got key={key!r}: leave it out")
    if kind == "index":
        return IndexCheckpoint(path, lambda shard: _opened(shard, None, open_file))
    return open_file(path, kind, key)


def _by_reader(path: Path, kind: FileFormat, key: str | None, reader: str) -> Checkpoint:
    if kind == "safetensors":
        return SafetensorsCheckpoint(path)
    if reader == "zipfile":
        if kind != "torch-zip":
            raise CheckpointError("reader='zipfile' reads zip files only: take reader='own'")
        return ZipfileTorchCheckpoint(path, key)
    if reader == "torch" and find_spec("torch") is None:
        raise CheckpointError("reader='torch' needs torch: install it, or take reader='own'")
    format_ = OwnTorchCheckpoint if reader == "own" else TorchCheckpoint
    return format_(path, "torch-zip" if kind == "torch-zip" else "torch-legacy", key)


def _by_another(path: Path, kind: FileFormat, key: str | None, used: str) -> Checkpoint:
    if kind == "safetensors":
        return SafetensorsCheckpoint(path, by_library=True)
    if used != "own":
        return _by_reader(path, kind, key, "own")
    if find_spec("torch") is not None:
        try:
            return _by_reader(path, kind, key, "torch")
        except CheckpointError:  # the next reader may accept it, or explain the error
            pass
    return _by_reader(path, kind, key, "zipfile" if kind == "torch-zip" else "own")
