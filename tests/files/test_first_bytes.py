"""Files under a wrong suffix, and files that stand for others: the message says what they are."""

import gzip
import io
import json
import tarfile

import numpy as np
import pytest
import safetensors.numpy
from support import torch_files

from jaxgroups.convert import CheckpointError, open_checkpoint

WEIGHT = np.arange(6, dtype="f4").reshape(2, 3)
SUFFIXES = (".safetensors", ".pth", ".bin", ".json")
LFS = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


def saved(save, *arguments, **more):
    """The bytes that a function writes to a file."""
    file = io.BytesIO()
    save(file, *arguments, **more)
    return file.getvalue()


def tar(file):
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())


OTHERS = {
    "a Git LFS pointer in place of the file: run git lfs pull": LFS,
    r"a numpy \.npy file": saved(np.save, WEIGHT),
    r"a numpy \.npz file": saved(np.savez, **{"fc.weight": WEIGHT}),
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "a GGUF file": b"GGUF\3\0\0\0" + bytes(100),
    "compressed by gzip": gzip.compress(bytes(100)),
    "a tar archive": saved(tar),
    "a web page, not the file": b"<!DOCTYPE html>\n<html><body>Sign in</body></html>",
    "an empty file": b"",
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("message", OTHERS)
def test_other_files(tmp_path, message, suffix):
    path = tmp_path / f"net{suffix}"
    path.write_bytes(OTHERS[message])
    with pytest.raises(CheckpointError, match=f"net{suffix}: {message}"):
        open_checkpoint(path)


@pytest.mark.parametrize("kind", torch_files.FORMATS)
def test_a_torch_file_under_the_suffix_of_safetensors(tmp_path, kind):
    path = tmp_path / "net.safetensors"
    torch_files.state_dict(path, kind, {"fc.weight": WEIGHT})
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    assert str(caught.value) == (
        f"{path}: a file of torch.save ({kind}) under the suffix of safetensors, which cannot hold "
        "a pickle: if you trust its source, rename it to .pth"
    )


@pytest.mark.parametrize("suffix", [".pth", ".bin", ".json", ""])
def test_safetensors_under_another_suffix_are_read(tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    safetensors.numpy.save_file({"fc.weight": WEIGHT}, path)
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.format == "safetensors"
        np.testing.assert_array_equal(checkpoint.read("fc.weight"), WEIGHT)


@pytest.mark.parametrize("first", [b"\x1f\x8b", b"BZh", b"PK\3\4"])
def test_a_header_whose_length_looks_like_another_format(tmp_path, first):
    """The first bytes of safetensors are a length, which may equal the first bytes of others."""
    length = int.from_bytes(first, "little")
    entry = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
    text = json.dumps({"fc.weight": entry}).encode()
    path = tmp_path / "net.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + text.ljust(length) + WEIGHT.tobytes())
    with open_checkpoint(path) as checkpoint:
        np.testing.assert_array_equal(checkpoint.read("fc.weight"), WEIGHT)


def test_an_index_that_is_named_like_its_shard(tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_text(json.dumps({"weight_map": {}, "metadata": {}}))
    with pytest.raises(CheckpointError, match=r"JSON text, not safetensors: an index must end"):
        open_checkpoint(path)


# --- indexes --------------------------------------------------------------------------------------

SHARDS = {"1": {"a.weight": WEIGHT, "a.bias": WEIGHT[0]}, "2": {"b.weight": WEIGHT + 10}}


def sharded(directory, name, suffix, formats=("pt", "pt")):
    """The index of two shards of that suffix."""
    weight_map = {}
    for (number, arrays), of in zip(SHARDS.items(), formats, strict=True):
        file = f"model-{number}-of-2{suffix}"
        if suffix == ".safetensors":
            metadata = None if of is None else {"format": of}
            safetensors.numpy.save_file(arrays, directory / file, metadata)
        else:
            torch_files.state_dict(directory / file, "torch-zip", arrays)
        weight_map |= dict.fromkeys(arrays, file)
    text = json.dumps({"metadata": {"total_size": 72}, "weight_map": weight_map})
    (directory / name).write_text(text)
    return directory / name


@pytest.mark.parametrize("reader", ["own", None])
@pytest.mark.parametrize(
    ("name", "suffix", "format"),
    [
        ("model.safetensors.index.json", ".safetensors", "safetensors-index"),
        ("model.safetensors.index.fp16.json", ".safetensors", "safetensors-index"),
        ("pytorch_model.bin.index.json", ".bin", "torch-index"),
        ("pytorch_model.bin.index.fp16.json", ".bin", "torch-index"),
        ("model.pt.index.json", ".pt", "torch-index"),
    ],
)
def test_an_index(tmp_path, name, suffix, format, reader):
    path = sharded(tmp_path, name, suffix)
    with open_checkpoint(path, reader=reader) as checkpoint:
        assert checkpoint.format == format
        assert checkpoint.metadata["total_size"] == "72"
        expected = SHARDS["1"] | SHARDS["2"]
        assert list(checkpoint.infos) == list(expected)
        for tensor, array in expected.items():
            np.testing.assert_array_equal(checkpoint.read(tensor), array)


def test_an_index_of_safetensors_leads_to_no_pickle(tmp_path):
    path = sharded(tmp_path, "model.safetensors.index.json", ".bin")
    with pytest.raises(CheckpointError, match=r"a shard is a \.safetensors file beside its index"):
        open_checkpoint(path)


def test_a_shard_that_was_not_downloaded(tmp_path):
    path = sharded(tmp_path, "model.safetensors.index.json", ".safetensors")
    (tmp_path / "model-2-of-2.safetensors").write_bytes(LFS)
    with pytest.raises(CheckpointError, match=r"shard model-2-of-2.safetensors: a Git LFS pointer"):
        open_checkpoint(path)


def test_shards_of_two_frameworks(tmp_path):
    path = sharded(tmp_path, "model.safetensors.index.json", ".safetensors", ("pt", "mlx"))
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    assert str(caught.value) == (
        f"{path}: one format is needed in the metadata, but there is 'pt' in "
        "model-1-of-2.safetensors, 'mlx' in model-2-of-2.safetensors"
    )
    path = sharded(tmp_path, "model.safetensors.index.json", ".safetensors", ("mlx", None))
    index = json.loads(path.read_text()) | {"metadata": {"format": "pt"}}
    path.write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"there is 'mlx' in .*, 'pt' in the index"):
        open_checkpoint(path)


def test_json_that_is_no_index(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"architectures": []}')
    with pytest.raises(CheckpointError, match="no weight_map of file names by tensor"):
        open_checkpoint(path)
