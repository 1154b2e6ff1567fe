"""Open a checkpoint by its path: the first bytes give the format."""

import os
from importlib.util import find_spec
from pathlib import Path

from jaxgroups.convert._files.base import Checkpoint, CheckpointError, about
from jaxgroups.convert._files.safetensors import IndexCheckpoint, SafetensorsCheckpoint
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
    """Opens a checkpoint: a safetensors file, the index of several, or a file of torch.save.

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
        kind = _format(path)
        if kind.startswith("safetensors"):
            if key:
                raise CheckpointError(
                    f"safetensors files are flat, but got key={key!r}: leave it out"
                )
            return IndexCheckpoint(path) if kind.endswith("index") else SafetensorsCheckpoint(path)
        torch = find_spec("torch") is not None
        if reader == "torch" and not torch:
            raise CheckpointError("reader='torch' needs torch: install it, or take reader='own'")
        kind = "torch-zip" if kind == "torch-zip" else "torch-legacy"
        own = reader == "own" or (streaming and reader is None and kind == "torch-legacy")
        if own or not torch:
            return OwnTorchCheckpoint(path, kind, key)
        return TorchCheckpoint(path, kind, key)


def _format(path: Path) -> str:
    with open(path, "rb") as file:
        start = file.read(9)
    if path.name.endswith(".safetensors.index.json"):
        return "safetensors-index"
    if path.suffix == ".safetensors" or start[8:] == b"{":
        return "safetensors"
    if start.startswith(b"PK\3\4"):
        return "torch-zip"
    if start.startswith(b"\x80"):
        return "torch-legacy"
    raise CheckpointError(
        f"it starts with {start!r}, as neither a safetensors file nor one of torch.save does, and "
        "its name does not end in .safetensors or .safetensors.index.json"
    )
