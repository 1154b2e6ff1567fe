"""The command line: explain against counting and torch, bad descriptors, and the edges."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
from support.command import python, run

import jaxgroups as jg

needs_torch = pytest.mark.skipif(
    find_spec("torch") is None, reason="torch is NOT installed, nothing to put beside"
)


# --- explain -------------------------------------------------------------------------------------

RESNEXT = "conv2d in=128 out=128 kernel=3 padding=1 groups=32 batch=1 size=56"
# of the two descriptors, counted by hand: 4 * 128 * 9 weights and 128 biases, 56 * 56 outputs;
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


@pytest.mark.parametrize("descriptor", EXPLAINED)
def test_explain(capsys, descriptor):
    status, out, err = run(capsys, "explain", descriptor, "--json")
    assert (status, err) == (0, "")
    data = json.loads(out)
    assert data["spec"] == descriptor
    known = EXPLAINED[descriptor]
    assert {key: data[key] for key in known} == known
    status, out, err = run(capsys, "explain", descriptor)
    assert (status, err) == (0, "")
    assert out.splitlines()[0] == descriptor
    assert f"{known['parameters']:,} (with groups=1: {known['parameters_groups1']:,})" in out
    if known["flops"]:
        assert f"{known['flops']:,}" in out
        assert str(tuple(known["output_shape"])) in out
    else:
        assert "add size= (and batch=) to see the output" in out


@needs_torch
@pytest.mark.parametrize("descriptor", EXPLAINED)
def test_explained_numbers_are_torchs(descriptor):
    import torch

    known, spec = EXPLAINED[descriptor], jg.ConvSpec.parse(descriptor)
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
    "conv2d in=4 out=8": "missing kernel= in 'conv2d in=4 out=8'",
    "conv2d in=4 out=8 kernel=three": "kernel=three: expected whole numbers such as 3, 3x5",
    "conv2d in=4 out=8 kernel=3x": "kernel=3x: expected whole numbers",
    "conv2d in=4 out=8 kernel=1 batch=2x size=1": "batch=2x: expected whole numbers",
    "conv2d in=4 out=8 kernel=1 batch= size=1": "batch=: expected whole numbers",
    "conv2d in=4 out=8 kernel=-3": "kernel=-3: expected whole numbers",
    "conv2d in=4 out=8 kernel=1x2x3": "kernel=1x2x3: 3 values for 2 spatial axes",
    "conv2d in=4 out=8 kernel=3 bais=False": "unknown word 'bais=False'",
    "conv2d in=4 in=4 out=8 kernel=3": "duplicate in=",
    "conv2d in=4 out=8 kernel=3 groups=3": "in_channels must be divisible by groups: got in_",
    "conv2d in=4 out=7 kernel=3 groups=2": "out_channels must be divisible by groups: got out_",
    "conv2d in=4 out=8 kernel=5 size=3": "Calculated padded input size per channel: (3 x 3).",
    "conv2d in=4 out=8 kernel=3 padding_mode=zero": "padding_mode must be one of",
    "conv2d in=4 out=8 kernel=3 size=5 dtype=f": "\"conv2d\" not implemented for 'f'",
}


@pytest.mark.parametrize("descriptor", REFUSED)
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_explain_refuses_in_one_line(capsys, descriptor, more):
    status, out, err = run(capsys, "explain", descriptor, *more)
    assert (status, out) == (2, "")
    assert err.startswith(f"jaxgroups explain: {REFUSED[descriptor]}")
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


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGPIPE")
@pytest.mark.parametrize("argv", [("explain", RESNEXT), ("--help",)])
def test_nobody_reads(argv):
    """As with ``| head``: no traceback, and the status that a shell gives to such programs."""
    read, write = os.pipe()
    os.close(read)
    # unbuffered, argparse meets the closed pipe itself and keeps quiet
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with os.fdopen(write, "wb") as out:
        how = {"capture_output": False, "stdout": out, "stderr": subprocess.PIPE}
        done = python("-m", "jaxgroups", *argv, env=env, **how)
    assert (done.returncode, done.stderr) == (141, "")
