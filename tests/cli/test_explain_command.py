"""``jaxgroups explain`` and the data it prints: schemas, files, sorting, bad arguments."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from support.command import run
from support.schema_checks import assert_nothing_else_is_taken, validated, validator

import jaxgroups as jg

CONV = "conv2d in=4 out=8 kernel=3 groups=2 batch=1 size=5"
MODEL = "support.explained_models:Convolutions"
TENSORS = {
    "stem.weight": np.zeros((16, 3, 3, 3), "float32"),
    "stem.bias": np.zeros(16, "float32"),
    "blocks.0.weight": np.zeros((32, 1, 3, 3), "float16"),
    "pos_embed": np.zeros((1, 5, 7), "float32"),
    "fc.weight": np.zeros((10, 32), "float32"),
    "steps": np.zeros((), "int64"),
}


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(TENSORS, path)
    return path


# --- data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelled",
    [CONV, "conv2d in=4 out=8 kernel=3", "conv_transpose1d in=2 out=2 kernel=2 batch=2x3 size=4"],
)
def test_a_convolution(capsys, spelled):
    status, out, err = run(capsys, "explain", spelled, "--json")
    assert (status, err) == (0, "")
    data = validated(out, "explain")
    assert data == json.loads(json.dumps(jg.explain(spelled).as_dict()))
    assert data["kind"] == "convolution"


@pytest.mark.parametrize(
    ("name", "example", "options"),
    [
        ("Convolutions", "2,33,35,3", []),
        ("Everything", "2,8,8,8", []),
        ("Small", "2,9,9,3", ["--call", '{"train": false}']),
        ("small", "2,9,9,3", ["--call", '{"train": true}', "--kwargs", '{"features": 3}']),
        ("convolutions", "2,33,35,3", ["--sort", "bytes", "--platform", "tpu"]),
    ],
)
def test_a_model(capsys, name, example, options):
    argv = ["explain", f"support.explained_models:{name}", "--example", example, *options]
    status, out, err = run(capsys, *argv, "--json")
    assert (status, err) == (0, "")
    data = validated(out, "explain")
    assert data["kind"] == "model"
    by = data["sorted_by"]
    counts = [row["bytes_moved" if by == "bytes" else "macs"] for row in data["layers"]]
    assert counts == sorted(counts, reverse=True)
    assert data["totals"]["macs"] == sum(r["macs"] for r in data["layers"] + data["others"])
    status, out, _ = run(capsys, *argv)
    assert status == 0
    assert all(row["path"] in out for row in data["layers"])


def test_a_checkpoint(capsys, checkpoint):
    status, out, err = run(capsys, "explain", str(checkpoint), "--json")
    assert (status, err) == (0, "")
    data = validated(out, "explain")
    rows = {row["name"]: row for row in data["tensors"]}
    assert [row["name"] for row in data["tensors"]][:3] == [
        "stem.weight",
        "fc.weight",
        "blocks.0.weight",
    ]
    assert data["elements"] == sum(a.size for a in TENSORS.values())
    assert data["bytes"] == sum(a.nbytes for a in TENSORS.values())
    assert rows["stem.weight"]["filters"] == 16
    assert rows["stem.weight"]["kernels_per_filter"] == 3
    assert rows["blocks.0.weight"]["kernels_per_filter"] == 1
    assert rows["blocks.0.weight"]["kernel_size"] == [3, 3]
    assert rows["pos_embed"]["filters"] is None
    assert not any("groups" in row for row in rows.values()), "a weight does not show its groups"
    status, out, _ = run(capsys, "explain", str(checkpoint), "--sort", "order")
    assert {line.split()[0] for line in out.splitlines()[1:7]} == set(TENSORS)
    assert "a weight does not show its groups" in out


def test_a_checkpoint_of_torch(capsys, tmp_path):
    torch = pytest.importorskip("torch", reason="NO .pt file is explained: no torch")
    path = tmp_path / "a.pt"
    torch.save({"model": torch.nn.Conv2d(4, 8, 3, groups=2).state_dict()}, path)
    _, out, _ = run(capsys, "explain", str(path), "--key", "model", "--json")
    data = validated(out, "explain")
    assert data["elements"] == 8 * 2 * 9 + 8
    assert data["layout"] == "torch"


def test_a_converted_checkpoint_does_not_tell_its_filters(tmp_path):
    path = tmp_path / "flax.safetensors"
    save_file({"a.weight": np.zeros((3, 3, 2, 8), "float32")}, path, {"jaxgroups.format": "1"})
    answer = jg.explain(path)
    assert (answer.layout, answer.tensors[0].filters) == ("flax", None)


def test_a_checkpoint_with_its_model(capsys, tmp_path):
    from flax import nnx
    from support import explained_models

    from jaxgroups.convert import save_torch

    path = tmp_path / "model.safetensors"
    save_torch(explained_models.convolutions(), path)
    argv = ["--model", MODEL, "--example", "2,33,35,3", "--json"]
    status, out, err = run(capsys, "explain", str(path), *argv)
    assert (status, err) == (0, "")
    expected = jg.explain(nnx.eval_shape(explained_models.convolutions), (2, 33, 35, 3))
    assert validated(out, "explain")["totals"] == expected.as_dict()["totals"]
    save_file(TENSORS, tmp_path / "other.safetensors")
    status, out, err = run(capsys, "explain", str(tmp_path / "other.safetensors"), *argv)
    assert (status, out) == (1, "")
    assert "Error(s) in loading state_dict for Convolutions" in err


@pytest.mark.parametrize(
    "argv",
    [["4", "8", "--groups", "2"], ["6", "6", "--groups", "3", "--transposed"], ["300", "300"]],
)
def test_a_diagram(capsys, argv):
    status, out, _ = run(capsys, "diagram", *argv, "--json")
    assert status == 0
    validated(out, "diagram")


def test_the_experiment(capsys):
    status, out, _ = run(capsys, "experiment", "--json")
    assert status == 0
    assert validated(out, "experiment")["ok"]


@pytest.mark.parametrize("argv", [["explain", CONV], ["diagram", "4", "8"]])
def test_the_schemas_can_fail(capsys, argv):
    data = validated(run(capsys, *argv, "--json")[1], argv[0])
    assert_nothing_else_is_taken(argv[0], data)
    other = "diagram" if data["kind"] == "convolution" else "convolution"
    assert not validator(argv[0]).is_valid(data | {"kind": other})
    assert not validator(argv[0]).is_valid(data | {"parameters": -1})


# --- bad arguments --------------------------------------------------------------------------------

MODELS = ["explain", MODEL, "--example", "2,33,35,3"]
BAD = {
    "no convolution": (["explain", "dense"], "op must be one of conv1d"),
    "no example": (["explain", MODEL], "a model needs --example, the shape of its input"),
    "example": (
        ["explain", MODEL, "--example", "2x33"],
        "--example must be a shape such as 1,224,224,3",
    ),
    "no module": (["explain", "nowhere:Net", "--example", "1"], "No module named 'nowhere'"),
    "no factory": (
        ["explain", "support.explained_models:Net", "--example", "1"],
        "has no attribute 'Net'",
    ),
    "no model": (
        ["explain", "support.explained_models:jnp", "--example", "1"],
        "support.explained_models:jnp",
    ),
    "channels": (
        ["explain", MODEL, "--example", "2,33,35,4"],
        "expected input[2, 33, 35, 4] to have 3 channels, but got 4 channels instead",
    ),
    "missing argument": (
        ["explain", "support.explained_models:Small", "--example", "2,9,9,3"],
        "missing 1 required positional argument: 'train'",
    ),
    "call": ([*MODELS, "--call", "{"], '--call must be JSON such as {"train": false}'),
    "call is a list": ([*MODELS, "--call", "[1]"], "--call must be a JSON object, got [1]"),
    "kwargs": ([*MODELS, "--kwargs", "{'a': 1}"], "--kwargs must be JSON"),
    "unknown kwargs": ([*MODELS, "--kwargs", '{"a": 1}'], "unexpected keyword argument 'a'"),
    "no file": (["explain", "no.safetensors"], "No such file or directory: no.safetensors"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_one_clear_line(capsys, name):
    argv, sentence = BAD[name]
    status, out, err = run(capsys, *argv)
    assert (status, out) == (2, "")
    assert err.startswith("jaxgroups explain: ")
    assert sentence in err
    assert err.strip().count("\n") == 0


def test_a_damaged_file_is_one_clear_line(capsys, tmp_path):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    status, out, err = run(capsys, "explain", str(path))
    assert (status, out) == (2, "")
    assert err.startswith("jaxgroups explain: ")
    assert err.strip().count("\n") == 0


@pytest.mark.parametrize("argv", [["--sort", "name"], ["--platform", "abacus"], ["--jsn"]])
def test_bad_options_are_argparses(capsys, argv):
    status, out, err = run(capsys, "explain", CONV, *argv)
    assert (status, out) == (2, "")
    assert "error: " in err
