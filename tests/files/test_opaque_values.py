"""Whole training checkpoints: what lies beside the tensors does not keep them from being read."""

import argparse
import collections
import datetime
import decimal
import enum
import pathlib
import pickle
import types

import numpy as np
import pytest
from support import torch_files
from support.torch_files import FORMATS, Call, Name, Raw, dense, opcodes, pickled, tensor, write
from test_files import assert_bits, refused

from jaxgroups.convert._files import open_checkpoint


class Colour(enum.Enum):
    RED = "red"


class Config:
    """As a training script has them."""

    def __init__(self):
        self.lr = 0.1
        self.inner = {"steps": [1, 2], "self": self}


class Settings(dict):
    """A dict with attributes, as of omegaconf or mmengine."""


def settings():
    made = Settings(a=1)
    made.path = "b"
    return made


VALUES = {
    "Namespace": argparse.Namespace(lr=0.1, layers=[1, 2]),
    "Path": pathlib.PurePosixPath("/data/x"),
    "defaultdict": collections.defaultdict(list, {1: [2]}),
    "OrderedDict": collections.OrderedDict(a=collections.OrderedDict()),
    "Counter": collections.Counter("aab"),
    "deque": collections.deque([1, 2], maxlen=3),
    "set": {1, 2},
    "frozenset": frozenset({1, (2, 3)}),
    "datetime": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
    "numpy scalar": np.float32(3),
    "numpy array": np.arange(3.0),
    "numpy dtype": np.dtype("f4"),
    "enum": Colour.RED,
    "object": Config(),
    "dict with attributes": settings(),
    "class": Config,
    "function": pickle.dumps,
    "builtin": len,
    "complex": 1 + 2j,
    "bytes": b"\xff\x00",
    "bytearray": bytearray(b"\xff\x00"),
    "slice": slice(1, 2),
    "range": range(3),
    "SimpleNamespace": types.SimpleNamespace(a=1),
    "Decimal": decimal.Decimal("1.5"),
    "error": ValueError("a"),
    "keys": {Config: 1, frozenset({1}): 2, (1, (2, 3)): 3, 2**70: 4, Colour.RED: 5},
}
ARRAY = np.arange(6.0).reshape(2, 3)
REFUSED = {"function"}  # names that files use to run code


def spliced(value, protocol):
    """The opcodes of Python's own pickle of a value, without its first and last."""
    return Raw(pickle.dumps(value, protocol)[2:-1])


def saved(path, root, format="torch-zip"):
    return write(path, format, pickled(root), {"0": ARRAY})


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", [name for name in VALUES if name not in REFUSED])
def test_beside_the_state_dict(tmp_path, name, protocol, format):
    root = {"args": spliced(VALUES[name], protocol), "model": {"w": dense("0", ARRAY)}}
    path = saved(tmp_path / "a.pt", root, format)
    readers = ("own", "zipfile") if format == "torch-zip" else ("own",)
    for reader in readers:
        with open_checkpoint(path, "model", reader=reader) as checkpoint:
            assert list(checkpoint.infos) == ["w"]
            assert_bits(checkpoint.read("w"), ARRAY)
    message = refused(r"select one with key='model' \(1 tensor\)$", path)
    assert "args" not in message


@pytest.mark.parametrize("name", [name for name in VALUES if name not in REFUSED])
def test_among_the_tensors(tmp_path, name):
    """It is listed with what else is there, unless it holds an array that would be lost."""
    root = {"args": spliced(VALUES[name], 2), "w": dense("0", ARRAY)}
    path = saved(tmp_path / "a.pt", root)
    if name == "numpy array":
        message = (
            r"'args' is made by numpy\..*_reconstruct: no dense tensor of torch.*from_numpy\(\)"
        )
        refused(message, path)
        return
    with open_checkpoint(path) as checkpoint:
        assert list(checkpoint.infos) == ["w"]
        assert checkpoint.extras == ("args",)


@pytest.mark.parametrize("name", [name for name in VALUES if name not in REFUSED])
def test_asked_for_as_the_tensors(tmp_path, name):
    path = saved(tmp_path / "a.pt", {"args": spliced(VALUES[name], 2), "w": dense("0", ARRAY)})
    message = refused(
        "key='args' leads to no dict|the dict at key='args' holds no tensor", path, "args"
    )
    if name == "Namespace":
        assert (
            "it is an instance of argparse.Namespace, which only its own code can build" in message
        )
        assert "nothing was imported or run" in message
        assert "load it where it was made and save model.state_dict()" in message


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_name_that_runs_code_is_refused_wherever_it_is(tmp_path, protocol):
    root = {"args": spliced(pickle.dumps, protocol), "w": dense("0", ARRAY)}
    path = saved(tmp_path / "a.pt", root)
    refused("the pickle names _?pickle.dumps; nothing was imported or run. No checkpoint", path)


def test_names_that_are_not_printable_are_refused(tmp_path):
    for name in ("a\x1b[31m", "b" * 1001):
        path = saved(tmp_path / "a.pt", {"args": Name("m", name), "w": dense("0", ARRAY)})
        message = refused("damaged pickle: the name of a global is 'm", path)
        assert "\x1b" not in message
        assert len(message) < 300


def test_tensors_in_dicts_of_other_kinds(tmp_path):
    """A defaultdict and an OrderedDict of pairs are dicts; a Counter copies one."""
    held = opcodes("w") + opcodes(dense("0", ARRAY)) + b"s"
    factory = (Name("__builtin__", "dict"),)
    root = {
        "default": Raw(opcodes(Call(Name("collections", "defaultdict"), factory)) + held),
        "pairs": Call(Name("collections", "OrderedDict"), ([["w", dense("0", ARRAY)]],)),
        "copy": Call(Name("collections", "Counter"), ({"w": dense("0", ARRAY)},)),
    }
    path = saved(tmp_path / "a.pt", root)
    for key in root:
        with open_checkpoint(path, key) as checkpoint:
            assert_bits(checkpoint.read("w"), ARRAY)


def test_a_whole_model(tmp_path):
    """The object is named, and the way to a dict of tensors."""
    path = saved(tmp_path / "a.pt", spliced(Config(), 2))
    message = rf"it holds no dict of tensors: it is an instance of {__name__}.Config, which only"
    refused(message, path)
    path = saved(tmp_path / "a.pt", {"epoch": 3, "model": spliced(Config(), 2)})
    message = (
        rf"holds no tensor: no dict in it .*; 'model' is an instance of {__name__}.Config.*save mo"
    )
    refused(message, path)
    path = saved(tmp_path / "a.pt", Name("torch", "float32"))
    refused("it holds the name torch.float32, not a dict", path)


BROKEN = {
    "huge": (tensor("0", "float64", 6, (2**62,), (0,)), "its strides repeat values"),
    "beyond": (tensor("0", "float64", 6, (7,), (1,)), "reaches from byte 0 to 56 of storage 0"),
    "negative": (tensor("0", "float64", 6, (-1,), (1,)), "which must be integers >= 0"),
    "lazy": (
        Call(
            Name("torch._utils", "_rebuild_tensor_v2"),
            (*dense("0", ARRAY).arguments, {"conj": True}),
        ),
        "try reader='torch', or save tensor.resolve_conj",
    ),
    "of a class": (
        Call(
            Name("torch._tensor", "_rebuild_from_type_v2"),
            (
                Name("torch._utils", "_rebuild_tensor_v2"),
                Name("mine", "Scaled"),
                dense("0", ARRAY).arguments,
                {},
            ),
        ),
        "a tensor of the class <mine.Scaled>, whose meaning only its own code knows",
    ),
}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", BROKEN)
def test_tensors_that_are_not_needed(tmp_path, name, format):
    """They are refused where they are asked for, and nowhere else."""
    made, message = BROKEN[name]
    root = {"state": {"x": made}, "model": {"w": dense("0", ARRAY)}}
    path = saved(tmp_path / "a.pt", root, format)
    with open_checkpoint(path, "model") as checkpoint:
        assert_bits(checkpoint.read("w"), ARRAY)
    path = saved(tmp_path / "a.pt", {"w": dense("0", ARRAY), "x": made}, format)
    refused(f"'x' is a tensor|.*{message}", path)
    assert message in refused(".", path)


def test_an_array_deep_within_an_opaque_value_is_not_passed_over(tmp_path):
    made = Call(Name("mine", "Quantized"), ([{"scale": (dense("0", ARRAY),)}],))
    path = saved(tmp_path / "a.pt", {"w": dense("0", ARRAY), "x": made})
    refused("'x' is an instance of mine.Quantized, which only its own code can build", path)


def test_the_oldest_files_name_classes_as_storages(tmp_path):
    named = torch_files.Persistent(("module", Name("mine", "Net"), "net.py", "class Net: ..."))
    path = saved(tmp_path / "a.pt", Call(named, ()))
    refused("it is an instance of mine.Net", path)


@pytest.mark.filterwarnings("ignore")  # torch's, on kinds of tensors that may change
def test_of_torch(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is NOT installed: no values of its own")
    attributed = torch.arange(3.0)
    attributed.note = "kept"
    parameter = torch.nn.Parameter(torch.arange(4.0))
    parameter.note = "kept"
    made = torch.serialization.set_default_load_endianness  # some function of torch
    others = {
        "sparse": torch.eye(3).to_sparse(),
        "csr": torch.eye(3).to_sparse_csr(),
        "expanded": torch.zeros(1).expand(2**62),
        "quantized": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8),
        "meta": torch.empty(3, device="meta"),
        "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        "jagged": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged),
        "half complex": torch.zeros(2, dtype=torch.complex32),
        "lazy": torch.zeros(2, dtype=torch.complex64).conj(),
    }
    model = {"attributed": attributed, "parameter": parameter, "size": torch.Size([2])}
    for protocol in (2, 4):
        for zipped in (True, False):
            how = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": zipped}
            path = tmp_path / "a.pt"
            torch.save({"model": model, "function": made, "others": others}, path, **how)
            with open_checkpoint(path, "model") as checkpoint:
                assert_bits(checkpoint.read("attributed"), np.arange(3.0, dtype="f4"))
                assert_bits(checkpoint.read("parameter"), np.arange(4.0, dtype="f4"))
                assert checkpoint.extras == ("size",)
            for name, value in others.items():
                torch.save({"w": torch.ones(2), name: value}, path, **how)
                message = refused(f"'{name}' is ", path)
                assert any(word in message for word in ("made by torch.", "a tensor", "a view")), (
                    message
                )
