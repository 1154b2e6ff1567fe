"""``jaxgroups experiment``: every number against one written here and torch's; sabotage is seen."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from support.command import python, run

import jaxgroups.linen
import jaxgroups.nnx
from jaxgroups import convert
from jaxgroups._op import conv as _conv
from jaxgroups._op import functional as _functional
from jaxgroups._spec import checks as _checks

TORCH = find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not TORCH, reason="torch is NOT installed, nothing to put beside")

# The explanation in numbers, written by hand: title of the section -> text of the line -> value.
SUMS = [3, 7, 11, 15, 19, 23, 27, 31]
EXPERIMENT = {
    "1. Conv2d(3, 4, 3, groups=1), ordinary convolution: every filter reads every channel": {
        "filters = out_channels": 4,
        "kernels in each filter = in_channels / groups": 3,
        "parameters = 3 x 4 x 3^2": 108,
        "channels that each filter reads": [[0, 1, 2]] * 4,
    },
    "2. Conv2d(4, 4, 3, groups=2), two groups: every filter reads half of the channels": {
        "filters = out_channels": 4,
        "kernels in each filter = in_channels / groups": 2,
        "parameters = 2 x 4 x 3^2": 72,
        "share of the 144 with groups=1": 0.5,
        "channels that each filter reads": [[0, 1], [0, 1], [2, 3], [2, 3]],
    },
    "3. Conv2d(4, 8, 3, groups=4), as many groups as channels: every filter reads one": {
        "filters = out_channels": 8,
        "kernels in each filter = in_channels / groups": 1,
        "parameters = 1 x 8 x 3^2": 72,
        "share of the 288 with groups=1": 0.25,
        "channels that each filter reads": [[0], [0], [1], [1], [2], [2], [3], [3]],
    },
    "4. The rules: in_channels / groups and out_channels / groups are whole": {
        "Conv2d(5, 8, 3, groups=2)": "in_channels must be divisible by groups",
        "Conv2d(4, 7, 3, groups=2)": "out_channels must be divisible by groups",
        "Conv2d(4, 8, 3, groups=0)": "groups must be a positive integer",
    },
    "5. The formula: parameters = in_channels / groups x out_channels x k^2": {
        "3 / 1 x 4 x 3^2": 108,
        "4 / 2 x 4 x 3^2": 72,
        "4 / 4 x 8 x 3^2": 72,
        "4 / 2 x 8 x 1^2": 16,
    },
    "6. The experiment: Conv2d(4, 8, 1, 1, groups=2, bias=False) holding 1..16": {
        "parameters in total": 16,
        "size of the Flax kernel": [1, 1, 2, 8],
        "size of torch's weight": [8, 2, 1, 1],
        "the weight holds": list(range(1, 17)),
        "there and back, bit for bit": np.arange(1, 17, dtype="<f4").tobytes().hex(),
        "size of the input of ones": [1, 4, 1, 1],
        "jaxgroups.conv2d, jitted: output shape": [1, 8, 1, 1],
        "jaxgroups.conv2d, jitted: ones become": SUMS,
        "jaxgroups.nnx.Conv2d: output shape": [1, 8, 1, 1],
        "jaxgroups.nnx.Conv2d: ones become": SUMS,
        "jaxgroups.linen.Conv2d: output shape": [1, 8, 1, 1],
        "jaxgroups.linen.Conv2d: ones become": SUMS,
    },
}
BESIDE = {
    "parameters of torch's layer": 16,
    "torch.nn.Conv2d: output shape": [1, 8, 1, 1],
    "torch.nn.Conv2d: ones become": SUMS,
}
RULES, FORMULA, LAST = list(EXPERIMENT)[3:]
PICTURES = ((3, 4, 3, 1), (4, 4, 3, 2), (4, 8, 3, 4), (4, 8, 1, 2))


def expected(torch):
    """All sections, with torch beside the last one or without."""
    return EXPERIMENT | ({LAST: EXPERIMENT[LAST] | BESIDE} if torch else {})


def short(text):
    """The text of a line without what follows the formula or the arguments in it."""
    return text.split(", and Conv2d(")[0].split(" -> ")[0]


def assert_experiment(data, torch):
    """Every section and every line, in order, each with the value and the expectation above."""
    assert data["ok"] is True
    assert [section["title"] for section in data["sections"]] == list(EXPERIMENT)
    for section in data["sections"]:
        lines = {short(line["text"]): line["value"] for line in section["lines"]}
        assert len(lines) == len(section["lines"])
        assert list(lines.items()) == list(expected(torch)[section["title"]].items())
        for line in section["lines"]:
            assert line["ok"] is True
            assert line["expected"] == line["value"]
    notes = [note for section in data["sections"] for note in section["notes"]]
    assert bool(notes) is not torch


# --- the experiment ------------------------------------------------------------------------------


def test_experiment_as_data(capsys):
    status, out, err = run(capsys, "experiment", "--json")
    assert (status, err) == (0, "")
    assert_experiment(json.loads(out), TORCH)


def test_experiment_as_text(capsys):
    """Title, blank line and lines as above; what is long is shown short."""
    status, out, err = run(capsys, "experiment")
    assert (status, err) == (0, "")
    parts = out.strip().split("\n\n")
    assert [part.splitlines()[0] for part in parts] == list(EXPERIMENT)
    for part in parts:
        title, *lines = part.splitlines()
        lines = [line for line in lines if not line.startswith("  note  ")]
        values = expected(TORCH)[title]
        assert len(lines) == len(values)
        for line, (text, value) in zip(lines, values.items(), strict=True):
            assert line.startswith(f"  ok    {text}")
            shown = line.removeprefix(f"  ok    {text}")
            if text == "there and back, bit for bit":
                assert shown == ": 64 bytes, equal"
            elif isinstance(value, str):
                assert shown.startswith(f" -> ValueError: {value}: got ")
            elif value in (SUMS, list(range(1, 17))):
                assert shown == ": " + ", ".join(map(str, value))
            else:
                assert shown.endswith(f": {value}")


def test_rules_are_shown_with_their_numbers(capsys):
    out = run(capsys, "experiment")[1]
    for numbers in ("in_channels=5, groups=2", "out_channels=7, groups=2", "groups=0"):
        assert f"got {numbers}" in out
    assert "5 / 2 is not whole; 5 can be split into 1, 5 groups" in out


@needs_torch
def test_experiment_agrees_with_torch():
    """The table above is torch's: parameters, kernels, errors and outputs of its own layers."""
    import torch

    for (ci, co, k, groups), (title, lines) in zip(PICTURES[:3], EXPERIMENT.items(), strict=False):
        assert f"Conv2d({ci}, {co}, {k}, groups={groups})" in title
        weight = torch.nn.Conv2d(ci, co, k, groups=groups, bias=False).weight
        filters, kernels, parameters = list(lines.values())[:3]
        assert (filters, kernels, parameters) == (*weight.shape[:2], weight.numel())
        x = torch.zeros(ci, k, k, requires_grad=True)
        rows = []
        for o in range(co):
            y = torch.nn.functional.conv2d(x, weight, groups=groups)
            (grad,) = torch.autograd.grad(y[o, 0, 0], x)
            rows.append(grad.abs().sum((1, 2)).nonzero().ravel().tolist())
        assert lines["channels that each filter reads"] == rows
    for arguments, sentence in EXPERIMENT[RULES].items():
        with pytest.raises(ValueError) as caught:
            eval(arguments, {"Conv2d": torch.nn.Conv2d})
        assert str(caught.value) == sentence
    for (ci, co, k, groups), parameters in zip(PICTURES, EXPERIMENT[FORMULA].values(), strict=True):
        layer = torch.nn.Conv2d(ci, co, k, groups=groups, bias=False)
        assert parameters == sum(p.numel() for p in layer.parameters())


def test_module_and_command_are_one(capsys):
    """``python -m jaxgroups`` and the installed command, in fresh processes, say what main says."""
    command = Path(sys.executable).with_name("jaxgroups")
    assert command.exists(), "the command is not installed beside this Python"
    here = run(capsys, "experiment", "--json")[1]
    module = python("-m", "jaxgroups", "experiment", "--json")
    assert (module.returncode, module.stdout) == (0, here)
    environment = dict(os.environ)  # without the COLUMNS that readline sets behind Python
    script = subprocess.run(
        [command, "experiment"], capture_output=True, text=True, check=False, env=environment
    )
    assert (script.returncode, script.stderr) == (0, "")
    assert script.stdout == run(capsys, "experiment")[1]


BLOCKED = "sys.modules['torch'] = None"
MAIN = "import sys; {}; from jaxgroups import cli; sys.exit(cli.main({}))"


def test_experiment_without_torch():
    done = python("-O", "-c", MAIN.format(BLOCKED, ["experiment", "--json"]))
    assert (done.returncode, done.stderr) == (0, "")
    data = json.loads(done.stdout)
    assert_experiment(data, torch=False)
    assert data["sections"][-1]["notes"][0].startswith("without torch beside it, which cannot be ")


def test_experiment_beside_a_torch_that_does_not_load(tmp_path):
    """Such as one whose shared libraries are missing: the note says what it says."""
    (tmp_path / "torch.py").write_text("raise OSError('libwhatever.so is missing')")
    done = python("-c", MAIN.format(f"sys.path.insert(0, {str(tmp_path)!r})", ["experiment"]))
    assert (done.returncode, done.stderr) == (0, "")
    notes = [line for line in done.stdout.splitlines() if line.startswith("  note  ")]
    assert len(notes) == 1
    assert notes[0].endswith("which cannot be imported: libwhatever.so is missing")


# --- a wrong number is found ---------------------------------------------------------------------


def plus_one(function):
    return lambda *args, **kw: function(*args, **kw) + 1


def plus_one_after(home, name):
    """Sabotage of a function: its result, plus one."""
    return lambda patch: patch.setattr(home, name, plus_one(getattr(home, name)))


def swap_outputs(patch):
    """The two halves of the filters change places, where functions and layers come together."""
    apply = _functional.apply

    def swapped(spec, *args, **kw):
        y = apply(spec, *args, **kw)
        axis = spec.channel_axis
        return y if spec.groups == 1 else jnp.roll(y, y.shape[axis] // 2, axis)

    patch.setattr(_functional, "apply", swapped)


def forget_groups(patch):
    layer = jaxgroups.nnx.Conv2d
    patch.setattr(jaxgroups.nnx, "Conv2d", lambda *args, groups=1, **kw: layer(*args, **kw))


def keep_bias(patch):
    layer = jaxgroups.nnx.Conv2d
    patch.setattr(jaxgroups.nnx, "Conv2d", lambda *args, bias, **kw: layer(*args, **kw))


def reverse_kernel(patch):
    convert_kernel = convert.kernel_from_torch
    patch.setattr(convert, "kernel_from_torch", lambda *args: convert_kernel(*args)[..., ::-1])


def forget_rule(patch):
    patch.setattr(_checks, "divisible", lambda *args: None)


def torch_plus_one(patch):
    torch = pytest.importorskip("torch")
    patch.setattr(torch.nn.Conv2d, "forward", plus_one(torch.nn.Conv2d.forward))


CONV = "jaxgroups.conv2d, jitted: ones become"
NNX = "jaxgroups.nnx.Conv2d: ones become"
LINEN = "jaxgroups.linen.Conv2d: ones become"
BESIDE_ONES = ["torch.nn.Conv2d: ones become"] if TORCH else []
READS = "channels that each filter reads"
# what is broken -> how, and the lines that must say so, in order
SABOTAGE = {
    "function": (plus_one_after(_conv, "conv2d"), [CONV]),
    "nnx": (plus_one_after(jaxgroups.nnx.Conv2d, "__call__"), [NNX]),
    "linen": (plus_one_after(jaxgroups.linen.Conv2d, "__call__"), [LINEN]),
    "torch": (torch_plus_one, ["torch.nn.Conv2d: ones become"]),
    "swapped-groups": (swap_outputs, [READS, READS, CONV, NNX, LINEN]),
    # what it made of the weight goes into torch's layer, too
    "converter": (
        reverse_kernel,
        ["the weight holds", "there and back, bit for bit", NNX, LINEN, *BESIDE_ONES],
    ),
    "rule": (forget_rule, ["Conv2d(5, 8, 3, groups=2)", "Conv2d(4, 7, 3, groups=2)"]),
    "bias": (
        keep_bias,
        [
            "parameters = 3 x 4 x 3^2",
            "parameters = 2 x 4 x 3^2",
            "share of the 148 with groups=1",
            "parameters = 1 x 8 x 3^2",
            "share of the 296 with groups=1",
            *EXPERIMENT[FORMULA],
            "parameters in total",
            NNX,
        ],
    ),
    "groups": (
        forget_groups,
        [
            "kernels in each filter = in_channels / groups",
            "parameters = 2 x 4 x 3^2",
            "share of the 144 with groups=1",
            READS,
            "kernels in each filter = in_channels / groups",
            "parameters = 1 x 8 x 3^2",
            "share of the 288 with groups=1",
            READS,
            *EXPERIMENT[RULES],
            *list(EXPERIMENT[FORMULA])[1:],
            "broken off by ValueError: a kernel of shape (1, 1, 2, 8) does not fit this layer",
        ],
    ),
}


@pytest.mark.parametrize("name", SABOTAGE)
def test_what_is_broken_is_named(capsys, monkeypatch, name):
    """Exactly the lines that it spoils, on stderr with both values, as WRONG and as data."""
    sabotage, spoiled = SABOTAGE[name]
    sabotage(monkeypatch)
    status, out, err = run(capsys, "experiment")
    assert status == 1
    assert len(err.splitlines()) == len(spoiled), err
    for line, text in zip(err.splitlines(), spoiled, strict=True):
        assert line.startswith(f"MISMATCH: {text}")
        assert ": got " in line
        assert ", expected " in line
    wrong = [line.removeprefix("  WRONG ") for line in out.splitlines() if "WRONG" in line]
    assert all(line.startswith(text) for line, text in zip(wrong, spoiled, strict=True))
    status, out, _ = run(capsys, "experiment", "--json")
    data = json.loads(out)
    assert (status, data["ok"]) == (1, False)
    bad = [line for section in data["sections"] for line in section["lines"] if not line["ok"]]
    assert len(bad) == len(spoiled)
    for line, text in zip(bad, spoiled, strict=True):
        assert line["text"].startswith(text)
        assert line["value"] != line["expected"]


def test_a_wrong_number_shows_what_it_should_be(capsys, monkeypatch):
    plus_one_after(jaxgroups.nnx.Conv2d, "__call__")(monkeypatch)
    _, out, err = run(capsys, "experiment")
    sums = ", ".join(f"{n}.0" for n in SUMS)
    more = ", ".join(f"{n + 1}.0" for n in SUMS)
    assert err == f"MISMATCH: {NNX}: got [{more}], expected [{sums}]\n"
    assert f"  WRONG {NNX}: 4, 8, 12, 16, 20, 24, 28, 32\n" in out


def test_a_section_that_breaks_off_fails_alone(capsys, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("out of patience")

    monkeypatch.setattr(_conv, "conv2d", broken)
    status, out, err = run(capsys, "experiment")
    assert status == 1
    assert err.startswith("MISMATCH: broken off by RuntimeError: out of patience: got ")
    assert out.count("  ok    ") == sum(map(len, list(EXPERIMENT.values())[:5])) + 6
