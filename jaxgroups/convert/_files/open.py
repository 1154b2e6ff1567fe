"""Open a checkpoint by its path: the first bytes give the format."""

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
    """Opens a checkpoint: a safetensors file, a file of torch.save, or the index of several.

    Args:
      path: the file. Only headers and pickles are read now (by torch, all of a legacy file).
      key: which dict of a torch file: ``"model"``, ``"model.ema"`` for deeper ones, ``""`` for the
        top level although tensors lie deeper. None: the top level, which then is all there is.
      reader: of torch files: ``"own"``, the default, needs no torch and reads one tensor at a time.
        ``"torch"`` is ``torch.load(weights_only=True)``, after the own reader's checks; a legacy
        file is then in memory as a whole. ``"zipfile"`` is Python's module of that name: it also
        reads compressed members, and reads whole storages. Other formats ignore it.

    Returns:
      The open checkpoint, a context manager.

    Raises:
      CheckpointError: not a checkpoint, a damaged one, one that would run code, or one where `key`
        has to say which dict is meant; the message says which keys there are.
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
    """Opens a checkpoint by another reader than `used`: what one does wrong, the other shows.

    For a torch zip file that is torch where it is installed and takes the file, else `zipfile`, or
    the own reader if another one was used; for a safetensors file the official library, which does
    not read every dtype. A legacy torch file has no second reader without torch. The attribute
    `reader` tells.

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
        except CheckpointError:  # the next reader may take it, or say what is wrong
            pass
    return _by_reader(path, kind, key, "zipfile" if kind == "torch-zip" else "own")
