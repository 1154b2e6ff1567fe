"""``jaxgroups inspect | plan | convert | verify``: what they print, and their exit status."""

import json
import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support import torch_files
from support.checkpoints import tensors, written

import jaxgroups.convert as jc
from jaxgroups.cli import main

MODEL = (Path(__file__).parents[1] / "support" / "models" / "twin.py").read_text()
SHAPES = {
    **{"up.weight": (4, 3, 3, 2), "up.bias": (6,), "fc.weight": (5, 24), "fc.bias": (5,)},
    **{f"bn.{n}": (6,) for n in ("weight", "bias", "running_mean", "running_var")},
}


def state():
    arrays, start = {}, 1
    for name, shape in SHAPES.items():
        size = int(np.prod(shape))
        arrays[name] = np.arange(start, start + size, dtype="f4").reshape(shape)
        start += size
    return arrays | {"bn.num_batches_tracked": np.array(2**40 + 1)}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the command in a directory with a model; exit status, stdout and stderr."""
    (tmp_path / "twin.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "twin", raising=False)
    monkeypatch.setattr("sys.dont_write_bytecode", True)  # the folder has what a command writes

    def call(*arguments):
        capsys.readouterr()
        try:
            status = main([str(a) for a in arguments])
        except SystemExit as error:  # argparse
            status = error.code
        out = capsys.readouterr()
        return status, out.out, out.err

    return call


@pytest.fixture
def source(tmp_path):
    return written(tmp_path / "model.safetensors", state())


# --- the path of a user ---------------------------------------------------------------------------


def test_names_are_proposed_written_to_a_file_and_used(run, tmp_path):
    """The last layer has another name; the printed table is the file for --rules."""
    renamed = {n.replace("fc.", "head.1."): array for n, array in state().items()}
    path = written(tmp_path / "model.safetensors", renamed)
    status, out, err = run("plan", path, "--model", "twin:Net")
    assert status == 1
    assert (
        "\thint: where only the names differ, propose_names(model, checkpoint) or `jaxgroups "
        in err
    )
    status, out, err = run("plan", path, "--model", "twin:Net", "--propose")
    assert (status, err) == (0, "")
    assert out == (
        "# proposed, not applied: 1 name for 1 layer, 0 to check; 2 more need none\n"
        "[names]\n"
        '"fc" = "head.1"  # only one of its shape\n'
    )
    (tmp_path / "names.toml").write_text(out)
    assert run("plan", path, "--model", "twin:Net", "--rules", "names.toml")[0] == 0
    status, out, err = run("plan", path, "--model", "twin:Net", "--propose", "-o", "plan.json")
    assert status == 2
    assert "--propose makes no plan: leave -o out, and give its table to --rules" in err
    assert not (tmp_path / "plan.json").exists()


def test_a_proposal_that_lacks_a_layer_is_printed_with_status_1(run, tmp_path):
    renamed = {n: array for n, array in state().items() if not n.startswith("fc.")}
    path = written(tmp_path / "model.safetensors", renamed)
    status, out, err = run("plan", path, "--model", "twin:Net", "--propose")
    assert (status, err) == (1, "")
    assert "# no tensor found for fc.bias (5,), fc.kernel (24, 5)\n" in out


@pytest.mark.parametrize("kind", ["safetensors", *torch_files.FORMATS])
def test_there_and_back(run, tmp_path, kind):
    reader = ["--reader", "own"]
    if kind == "safetensors":
        path = written(tmp_path / "model.safetensors", state())
    else:
        path = torch_files.state_dict(tmp_path / "model.pth", kind, state())
    status, out, err = run("plan", path, "--model", "twin:Net", "-o", "plan.json", *reader)
    assert (status, err) == (0, "")
    assert "Permute(axes=(2, 3, 1, 0))  up.kernel" in out
    assert "8 ok, 1 counter" in out
    plan = ["--plan", "plan.json"]
    convert = ["convert", path, "--to", "flax", "-o", "flax.safetensors"]
    status, out, err = run(*convert, *plan, *reader)
    assert (status, err) == (0, "")
    assert out.startswith("8 leaves -> flax.safetensors\n")
    status, out, err = run("verify", path, "flax.safetensors", *plan, *reader)
    assert (status, err) == (0, "")
    first, second, warning = out.splitlines()
    assert first == "every tensor comes back bit for bit"
    said = "the source was read by jaxgroups' own reader both times, so a mistake of it would not"
    assert second == f"{said} show"
    assert warning.startswith("warning: feature order is not known: fc reads 24 = 6 * 4 features")
    status, _, err = run(
        "convert", "flax.safetensors", "--to", "torch", "-o", "b.safetensors", *plan
    )
    assert (status, err) == (0, "")
    back = tensors("b.safetensors")
    assert back.keys() == state().keys()
    for name, array in state().items():
        assert back[name].dtype == array.dtype
        assert back[name].tobytes() == array.tobytes()
    held = tensors("flax.safetensors")
    model = nnx.eval_shape(lambda: __import__("twin").Net(rngs=nnx.Rngs(0)))
    with pytest.warns(jc.ConversionWarning, match="fc reads 24"):
        model, _ = jc.load_torch(model, path)
    for leaf, variable in nnx.to_flat_state(nnx.state(model)):
        np.testing.assert_array_equal(held[".".join(map(str, leaf))], variable.get_value())


def test_json(run, source):
    status, out, _ = run("inspect", source, "--json")
    data = json.loads(out)
    assert status == 0
    assert data["format"] == "safetensors"
    assert data["tensors"]["up.weight"] == {"shape": [4, 3, 3, 2], "dtype": "float32", "bytes": 288}
    assert list(data["tensors"]) == list(state())
    status, out, _ = run("plan", source, "--model", "twin:Net", "--json", "-o", "plan.json")
    assert status == 0
    assert json.loads(out)["format"] == "jaxgroups.plan-v1"
    with pytest.warns(jc.ConversionWarning, match="fc reads 24"):
        assert jc.Plan.from_json(out) == jc.Plan.from_json("plan.json")
    convert = ["convert", source, "--to", "flax", "-o", "f.safetensors", "--plan", "plan.json"]
    status, out, _ = run(*convert, "--json")
    assert json.loads(out)["tensors"] == 8
    assert json.loads(out)["warnings"] == [
        "feature order is not known: fc reads 24 = 6 * 4 features: if they are a flattened feature "
        'map, pass rules={"fc": FlattenLinear(6, 2, 2)}; or KeepOrder() where torch has Flax\'s '
        "order, or example= an input of the model to follow them"
    ]
    warnings = json.loads(out)["warnings"]
    status, out, _ = run("verify", source, "f.safetensors", "--plan", "plan.json", "--json")
    more = {"warnings": warnings, "reader": "safetensors", "converted_by": "own"}
    assert (status, json.loads(out)) == (0, {"equal": True, "different": []} | more)
    # and what goes wrong
    status, out, err = run(*convert, "--json")
    assert status == 2
    assert json.loads(out)["error"] == err.strip()
    status, out, _ = run(
        "plan", source, "--model", "twin:Net", "--kwargs", '{"width": 8}', "--json"
    )
    assert status == 1
    assert any(e["status"] == "mismatched" for e in json.loads(out)["entries"])
    changed = state() | {"new": np.ones(3)}
    written("new.safetensors", changed)
    convert = ["convert", "new.safetensors", "--to", "flax", "-o", "g.safetensors"]
    status, out, _ = run(*convert, "--plan", "plan.json", "--json")
    assert status == 1
    assert json.loads(out)["unexpected_keys"] == ["new"]


def test_inspect_tells_what_is_there(run, tmp_path):
    written(
        tmp_path / "tied.safetensors",
        {"a.weight": np.ones((2, 3), "f4"), "n": np.array(3)},
        {"b.weight": "a.weight", "format": "pt"},
    )
    status, out, _ = run("inspect", "tied.safetensors")
    assert status == 0
    assert "b.weight  float32    (2, 3)  same as a.weight" in out
    assert "3 tensors, 32 bytes, safetensors" in out
    assert "metadata format: pt" in out
    root = {"model": {"w": torch_files.dense("0", np.ones(3, "f4"))}, "epoch": 3}
    torch_files.write(
        tmp_path / "nested.pth",
        "torch-zip",
        torch_files.pickled(root),
        {"0": np.ones(3, "f4")},
    )
    status, _, err = run("inspect", "nested.pth", "--reader", "own")
    assert status == 2
    assert "select one with key='model' (1 tensor)" in err
    status, out, _ = run("inspect", "nested.pth", "--reader", "own", "--key", "model")
    assert status == 0
    assert "w  float32    (3,)" in out


def test_rules_from_a_file(run, tmp_path):
    renamed = {f"module.{k.replace('up.', 'stem.')}": v for k, v in state().items()}
    written(tmp_path / "a.safetensors", renamed | {"loss.weight": np.ones(2)})
    rules = ['prefix = "module."', 'ignore = ["loss[.].*"]', "[names]", 'up = "stem"']
    rules += ["[flatten]", "fc = [6, 2, 2]", "[flatten_vector]", "bn = [6, 1]"]
    (tmp_path / "rules.toml").write_text("\n".join(rules))
    how = ["--model", "twin:Net", "--rules", "rules.toml"]
    status, out, err = run("plan", "a.safetensors", *how, "-o", "plan.json")
    assert (status, err) == (0, "")
    assert "ChannelsLast(axis=0, sizes=(6, 2, 2))" in out
    assert "warning" not in out
    convert = ["convert", "a.safetensors", "--to", "flax", "-o", "f.safetensors"]
    status, out, _ = run(*convert, "--plan", "plan.json")
    assert status == 0
    assert "note: ignored by the plan: loss.weight" in out
    kernel = tensors("f.safetensors")["fc.kernel"].reshape(2, 2, 6, 5)
    weight = state()["fc.weight"].reshape(5, 6, 2, 2)
    np.testing.assert_array_equal(kernel, np.transpose(weight, (2, 3, 1, 0)))


def test_a_model_in_place_of_a_plan_and_orbax(run, source):
    status, out, err = run("convert", source, "--to", "flax", "-o", "flax", "--model", "twin:make")
    assert (status, err) == (0, "")
    assert "does not hold torch's 1 counters" in out
    assert os.path.isdir("flax")
    status, out, _ = run(
        "convert", source, "--to", "flax", "-o", "f.safetensors", "--model", "twin:make"
    )
    assert "note: the way back needs the plan: write it with `jaxgroups plan ... -o plan" in out


@pytest.mark.parametrize("model", ["twin:linen", "twin:Linen", "twin:instance"])
def test_linen(run, tmp_path, model):
    arrays = {k: v for k, v in state().items() if k.startswith("fc")}
    written(tmp_path / "a.safetensors", arrays)
    status, out, err = run("plan", "a.safetensors", "--model", model, "--example", "2,24")
    assert (status, err) == (0, "")
    assert "params.fc.kernel" in out


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["plan"], ["convert", "--to", "flax", "-o", "f.safetensors"]])
def test_without_a_structure_nothing_is_guessed(run, tmp_path, command):
    shapes = {"a.weight": (8, 8, 3, 3), "b.weight": (8, 1, 3), "c.weight": (5, 5), "d.bias": (4,)}
    shapes |= {"e.weight": (3, 3, 3, 3), "f.weight": (7, 5)}
    arrays = {name: np.ones(shape, "f4") for name, shape in shapes.items()}
    written(tmp_path / "a.safetensors", arrays)
    status, out, err = run(command[0], "a.safetensors", *command[1:])
    assert (status, out) == (2, "")
    lines = err.splitlines()
    assert lines[1:] == [
        "  a.weight: (8, 8, 3, 3): convolution or transposed convolution",
        "  b.weight: (8, 1, 3): convolution or transposed convolution, depthwise or of one channel",
        "  c.weight: (5, 5): linear, embedding or flattened input, transposed or not",
        "  e.weight: (3, 3, 3, 3): convolution or transposed convolution, converted already or not",
        "  f.weight: (7, 5): linear, embedding or flattened input",
        "next: jaxgroups plan a.safetensors --model PKG.MOD:FACTORY -o plan.json",
    ]
    status, out, _ = run(command[0], "a.safetensors", *command[1:], "--json")
    assert status == 2
    assert list(json.loads(out)["ambiguous"]) == [n for n in shapes if n != "d.bias"]
    assert sorted(os.listdir()) == ["a.safetensors", "twin.py"]


USAGE = [
    (["plan", "model.safetensors", "--model", "twin"], "package.module:factory"),
    (["plan", "model.safetensors", "--model", "nowhere_at_all:x"], "ModuleNotFoundError"),
    (["plan", "model.safetensors", "--model", "twin:Nett"], "has no attribute 'Nett'"),
    (["plan", "model.safetensors", "--model", "twin:number"], "is a int, not a callable"),
    (
        ["plan", "model.safetensors", "--model", "twin:nothing"],
        "makes a int, not a flax.nnx.Module",
    ),
    (["plan", "model.safetensors", "--model", "twin:broken"], "RuntimeError: of no use"),
    (["plan", "model.safetensors", "--model", "twin:linen"], "with example= an input"),
    (
        ["plan", "model.safetensors", "--model", "twin:linen", "--example", "2x24"],
        "--example must be a shape such as 1,224,224,3, got '2x24'",
    ),
    (
        ["plan", "model.safetensors", "--model", "twin:Net", "--kwargs", "{"],
        "--kwargs must be",
    ),
    (
        ["plan", "model.safetensors", "--model", "twin:Net", "--kwargs", "3"],
        "be a JSON object",
    ),
    (["plan", "model.safetensors", "--model", "twin:Net", "--kwargs", '{"x": 3}'], "TypeError"),
    (["plan", "model.safetensors", "--model", "twin:Net", "--rules", "none.toml"], "No such file"),
    (["plan", "model.safetensors", "--model", "twin:Net", "--rules", "twin.py"], "at line"),
    (["plan", "model.safetensors", "--model", "twin:Net", "--key", "model"], "are flat"),
    (["plan", "none.safetensors", "--model", "twin:Net"], "No such file or directory: none.safe"),
    (["plan", "model.safetensors", "--model", "twin:Net", "-o", "no/p.json"], "No such file"),
    (["convert", "model.safetensors", "--to", "flax", "--model", "twin:Net"], "missing -o"),
    (["convert", "model.safetensors", "--to", "torch", "-o", "b.safetensors"], "missing --plan"),
    (
        ["convert", "model.safetensors", "--to", "torch", "--model", "twin:Net", "-o", "b"],
        "missing --plan",
    ),
    (
        ["convert", "model.safetensors", "--to", "flax", "--model", "twin:Net", "-o", "b.pth"],
        "must end in .safetensors",
    ),
    (
        ["convert", "model.safetensors", "--to", "flax", "--plan", "none.json", "-o", "b"],
        "No such file or directory: none.json",
    ),
    (
        ["convert", "model.safetensors", "--to", "flax", "--plan", "twin.py", "-o", "b"],
        "twin.py: not a plan",
    ),
    (["verify", "model.safetensors", "model.safetensors"], "missing --plan"),
    (["convert", "model.safetensors", "--to", "keras", "-o", "b"], "invalid choice"),
    (["convert"], "the following arguments are required"),
]


@pytest.mark.parametrize(("arguments", "said"), USAGE, ids=lambda part: str(part)[-40:])
def test_a_wrong_command_line_is_told_in_a_line(run, source, arguments, said):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert said in err
    lines = err.strip().splitlines()
    assert "Traceback" not in err
    assert len(lines) == 1 or lines[0].startswith("usage:")
    assert sorted(os.listdir()) == ["model.safetensors", "twin.py"]


def test_rules_with_unknown_entries(run, source, tmp_path):
    for text, said in (
        ("flaten = {}", "unknown entries: flaten"),
        ("[flatten]\nfc = [1]", "fc must be [C, H, W], got [1]"),
        ("[flatten]\nfc = [0, 2, 12]", "each >= 1, got (0, 2, 12)"),
        ("[unflatten]\nfc = 5", "fc must be [C, H, W], got 5"),
        ("keep_order = 'fc'", "keep_order must be a list of paths"),
        ("[flatten]\nfcc = [6, 2, 2]", "rules has 'fcc', which no layer or parameter of"),
        ("[recurrent]\nfc = 1", "recurrent: fc must be a table of arguments, got 1"),
        ("[recurrent]\nfc = {first = -1}", "fc: RNNLayers: first must be an integer >= 0, got -1"),
        ("[recurrent]\nfc = {bias = 0}", "fc: RNNLayers: bias must be True or False, got 0"),
        ("[recurrent]\nfc = {layers = [1]}", "the names of layers must be strings, got (1,)"),
        ("[recurrent]\nfc = {number = 1}", "unexpected keyword argument 'number'"),
        ("[recurrent]\nfc = {}", "fc (Linear): RNNLayers is for recurrent layers of Flax"),
        ("[flax_only]\n'fc.bias' = {value = 'x'}", "value must be a finite number, got 'x'"),
    ):
        (tmp_path / "rules.toml").write_text(text)
        status, _, err = run("plan", source, "--model", "twin:Net", "--rules", "rules.toml")
        assert status == (1 if "fcc" in text or "fc = {}" in text else 2)
        assert said in err


def test_an_incomplete_plan_is_status_1_and_not_written(run, tmp_path):
    arrays = state()
    del arrays["fc.bias"]
    written(tmp_path / "a.safetensors", arrays | {"stranger": np.ones(2)})
    status, out, err = run("plan", "a.safetensors", "--model", "twin:Net", "-o", "plan.json")
    assert status == 1
    assert 'Missing key(s) in state_dict: "fc.bias".' in err
    assert 'Unexpected key(s) in state_dict: "stranger".' in err
    assert "missing" in out
    convert = ["convert", "a.safetensors", "--to", "flax", "-o", "f.safetensors"]
    status, _, err = run(*convert, "--model", "twin:Net")
    assert status == 1
    assert 'Missing key(s) in state_dict: "fc.bias".' in err
    assert sorted(os.listdir()) == ["a.safetensors", "twin.py"]


def test_converting_twice(run, source):
    how = ["--model", "twin:Net"]
    assert run("convert", source, "--to", "flax", "-o", "f.safetensors", *how)[0] == 0
    status, out, err = run("convert", "f.safetensors", "--to", "flax", "-o", "g.safetensors", *how)
    assert (status, out) == (2, "")
    assert "is already converted" in err
    assert not os.path.exists("g.safetensors")


def test_verify_says_what_differs(run, source, tmp_path):
    run("plan", source, "--model", "twin:Net", "-o", "plan.json")
    plan = ["--plan", "plan.json"]
    run("convert", source, "--to", "flax", "-o", "f.safetensors", *plan)
    other = state()
    other["fc.bias"] = other["fc.bias"] + 1
    written(tmp_path / "other.safetensors", other)
    status, out, err = run("verify", "other.safetensors", "f.safetensors", *plan)
    said = "the source was read by the safetensors library; convert had read it by jaxgroups' own "
    assert (status, err) == (1, f"different: fc.bias\n{said}reader\n")
    assert out.startswith("warning: feature order is not known: fc reads 24")
    assert len(out.splitlines()) == 1
    status, out, _ = run("verify", "other.safetensors", "f.safetensors", *plan, "--json")
    data = json.loads(out)
    assert (status, data["equal"], data["different"]) == (1, False, ["fc.bias"])
    assert (data["reader"], data["converted_by"]) == ("safetensors", "own")


def test_nan_is_kept_and_told(run, tmp_path):
    arrays = state()
    arrays["fc.weight"][2, 3] = np.nan
    written(tmp_path / "a.safetensors", arrays)
    convert = ["convert", "a.safetensors", "--to", "flax", "-o", "f.safetensors"]
    status, out, _ = run(*convert, "--model", "twin:Net")
    assert status == 0
    assert "note: fc.kernel holds 1 NaN and 0 infinite of 120 values: kept as is" in out
    assert np.isnan(tensors("f.safetensors")["fc.kernel"][3, 2])


def test_mixed_dtypes_are_each_their_own(run, tmp_path):
    arrays = {
        name: np.asarray(jnp.asarray(array, dtype)) if array.dtype == "f4" else array
        for (name, array), dtype in zip(
            state().items(), ["bfloat16", "float16", "float32", "float64"] * 3, strict=False
        )
    }
    assert len({a.dtype for a in arrays.values()}) == 5
    written(tmp_path / "a.safetensors", arrays)
    run("plan", "a.safetensors", "--model", "twin:Net", "-o", "plan.json")
    plan = ["--plan", "plan.json"]
    assert run("convert", "a.safetensors", "--to", "flax", "-o", "f.safetensors", *plan)[0] == 0
    assert run("verify", "a.safetensors", "f.safetensors", *plan)[0] == 0
    held = tensors("f.safetensors")
    assert held["up.kernel"].dtype == "bfloat16"
    assert held["fc.bias"].dtype == "float64"


def test_progress_is_silent_but_on_a_terminal(run, source, monkeypatch):
    import sys

    convert = ["convert", source, "--to", "flax", "--model", "twin:Net"]
    _, _, err = run(*convert, "-o", "a.safetensors")
    assert err == ""
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    status, _, err = run(*convert, "-o", "b.safetensors")
    assert status == 0
    assert "writing" in err
