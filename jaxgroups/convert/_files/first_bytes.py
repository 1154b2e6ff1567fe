"""Recognises the format of a file by its first bytes, that of an index by its suffix."""

from pathlib import Path
from typing import Literal

from jaxgroups.convert._files.base import CheckpointError

_ZIP = b"PK\3\4"
_TORCH = b"l\xfc\x9cF\xf9 j\xa8P\x19."  # the magic number of torch.save before 1.6
_WEB_PAGE = "a web page, not the file that it offers: download the file itself"
_OTHERS = {  # first bytes in lower case -> the kind of file, and what to do
    b"version https://git-lfs": (
        "a Git LFS pointer in place of the file: run git lfs pull, or download the file itself"
    ),
    b"\x93numpy": (
        "a numpy .npy file, one array without a name: instead of the path, pass a dict of names "
        "and np.load's arrays, in torch's layout"
    ),
    b"\x89hdf\r\n\x1a\n": (
        "an HDF5 file, as Keras writes: read it with h5py, and instead of the path pass a dict of "
        "arrays in torch's layout"
    ),
    b"gguf": "a GGUF file: its tensors are quantized in blocks; take the original checkpoint",
    b"\x1f\x8b": "compressed by gzip: unpack it first",
    b"bzh": "compressed by bzip2: unpack it first",
    b"\xfd7zxz": "compressed by xz: unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it first",
    b"<!doctype": _WEB_PAGE,
    b"<html": _WEB_PAGE,
    b"<?xml": _WEB_PAGE,
}


FileFormat = Literal["safetensors", "index", "torch-zip", "torch-legacy"]


def format_of(path: Path) -> FileFormat:
    """The format of a file.

    Raises:
      CheckpointError: no checkpoint, or one with the suffix of another format.
      OSError: no such file, or it may not be read.
    """
    with open(path, "rb") as file:
        start = file.read(512)
    if start[8:9] == b"{" and not any(start[4:8]):  # no header is longer than 4 GB
        return "safetensors"
    _refuse_others(start)
    if path.suffix == ".json":
        return "index"
    found = "torch-zip" if start.startswith(_ZIP) else None
    found = "torch-legacy" if start[:1] == b"\x80" and _TORCH in start[:64] else found
    if path.suffix == ".safetensors":
        if found:
            raise CheckpointError(
                f"a file of torch.save ({found}) under the suffix of safetensors, which cannot "
                "hold a pickle: if you trust its source, rename it to .pth"
            )
        if start[:1] == b"{":
            raise CheckpointError("JSON text, not safetensors: an index must end in .json")
        return "safetensors"
    if found or start.startswith(b"\x80"):
        return "torch-zip" if found == "torch-zip" else "torch-legacy"
    raise CheckpointError(
        f"it starts with {start[:9]!r}, as neither a safetensors file nor one of torch.save does, "
        "and its name does not end in .safetensors or .json"
    )


def _refuse_others(start: bytes) -> None:
    if not start:
        raise CheckpointError("an empty file: download or save it again")
    for first, what in _OTHERS.items():
        if start.lower().startswith(first):
            raise CheckpointError(what)
    if start.startswith(_ZIP) and start[30 : 30 + int.from_bytes(start[26:28], "little")].endswith(
        b".npy"
    ):
        raise CheckpointError(
            "a numpy .npz file: instead of the path, pass dict(np.load(path)), its arrays in "
            "torch's layout"
        )
    if start[257:262] == b"ustar":
        raise CheckpointError("a tar archive: unpack it first")
