"""``jaxgroups port``: what it prints and writes, and what it refuses."""

import json

import numpy as np
import pytest
from support.checkpoints import written
from support.command import python, run
from support.schema_checks import assert_nothing_else_is_taken, forms, validated

from jaxgroups._printable import printable
from jaxgroups.convert import ConversionWarning

torch = pytest.importorskip("torch", reason="torch is NOT installed: there is nothing to port")
nets = pytest.importorskip("support.small_nets")

pytestmark = pytest.mark.usefixtures("flax_promotion")

NET = "support.small_nets:Residual"


def test_files_and_proof(capsys, tmp_path):
    module = nets.Residual(classes=4)
    torch.save({"model": module.state_dict()}, tmp_path / "net.pth")
    argv = [NET, "--kwargs", '{"classes": 4}', "--example", "2,3,11,13", "--steps", "1"]
    argv += ["--checkpoint", str(tmp_path / "net.pth"), "--key", "model"]
    status, out, err = run(capsys, "port", *argv, "-o", str(tmp_path / "out"))
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("Residual: ")
    assert lines[0].endswith(" lines, 0 transpositions")
    assert lines[4] == "Residual (torch) and Residual (Flax): equal"
    assert max(map(len, lines[4:])) <= 80
    assert json.loads((tmp_path / "out" / "proof.json").read_text())["verdict"] == "equal"
    # what was written runs without torch
    code = """
import sys
sys.modules["torch"] = None
import numpy as np
from flax import nnx
from model import Residual
from jaxgroups.port import load_weights
model = Residual(rngs=nnx.Rngs(0))
load_weights(model, "weights.safetensors")
model.eval()
x = np.arange(2 * 11 * 13 * 3, dtype="float32").reshape(2, 11, 13, 3) / 500
print(*(round(float(y), 4) for y in model(x).ravel()))
"""
    done = python("-c", "import sys; sys.path.insert(0, '.')\n" + code, cwd=tmp_path / "out")
    assert done.returncode == 0, done.stderr
    x = torch.arange(2 * 11 * 13 * 3, dtype=torch.float32).reshape(2, 11, 13, 3) / 500
    expected = module.eval()(x.permute(0, 3, 1, 2)).detach().ravel().tolist()
    actual = [float(text) for text in done.stdout.split()]
    assert actual == pytest.approx(expected, abs=2e-4)


def test_the_source_is_printed_and_data(capsys):
    argv = ["port", "support.small_nets:Noisy", "--example", "2,4", "--no-proof"]
    status, out, err = run(capsys, *argv)
    assert (status, err) == (0, "")
    assert out.startswith('"""Noisy, ported from PyTorch.\n\n* The original calls rand in')
    assert "\nNoisy: " in out
    assert "note: the original calls rand" in out
    status, out, err = run(capsys, *argv, "--json")
    assert (status, err) == (0, "")
    data = validated(out, "port")
    assert forms("port", data) == ["ported"]
    assert data["proof"] is None
    assert data["inputs"] == [[0, 1]]
    assert_nothing_else_is_taken("port", data)


def test_integers(capsys):
    argv = ["support.small_nets:Embedded", "--example", "2,5", "--example-dtype", "int64"]
    status, out, err = run(capsys, "port", *argv, "--no-proof")
    assert (status, err) == (0, "")
    assert "self.embed = nnx.Embed(7, 3, rngs=rngs)" in out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "no torch module was given"),
        (["--checkpoint", "net.pth"], "a checkpoint alone cannot be ported: it has the weights"),
        ([NET], "give the shape of the input: --example 1,3,224,224"),
        (["nowhere:net", "--example", "1,2"], "nowhere:net cannot be imported"),
        ([NET, "--example", "1x2"], "--example must be a shape such as 1,224,224,3, got '1x2'"),
        ([NET, "--example", "1,2", "--example-dtype", "int65"], "--example-dtype must be a dtype"),
        ([NET, "--example", "1,2", "--kwargs", "[]"], "--kwargs must be a JSON object, got []"),
        ([NET, "--example", "1,2", "--kwargs", '{"a": 1}'], "fails: TypeError"),
        (["json:dumps", "--example", "1,2"], "json:dumps fails: TypeError"),
        ([NET, "--example", "1,4,9,9"], "torch.export cannot trace the module: RuntimeError"),
        (["support.small_nets:Absent", "--example", "1,2,3,4"], "2 places cannot be ported:"),
        ([NET, "--example", "1,3,9,9", "--checkpoint", "none.pth"], "No such file or directory"),
    ],
)
def test_refusals(capsys, argv, message):
    status, out, err = run(capsys, "port", *argv, "--json")
    assert status == 2
    assert message in err
    assert err.startswith("jaxgroups port: ")
    data = validated(out, "port")
    assert forms("port", data) == ["failed"]


def loads(command, file):
    """The command line that loads a file into a module without tensors of its own."""
    pair = {"port": [], "prove": ["support.models.dense_pair:FlaxNet"]}[command]
    return [command, "support.small_nets:Noisy", *pair, "--example", "2,4", "--checkpoint", file]


@pytest.mark.parametrize("command", ["port", "prove"])
def test_names_of_a_file_are_escaped(command, capsys, tmp_path):
    """The error has as many lines as for a plain name, and the name is told."""
    texts = {}
    for name in ("plain", "\x1b[31mfc\u202e\r\nport: ported and equal\n\t\u200bx\x07"):
        torch.save({name: torch.zeros(2)}, tmp_path / "net.pth")
        status, out, err = run(capsys, *loads(command, str(tmp_path / "net.pth")))
        assert (status, out) == (2, "")
        assert err.replace("\n", "").replace("\t", "").isprintable()
        assert f'Unexpected key(s) in state_dict: "{printable(name)}"' in err
        texts[name] = err.splitlines()
    plain, hostile = texts.values()
    assert len(plain) == len(hostile)
    assert not any(line.startswith("port:") for line in hostile)


@pytest.mark.parametrize("command", ["port", "prove"])
def test_a_file_of_another_framework_is_refused(command, capsys, tmp_path):
    """A kernel of MLX may have torch's shape: torch would load it without a word."""
    file = written(tmp_path / "a.safetensors", {"w": np.ones((3, 3, 3), "f4")}, {"format": "mlx"})
    status, out, err = run(capsys, *loads(command, str(file)))
    assert (status, out) == (2, "")
    assert "its metadata have format='mlx', so w are in MLX's layout (out, *kernel, in/grou" in err
    file = written(tmp_path / "b.safetensors", {"w": np.ones(3, "f4")}, {"jaxgroups.format": "1"})
    status, out, err = run(capsys, *loads(command, str(file)))
    assert (status, out) == (2, "")
    assert "is already converted (jaxgroups.format=1): converting it again would permute" in err
    tensors = {"0.weight": np.ones((3, 3), "f4")}
    file = written(tmp_path / "c.safetensors", tensors, {"format": "np"})
    with pytest.warns(ConversionWarning, match="format='np', which does not determine a layout"):
        run(capsys, *loads(command, str(file)))


def test_partial(capsys):
    argv = ["support.small_nets:Absent", "--example", "1,2,3,4", "--partial"]
    status, out, err = run(capsys, "port", *argv)
    assert (status, err) == (0, "")
    assert "raise NotImplementedError(what)" in out
    assert "aten.erfinv has no counterpart: " in out
