"""`verify` reads the source by another reader than `convert` did, and so finds its mistakes."""

import json

import numpy as np
import pytest
from conftest import TORCH
from flax import nnx
from support import torch_files
from support.checkpoints import assert_same_tensors, tensors, written
from support.file_models import net, state

import jaxgroups as jg
import jaxgroups.convert as jc
from jaxgroups.cli import main
from jaxgroups.convert._files import open as opening
from jaxgroups.convert._files import safetensors, torch_own

FORMATS = ("safetensors", *torch_files.FORMATS)
needs_torch = pytest.mark.skipif(
    not TORCH, reason="torch is NOT installed: its reader goes untested"
)
BOTH = [False, pytest.param(True, marks=needs_torch)]


@pytest.fixture
def place(tmp_path, rng, monkeypatch):
    """A directory with one checkpoint in every format, and the plan for it."""
    arrays = state(rng)
    written(tmp_path / "safetensors", arrays)
    for format in torch_files.FORMATS:
        torch_files.state_dict(tmp_path / format, format, arrays)
    jc.plan(net(), tmp_path / "safetensors").to_json(tmp_path / "plan.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def other_reader(format, torch):
    if format == "safetensors":
        return "safetensors"
    return "torch" if torch else {"torch-zip": "zipfile", "torch-legacy": "own"}[format]


def without(torch, monkeypatch):
    if not torch:
        monkeypatch.setattr(opening, "find_spec", lambda name: None)


@pytest.mark.parametrize("torch", BOTH)
@pytest.mark.parametrize("format", FORMATS)
def test_which_reader(place, monkeypatch, capsys, format, torch):
    without(torch, monkeypatch)
    plan = jc.Plan.from_json(place / "plan.json")
    jc.convert_file(format, "flax.safetensors", plan)
    with jc.open_checkpoint("flax.safetensors") as flax:
        assert flax.metadata["jaxgroups.reader"] == "own"
    different = jc.verify_file(format, "flax.safetensors", plan)
    assert different == []
    assert (different.reader, different.converted_by) == (other_reader(format, torch), "own")
    names = {
        "own": "the source was read by jaxgroups' own reader both times, so a mistake of it would "
        "not show",
        "torch": "the source was read by torch.load; convert had read it by jaxgroups' own reader",
        "zipfile": "the source was read by Python's zipfile; convert had read it by jaxgroups' own "
        "reader",
        "safetensors": "the source was read by the safetensors library; convert had read it by "
        "jaxgroups' own reader",
    }
    command = ["verify", format, "flax.safetensors", "--plan", "plan.json"]
    assert main(command) == 0
    message = capsys.readouterr().out.splitlines()
    assert message == ["every tensor comes back bit for bit", names[different.reader]]
    assert main([*command, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["reader"], answer["converted_by"]) == (different.reader, "own")


@pytest.mark.parametrize("torch", BOTH)
@pytest.mark.parametrize("format", FORMATS)
def test_a_mistake_of_the_own_reader_is_found(place, monkeypatch, format, torch):
    """One that converts the bytes beside those that are meant."""
    without(torch, monkeypatch)
    plan = jc.Plan.from_json(place / "plan.json")
    module = safetensors if format == "safetensors" else torch_own
    real = module.read_array

    def wrong(path, start, shape, dtype, *more):
        array = real(path, start, shape, dtype, *more)
        return np.roll(array, 1, -1) if array.ndim > 1 and path.name == format else array

    with monkeypatch.context() as patch:
        patch.setattr(module, "read_array", wrong)
        jc.convert_file(format, "flax.safetensors", plan)
        by_another = jc.verify_file(format, "flax.safetensors", plan)
        assert jc.verify_file(format, "flax.safetensors", plan, reader="own") == []
    matrices = [name for name, array in tensors("safetensors").items() if array.ndim > 1]
    if by_another.reader == by_another.converted_by:
        assert (format, torch, by_another) == ("torch-legacy", False, [])
    else:
        assert matrices
        assert sorted(by_another) == sorted(matrices)


@pytest.mark.parametrize("used", ["zipfile", pytest.param("torch", marks=needs_torch)])
def test_what_another_reader_converted_the_own_one_checks(place, used):
    plan = jc.Plan.from_json(place / "plan.json")
    jc.convert_file("torch-zip", "flax.safetensors", plan, reader=used)
    different = jc.verify_file("torch-zip", "flax.safetensors", plan)
    assert (different, different.reader, different.converted_by) == ([], "own", used)


@needs_torch
def test_a_file_that_torch_refuses_is_verified_by_zipfile(tmp_path):
    import torch

    torch.manual_seed(0)
    layer = torch.nn.Conv2d(4, 6, (3, 2), groups=2)
    torch.save(layer.state_dict(), tmp_path / "a.pth", pickle_protocol=4)
    model = jg.nnx.Conv2d(4, 6, (3, 2), groups=2, rngs=nnx.Rngs(0))
    model, _ = jc.load_torch(model, tmp_path / "a.pth")
    got = np.asarray(model.kernel.get_value())
    np.testing.assert_array_equal(got, layer.weight.detach().numpy().transpose(2, 3, 1, 0))
    plan = jc.plan(model, tmp_path / "a.pth")
    jc.convert_file(tmp_path / "a.pth", tmp_path / "flax.safetensors", plan)
    different = jc.verify_file(tmp_path / "a.pth", tmp_path / "flax.safetensors", plan)
    assert (different, different.reader) == ([], "zipfile")


@pytest.mark.parametrize("reader", ["own", "zipfile", pytest.param("torch", marks=needs_torch)])
def test_every_entry_takes_a_reader(place, monkeypatch, reader, capsys):
    """Each opens the file by the reader that is asked for."""
    opened = []
    real = opening._by_reader

    def noted(path, kind, key, reader):
        if kind != "safetensors":
            opened.append(reader)
        return real(path, kind, key, reader)

    monkeypatch.setattr(opening, "_by_reader", noted)
    path, plan = place / "torch-zip", jc.Plan.from_json(place / "plan.json")
    jc.plan(net(), path, reader=reader)
    jc.load_torch(net(), path, reader=reader)
    jc.convert_file(path, "flax.safetensors", plan, reader=reader)
    jc.verify_file(path, "flax.safetensors", plan, reader=reader)
    jg.explain(path, reader=reader)
    (place / "a.pth").write_bytes(path.read_bytes())
    assert main(["explain", "a.pth", "--reader", reader]) == 0
    assert opened == [reader] * 6
    assert capsys.readouterr().out


def test_linen_takes_a_reader(tmp_path, rng):
    from flax import linen as nn

    array = rng.standard_normal((3, 2)).astype("f4")
    arrays = {"Dense_0.weight": array, "Dense_0.bias": array[:, 0].copy()}
    path = torch_files.state_dict(tmp_path / "a.pth", "torch-zip", arrays)

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(x)

    for reader in ("own", "zipfile"):
        how = {"example": np.ones((1, 2), "f4"), "reader": reader}
        variables, _ = jc.load_torch_linen(Model(), path, **how)
        np.testing.assert_array_equal(variables["params"]["Dense_0"]["kernel"], array.T)
    with pytest.raises(ValueError, match="reader must be None, 'own', 'torch', 'zipfile', but got"):
        jc.load_torch_linen(Model(), path, example=np.ones((1, 2), "f4"), reader="pickle")


def test_a_reader_of_what_is_open_already(place, rng):
    with (
        jc.open_checkpoint("torch-zip") as checkpoint,
        pytest.raises(ValueError, match="reader='own' is for a path, got OwnTorchCheckpoint"),
    ):
        jc.load_torch(net(), checkpoint, reader="own")
    with pytest.raises(ValueError, match="reader='own' is for a path, got dict"):
        jc.plan(net(), state(rng), reader="own")


def test_shards_are_verified_by_the_library(tmp_path, rng, monkeypatch):
    """And what the library cannot read, such as float8, is not."""
    monkeypatch.chdir(tmp_path)
    arrays = state(rng)
    written(tmp_path / "1.safetensors", arrays)
    index = tmp_path / "a.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(arrays, "1.safetensors")}))
    plan = jc.plan(net(), index)
    jc.convert_file(index, "flax.safetensors", plan)
    assert jc.verify_file(index, "flax.safetensors", plan).reader == "safetensors"
    with opening.open_otherwise(index, None, "own") as checkpoint:
        assert_same_tensors({n: checkpoint.read(n) for n in checkpoint.infos}, arrays)
    more = arrays | {"x": np.zeros(2, "c8")}
    written(tmp_path / "b.safetensors", more)
    with opening.open_otherwise("b.safetensors", None, "own") as checkpoint:
        assert checkpoint.reader == "own"
        assert_same_tensors({n: checkpoint.read(n) for n in checkpoint.infos}, more)
