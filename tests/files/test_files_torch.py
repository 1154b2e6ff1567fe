"""Checkpoint files against torch: what it saves is read, what is written it reads."""

import os
import struct
import warnings
from collections import OrderedDict
from contextlib import suppress

import numpy as np
import pytest
from support import torch_files
from test_files import ATTACKS, FLOAT8, SAFE, assert_bits, attacks, bits, refused, some, sources

from jaxgroups.convert._files import (
    CheckpointError,
    TensorInfo,
    from_dict,
    open_checkpoint,
    write_safetensors,
)

torch = pytest.importorskip("torch", reason="torch is NOT installed: its files are not compared")
import safetensors.torch  # noqa: E402

OWN = ("own", "zipfile", None)  # the readers that do without torch
FORMATS = {"torch-zip": True, "torch-legacy": False}
READERS = ("own", "torch", "zipfile", None)
TORCH_DTYPES = (
    *("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16"),
    *("float32", "float64", "complex64", "complex128"),
)
NEW_DTYPES = ("uint16", "uint32", "uint64", *FLOAT8)  # torch pickles them another way


def save(path, value, format, **how):
    torch.save(value, path, _use_new_zipfile_serialization=FORMATS[format], **how)
    return path


def of(array):
    """The torch tensor of the same bits."""
    if array.size == 0:
        return torch.zeros(array.shape, dtype=getattr(torch, array.dtype.name))
    flat = torch.from_numpy(np.frombuffer(array.tobytes(), np.uint8).copy())
    return flat.view(getattr(torch, array.dtype.name)).reshape(array.shape)


def plain(tensor):
    """The numpy array of a torch tensor's bits, by way of its bytes as torch lists them."""
    tensor = tensor.detach().resolve_conj().resolve_neg().contiguous()
    data = bytes(tensor.reshape(-1).view(torch.uint8).tolist())
    dtype = from_dict({"x": tensor[..., :0] if tensor.ndim else tensor}).infos["x"].numpy_dtype
    return np.frombuffer(data, dtype).reshape(tensor.shape)


def available(readers, format):
    return [reader for reader in readers if (reader, format) != ("zipfile", "torch-legacy")]


def assert_reads(path, state, format, key=None, readers=READERS):
    """Every reader gives names, infos and bits of the state_dict, and the same aliases."""
    seen = []
    for reader in available(readers, format):
        with open_checkpoint(path, key, reader=reader) as checkpoint:
            assert checkpoint.format == format
            assert checkpoint.reader == (reader or "own")
            assert list(checkpoint.infos) == list(state)
            for name, tensor in state.items():
                dtype = str(tensor.dtype).removeprefix("torch.")
                assert checkpoint.infos[name] == TensorInfo(tuple(tensor.shape), dtype)
                assert_bits(checkpoint.read(name), plain(tensor))
            seen.append((checkpoint.aliases, checkpoint.extras))
    assert all(other == seen[0] for other in seen)
    return seen[0]


@pytest.mark.parametrize("format", FORMATS)
class TestReaders:
    def test_every_dtype(self, tmp_path, rng, format):
        state = {name: of(array) for name, array in some(rng, TORCH_DTYPES).items()}
        path = save(tmp_path / "a.pt", state, format)
        assert assert_reads(path, state, format) == ({}, ())

    @pytest.mark.parametrize("dtype", NEW_DTYPES)
    def test_new_dtypes(self, tmp_path, rng, format, dtype):
        state = {"w": of(bits(rng, (3, 4), dtype)).T, "one": of(bits(rng, (), dtype))}
        path = save(tmp_path / "a.pt", state, format)
        # torch.load(weights_only=True) of its legacy format fails on them
        assert_reads(path, state, format, readers=READERS if FORMATS[format] else OWN)

    def test_shared_views_and_layouts(self, tmp_path, rng, format):
        base = torch.from_numpy(rng.standard_normal((4, 6)))
        image = torch.from_numpy(rng.standard_normal((2, 3, 4, 5)))
        state = {
            "base": base,
            "tied": base,
            "same view": base[:],
            "turned": base.T,
            "row": base[1],
            "steps": base[::2, 1::3],
            "scalar": base[2, 3],
            "expanded": base[0].expand(3, 6),
            "one": base[:1].expand(1, 6),
            "last": image.contiguous(memory_format=torch.channels_last),
            "flat": base.flatten(),
            "none": base[:0],
            "none too": base[:0],
            "alone": base[3:].clone(),
        }
        path = save(tmp_path / "a.pt", state, format)
        aliases, _ = assert_reads(path, state, format)
        assert aliases == {"tied": "base", "same view": "base"}

    def test_state_dicts_and_parameters(self, tmp_path, format):
        torch.manual_seed(0)
        net = torch.nn.Sequential(
            torch.nn.Conv2d(4, 6, (2, 3), groups=2),
            torch.nn.BatchNorm2d(6),
            torch.nn.ConvTranspose2d(6, 4, 3, groups=2, dtype=torch.bfloat16),
            torch.nn.Embedding(5, 3),
            torch.nn.Linear(3, 5, bias=False),
        )
        net[4].weight = net[3].weight
        state = net.state_dict()
        assert isinstance(state, OrderedDict)
        assert state._metadata
        aliases, _ = assert_reads(save(tmp_path / "a.pt", state, format), state, format)
        assert aliases == {"4.weight": "3.weight"}
        parameters = dict(net.named_parameters(remove_duplicate=False))
        aliases, _ = assert_reads(save(tmp_path / "a.pt", parameters, format), parameters, format)
        assert aliases == {"4.weight": "3.weight"}

    def test_a_whole_training_checkpoint(self, tmp_path, format):
        net = torch.nn.Linear(3, 2)
        adam = torch.optim.Adam(net.parameters())
        net(torch.ones(3)).sum().backward()
        adam.step()
        saved = {
            "model": net.state_dict(),
            "optimizer": adam.state_dict(),
            "epoch": 3,
            "device": torch.device("cpu"),
            "dtype": torch.bfloat16,
            "size": torch.Size([1, 2]),
        }
        path = save(tmp_path / "a.pt", saved, format)
        assert_reads(path, saved["model"], format, "model")
        first = saved["optimizer"]["state"][0]
        assert_reads(path, first, format, "optimizer.state.0")
        readers = available(READERS, format)
        messages = {refused("select one with", path, reader=reader) for reader in readers}
        assert len(messages) == 1
        assert "key='optimizer.state.1' (3 tensors)" in messages.pop()

    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    def test_protocols(self, tmp_path, rng, format, protocol):
        state = {"w": of(bits(rng, (3, 4), "float32"))}
        path = save(tmp_path / "a.pt", {"m": state}, format, pickle_protocol=protocol)
        assert_reads(path, state, format, "m", OWN)
        if protocol >= 4:
            refused(
                r"torch.load\(weights_only=True\) refuses it: .*Try reader='own'",
                path,
                "m",
                reader="torch",
            )

    def test_lazy_conjugates_and_negatives(self, tmp_path, rng, format):
        values = [torch.from_numpy(rng.standard_normal(4)).view(torch.complex128) for _ in "ab"]
        state = {"conj": values[0].conj(), "imag": values[1].conj().imag}
        assert state["conj"].is_conj()
        assert state["imag"].is_neg()
        path = save(tmp_path / "a.pt", state, format)
        for reader in available(OWN, format):
            refused(
                "'conj' is a tensor with .*try reader='torch', or save .*resolve_conj",
                path,
                reader=reader,
            )
        assert_reads(path, state, format, readers=("torch",))

    def test_what_is_no_dense_tensor(self, tmp_path, format):
        sparse = {"w": torch.eye(3).to_sparse()}
        path = save(tmp_path / "a.pt", sparse, format)
        for reader in available(OWN, format):
            message = r"'w' is made by torch._utils._rebuild_sparse_tensor: no dense .*to_dense\(\)"
            refused(message, path, reader=reader)
        refused("'w' is a sparse_coo float32", path, reader="torch")
        path = save(tmp_path / "a.pt", torch.nn.Linear(2, 2), format)
        for reader in available(READERS, format):
            refused(
                r"torch.nn.modules.linear.Linear.*save model.state_dict\(\)", path, reader=reader
            )

    @pytest.mark.parametrize("dtype", ["complex32", "float4_e2m1fn_x2"])
    def test_dtypes_that_numpy_lacks(self, tmp_path, format, dtype):
        if not hasattr(torch, dtype):
            pytest.skip(f"this torch has no {dtype}")
        weight = torch.zeros(8, dtype=torch.uint8).view(getattr(torch, dtype))
        path = save(tmp_path / "a.pt", {"w": weight}, format)
        for reader in available(OWN, format):
            said = rf"'w' is a tensor of torch\.{dtype}, a dtype without a counterpart in .*cast it"
            refused(said, path, reader=reader)

    def test_truncated(self, tmp_path, rng, format):
        path = save(tmp_path / "a.pt", {"w": of(bits(rng, (50,), "float32"))}, format)
        whole = path.read_bytes()
        for length in range(20, len(whole), 37):
            path.write_bytes(whole[:length])
            for reader in available(READERS, format):
                refused(": (truncated|damaged|.*: truncated|.*damaged)", path, reader=reader)

    @pytest.mark.parametrize("name", ATTACKS)
    def test_attacks_by_default(self, tmp_path, format, name):
        mark = tmp_path / "mark"
        path = torch_files.write(tmp_path / "a.pt", format, dict(attacks(mark))[name], {})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about protocols
            with suppress(CheckpointError):  # some are dicts to torch, empty ones
                assert open_checkpoint(path).infos == {}
        assert not mark.exists()

    def test_files_of_the_tests_are_torchs(self, tmp_path, rng, format):
        """What tests/torch_files.py makes, torch reads too."""
        arrays = some(rng, TORCH_DTYPES)
        path = torch_files.state_dict(tmp_path / "a.pt", format, arrays)
        with open_checkpoint(path, reader="torch") as checkpoint:
            for name, array in arrays.items():
                assert_bits(checkpoint.read(name), array)


class TestMemory:
    def test_torch_tensors(self, rng):
        base = torch.from_numpy(rng.standard_normal((3, 4)))
        state = {"w": base, "t": base.T, "tied": base, "p": torch.nn.Parameter(base.clone())}
        state |= {name: of(array) for name, array in some(rng, (*SAFE, *FLOAT8)).items()}
        checkpoint = from_dict(state)
        assert checkpoint.aliases == {"tied": "w"}
        for name, tensor in state.items():
            assert_bits(checkpoint.read(name), plain(tensor))
        checkpoint.read("w")[:] = 0
        assert base.abs().sum() > 0

    def test_tensors_without_data(self):
        for value, match in (
            (torch.ones(2, device="meta"), "on meta"),
            (torch.eye(2).to_sparse(), "sparse_coo"),
            (torch.empty(2, dtype=torch.bits8), "dtype bits8"),
        ):
            with pytest.raises(CheckpointError, match=match):
                from_dict({"w": value})


class TestSafetensors:
    def test_torch_reads_what_was_written(self, tmp_path, rng):
        arrays = some(rng, (*SAFE, *FLOAT8[:2]))
        arrays["turned"] = bits(rng, (3, 4), "float32").T
        path = tmp_path / "a.safetensors"
        write_safetensors(path, sources(arrays), {"format": "pt"})
        state = safetensors.torch.load_file(path)
        assert state.keys() == arrays.keys()
        for name, tensor in state.items():
            assert_bits(plain(tensor).copy(), np.array(arrays[name], order="C"))

    def test_data_at_odd_bytes(self, tmp_path, rng):
        """The order is the caller's, so a float64 may start anywhere."""
        arrays = {"b": np.ones(3, bool), "d": rng.standard_normal(1000)}
        path = tmp_path / "a.safetensors"
        write_safetensors(path, sources(arrays))
        state = safetensors.torch.load_file(path)
        assert_bits(plain(state["d"]).copy(), arrays["d"])
        assert float(state["d"].sum()) == pytest.approx(arrays["d"].sum())
        assert_bits(open_checkpoint(path).read("d"), arrays["d"])

    def test_float8_and_complex_of_torch(self, tmp_path, rng):
        arrays = {d: bits(rng, (3, 4), d) for d in (*FLOAT8[:2], "complex64", "bfloat16")}
        path = tmp_path / "a.safetensors"
        safetensors.torch.save_file({name: of(array) for name, array in arrays.items()}, path)
        with open_checkpoint(path) as checkpoint:
            for name, array in arrays.items():
                assert_bits(checkpoint.read(name), array)

    def test_aliases_of_save_model(self, tmp_path):
        net = torch.nn.Sequential(torch.nn.Embedding(5, 3), torch.nn.Linear(3, 5, bias=False))
        net[1].weight = net[0].weight
        path = tmp_path / "a.safetensors"
        safetensors.torch.save_model(net, str(path))
        with open_checkpoint(path) as checkpoint:
            assert len(checkpoint.aliases) == 1
            assert checkpoint.infos.keys() == {"0.weight", "1.weight"}
            for name in checkpoint.infos:
                assert_bits(checkpoint.read(name), plain(net[0].weight))

    def test_load_model_takes_written_aliases(self, tmp_path):
        net = torch.nn.Sequential(torch.nn.Embedding(5, 3), torch.nn.Linear(3, 5, bias=False))
        net[1].weight = net[0].weight
        weight = np.arange(15, dtype="f4").reshape(5, 3)
        path = tmp_path / "a.safetensors"
        write_safetensors(path, sources({"0.weight": weight}), {"1.weight": "0.weight"})
        safetensors.torch.load_model(net, str(path))
        assert_bits(plain(net[1].weight).copy(), weight)
        assert open_checkpoint(path).aliases == {"1.weight": "0.weight"}


def test_no_torch_asked_for(tmp_path, rng, monkeypatch):
    """As if it were not installed: None is the own reader then, and "torch" says what to do."""
    from jaxgroups.convert._files import open as _open

    path = save(tmp_path / "a.pt", {"w": torch.ones(2)}, "torch-zip")
    monkeypatch.setattr(_open, "find_spec", lambda name: None)
    assert type(open_checkpoint(path)).__name__ == "OwnTorchCheckpoint"
    refused("install it, or take reader='own'", path, reader="torch")


def test_a_storage_offset_beyond_the_file_is_never_read(tmp_path):
    path = save(tmp_path / "a.pt", {"w": torch.ones(2)[1:]}, "torch-legacy")
    data = path.read_bytes()
    where = data.index(b"QK\x01K\x01\x85")  # the storage, offset 1, size (1,)
    path.write_bytes(data[: where + 2] + b"\x40" + data[where + 3 :])
    refused("reaches from byte 256 to 260 of storage", path, reader="own")
    assert os.path.getsize(path) == len(data)
    assert struct.calcsize("f") == 4
