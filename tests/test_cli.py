"""The command line: the experiment, number by number and sabotaged, explain, and the edges."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from subprocess import PIPE

import jax.numpy as jnp
import numpy as np
import pytest

import jaxgroups as jg
import jaxgroups.linen
import jaxgroups.nnx
from jaxgroups import _checks, _dispatch, _functional, cli, convert

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
ONE = "conv2d in=4 out=8 kernel=1 groups=2 bias=False batch=1 size=1"


def expected(torch):
    """All sections, with torch beside the last one or without."""
    return EXPERIMENT | ({LAST: EXPERIMENT[LAST] | BESIDE} if torch else {})


def short(text):
    """The text of a line without what follows the formula or the arguments in it."""
    return text.split(", and Conv2d(")[0].split(" -> ")[0]


def python(*arguments, **kw):
    """This Python in a fresh process."""
    kw = {"capture_output": True, "text": True, "check": False, "timeout": 300} | kw
    return subprocess.run([sys.executable, *arguments], **kw)


def run(capsys, *argv):
    """Exit status, stdout and stderr of a command line, in this process."""
    try:
        status = cli.main(argv)
    except SystemExit as stop:
        status = stop.code
    return status, *capsys.readouterr()


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
    script = subprocess.run(
        [command, "experiment"], capture_output=True, text=True, check=False, timeout=300
    )
    assert (script.returncode, script.stderr) == (0, "")
    assert script.stdout == run(capsys, "experiment")[1]


BLOCKED = "sys.modules['torch'] = None"
MAIN = "import sys; {}; from jaxgroups import cli; sys.exit(cli.main({}))"


def test_experiment_without_torch():
    done = python("-c", MAIN.format(BLOCKED, ["experiment", "--json"]))
    assert (done.returncode, done.stderr) == (0, "")
    assert_experiment(json.loads(done.stdout), torch=False)
    text = python("-O", "-c", MAIN.format(BLOCKED, ["experiment"]))
    assert text.returncode == 0
    notes = [line for line in text.stdout.splitlines() if line.startswith("  note  ")]
    assert len(notes) == 1
    assert "without torch beside it" in notes[0]


@pytest.mark.parametrize("error", ["ImportError", "OSError"])
def test_experiment_beside_a_torch_that_does_not_load(tmp_path, error):
    """Such as one whose shared libraries are missing: the note says what it says."""
    (tmp_path / "torch.py").write_text(f"raise {error}('libwhatever.so is missing')")
    done = python("-c", MAIN.format(f"sys.path.insert(0, {str(tmp_path)!r})", ["experiment"]))
    assert (done.returncode, done.stderr) == (0, "")
    assert "cannot be imported: libwhatever.so is missing" in done.stdout


# --- a wrong number is found ---------------------------------------------------------------------


def plus_one(function):
    return lambda *args, **kw: function(*args, **kw) + 1


def plus_one_after(home, name):
    """Sabotage of a function: its result, plus one."""
    return lambda patch: patch.setattr(home, name, plus_one(getattr(home, name)))


def swap_outputs(patch):
    """The two groups' outputs change places, below the functions and below the layers."""
    compute = _dispatch.compute

    def swapped(problem, *args, **kw):
        y = compute(problem, *args, **kw)
        axis = problem.dimension_numbers[2][1]
        return y if problem.feature_group_count == 1 else jnp.roll(y, y.shape[axis] // 2, axis)

    patch.setattr(_dispatch, "compute", swapped)


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
    "function": (plus_one_after(_functional, "conv2d"), [CONV]),
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
    assert [line.startswith(text) for line, text in zip(wrong, spoiled, strict=True)]
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

    monkeypatch.setattr(_functional, "conv2d", broken)
    status, out, err = run(capsys, "experiment")
    assert status == 1
    assert err.startswith("MISMATCH: broken off by RuntimeError: out of patience: got ")
    assert out.count("  ok    ") == sum(map(len, list(EXPERIMENT.values())[:5])) + 6


# --- explain -------------------------------------------------------------------------------------

RESNEXT = "conv2d in=128 out=128 kernel=3 padding=1 groups=32 batch=1 size=56"
# of the two spellings, counted by hand: 4 * 128 * 9 weights and 128 biases, 56 * 56 outputs;
# 4 / 2 * 6 * 5 weights and 6 biases, (7 - 1) * 2 - 2 + 4 + 1 = 15 outputs
EXPLAINED = {
    RESNEXT: {
        "weight_shape": [128, 4, 3, 3],
        "parameters": 4608 + 128,
        "parameters_groups1": 147456 + 128,
        "output_shape": [1, 128, 56, 56],
        "flops": 2 * 4608 * 56 * 56,
    },
    "conv_transpose1d in=4 out=6 kernel=5 stride=2 padding=1 groups=2 size=7": {
        "weight_shape": [4, 3, 5],
        "parameters": 60 + 6,
        "parameters_groups1": 120 + 6,
        "output_shape": [6, 15],
        "flops": 2 * 60 * 7,
    },
    "conv2d in=4 out=8 kernel=1 groups=2 bias=False": {
        "weight_shape": [8, 2, 1, 1],
        "parameters": 16,
        "parameters_groups1": 32,
        "output_shape": None,
        "flops": None,
        "implementation": None,
    },
}


@pytest.mark.parametrize("spelling", EXPLAINED)
def test_explain(capsys, spelling):
    status, out, err = run(capsys, "explain", spelling, "--json")
    assert (status, err) == (0, "")
    data = json.loads(out)
    assert data["spec"] == spelling
    known = EXPLAINED[spelling]
    assert {key: data[key] for key in known} == known
    status, out, err = run(capsys, "explain", spelling)
    assert (status, err) == (0, "")
    assert out.splitlines()[0] == spelling
    assert f"{known['parameters']:,} (with groups=1: {known['parameters_groups1']:,})" in out
    if known["flops"]:
        assert f"{known['flops']:,}" in out
        assert str(tuple(known["output_shape"])) in out
    else:
        assert "add size= (and batch=) to see the output" in out


@needs_torch
@pytest.mark.parametrize("spelling", EXPLAINED)
def test_explained_numbers_are_torchs(spelling):
    import torch

    known, spec = EXPLAINED[spelling], jg.ConvSpec.parse(spelling)
    kind = {"conv2d": torch.nn.Conv2d, "conv_transpose1d": torch.nn.ConvTranspose1d}[spec.op]
    kw = {"stride": spec.stride, "padding": tuple(low for low, _ in spec.padding)}
    kw |= {"groups": spec.groups, "bias": spec.bias}
    layer = kind(spec.in_channels, spec.out_channels, spec.kernel_size, **kw)
    assert list(layer.weight.shape) == known["weight_shape"]
    assert sum(p.numel() for p in layer.parameters()) == known["parameters"]
    if spec.size is not None:
        x = torch.zeros(*spec.batch, spec.in_channels, *spec.size)
        assert list(layer(x).shape) == known["output_shape"]


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
def test_explain_for_another_platform(capsys, platform):
    arguments = ("explain", RESNEXT, "--platform", platform, "--implementation", "xla", "--json")
    data = json.loads(run(capsys, *arguments)[1])
    assert (data["platform"], data["implementation"]) == (platform, "xla")


REFUSED = {
    "": "op must be one of conv1d, ",
    "conv4d in=1 out=1 kernel=1": "op must be one of conv1d, ",
    "conv2d in=4 out=8": "'conv2d in=4 out=8' lacks kernel=",
    "conv2d in=4 out=8 kernel=three": "kernel=three: expected whole numbers such as 3, 3x5",
    "conv2d in=4 out=8 kernel=3x": "kernel=3x: expected whole numbers",
    "conv2d in=4 out=8 kernel=1 batch=2x size=1": "batch=2x: expected whole numbers",
    "conv2d in=4 out=8 kernel=1 batch= size=1": "batch=: expected whole numbers",
    "conv2d in=4 out=8 kernel=-3": "kernel=-3: expected whole numbers",
    "conv2d in=4 out=8 kernel=1x2x3": "kernel=1x2x3: 3 values for 2 spatial axes",
    "conv2d in=4 out=8 kernel=3 bais=False": "unknown word 'bais=False'",
    "conv2d in=4 in=4 out=8 kernel=3": "in= stands twice",
    "conv2d in=4 out=8 kernel=3 groups=3": "in_channels must be divisible by groups: got in_",
    "conv2d in=4 out=7 kernel=3 groups=2": "out_channels must be divisible by groups: got out_",
    "conv2d in=4 out=8 kernel=5 size=3": "Calculated padded input size per channel: (3 x 3).",
    "conv2d in=4 out=8 kernel=3 padding_mode=zero": "padding_mode must be one of",
    "conv2d in=4 out=8 kernel=3 size=5 dtype=f": "\"conv2d\" not implemented for 'f'",
}


@pytest.mark.parametrize("spelling", REFUSED)
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_explain_refuses_in_one_line(capsys, spelling, more):
    status, out, err = run(capsys, "explain", spelling, *more)
    assert (status, out) == (2, "")
    assert err.startswith(f"jaxgroups explain: {REFUSED[spelling]}")
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err


# --- the edges of the command line ---------------------------------------------------------------


def test_help_names_every_command(capsys):
    status, out, err = run(capsys, "--help")
    assert (status, err) == (0, "")
    for command in ("experiment", "explain", "inspect", "plan", "convert", "verify"):
        assert f"\n    {command} " in out
        status, text, err = run(capsys, command, "--help")
        assert (status, err) == (0, "")
        assert text.startswith(f"usage: jaxgroups {command} ")
        assert "--json" in text


def test_version(capsys):
    assert run(capsys, "--version") == (0, f"{jg.__version__}\n", "")
    assert jg.__version__[0].isdigit()


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        ((), "the following arguments are required: command"),
        (("experimant",), "invalid choice: 'experimant'"),
        (("experiment", "--jsn"), "unrecognized arguments: --jsn"),
        (("explain",), "the following arguments are required: spec"),
        (("explain", RESNEXT, "--platform", "abacus"), "invalid choice: 'abacus'"),
        (("explain", RESNEXT, "--implementation", "magic"), "invalid choice: 'magic'"),
    ],
)
def test_a_wrong_command_line_is_status_2(capsys, argv, sentence):
    status, out, err = run(capsys, *argv)
    assert (status, out) == (2, "")
    assert err.startswith("usage: jaxgroups")
    assert sentence in err.splitlines()[-1]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGPIPE to be told about")
@pytest.mark.parametrize("argv", [("experiment",), ("explain", ONE), ("--help",)])
def test_nobody_reads(argv):
    """As with ``| head``: no traceback, and the status that a shell gives to such programs."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as out:
        done = python("-m", "jaxgroups", *argv, capture_output=False, stdout=out, stderr=PIPE)
    assert (done.returncode, done.stderr) == (141, "")
