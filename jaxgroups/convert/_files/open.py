"""Open a checkpoint by its path: the first bytes give the format."""

import os
from importlib.util import find_spec
from pathlib import Path

from jaxgroups.convert._files.base import Checkpoint, CheckpointError, about
from jaxgroups.convert._files.first_bytes import format_of
from jaxgroups.convert._files.index import IndexCheckpoint
from jaxgroups.convert._files.safetensors import SafetensorsCheckpoint
from jaxgroups.convert._files.torch_load import TorchCheckpoint
from jaxgroups.convert._files.torch_own import OwnTorchCheckpoint

READERS = ("own", "torch")


def open_checkpoint(
    path: str | os.PathLike[str],
    key: str | None = None,
    *,
    reader: str | None = None,
    streaming: bool = False,
) -> Checkpoint:
    """Opens a checkpoint: a safetensors file, a file of torch.save, or the index of several.

    Args:
      path: the file. Only headers and pickles are read now (by torch, all of a legacy file).
      key: which dict of a torch file: ``"model"``, ``"model.ema"`` for deeper ones, ``""`` for the
        top level although tensors lie deeper. None: the top level, which then is all there is.
      reader: of torch files: ``"torch"`` is ``torch.load(weights_only=True)``, ``"own"`` the reader
        that needs no torch; None is torch where it is installed. Other formats have one reader.
      streaming: whether no more than single tensors may be in memory: without a `reader`, legacy
        files, which torch reads all at once, are then read by the own reader.

    Returns:
      The open checkpoint, a context manager.

    Raises:
      CheckpointError: not a checkpoint, a damaged one, one that would run code, or one where `key`
        has to say which dict is meant; the message says which keys there are.
      OSError: no such file, or it may not be read.
    """
    if reader is not None and reader not in READERS:
        raise ValueError(f"reader must be None, 'own' or 'torch', but got reader={reader!r}")
    path = Path(path)
    with about(path):
        if path.is_dir():
            raise CheckpointError("a directory: give the file in it, or its *.index.json")
        return _opened(path, key, reader, streaming)


def _opened(path: Path, key: str | None, reader: str | None, streaming: bool) -> Checkpoint:
    kind = format_of(path)
    if kind in ("safetensors", "index"):
        if key:
            what = "safetensors files" if kind == "safetensors" else "the shards of an index"
            raise CheckpointError(f"{what} are flat, but got key={key!r}: leave it out")
        if kind == "index":
            return IndexCheckpoint(path, lambda shard: _opened(shard, None, reader, streaming))
        return SafetensorsCheckpoint(path)
    torch = find_spec("torch") is not None
    if reader == "torch" and not torch:
        raise CheckpointError("reader='torch' needs torch: install it, or take reader='own'")
    own = reader == "own" or (streaming and reader is None and kind == "torch-legacy")
    if own or not torch:
        return OwnTorchCheckpoint(path, kind, key)
    return TorchCheckpoint(path, kind, key)
