"""The command ``jaxgroups diagram``: text, data, and one clear line for what it refuses."""

import json

import pytest
from support import command


def run(capsys, *argv):
    return command.run(capsys, "diagram", *argv)


def test_command_prints_text(capsys):
    status, out, err = run(capsys, "4", "8", "--groups", "2", "--weights", "--no-bias", "--alone")
    assert (status, err) == (0, "")
    assert "filter 5      · · 11 12   group 1 → output 5        23" in out


def test_command_takes_the_arguments_of_a_layer(capsys):
    argv = "8 12 --kernel 4 --stride 2 --padding 1 --output-padding 1 --dilation 2 --groups 4"
    status, out, _ = run(capsys, *argv.split(), "--transposed", "--dims", "1", "--json")
    spelled = "conv_transpose1d in=8 out=12 kernel=4 stride=2 padding=1 output_padding=1 "
    assert status == 0
    assert json.loads(out)["spec"] == spelled + "dilation=2 groups=4"
    status, out, _ = run(capsys, "conv2d in=4 out=8 kernel=3x5 groups=2", "--json")
    assert json.loads(out)["kernel_size"] == [3, 5]


def test_json_is_the_structure(capsys):
    _, out, _ = run(capsys, "4", "8", "--groups", "2", "--json")
    data = json.loads(out)
    assert data["weight_shape"] == [8, 2, 1, 1]
    assert [f["reads"] for f in data["filters"]] == [[0, 1]] * 4 + [[2, 3]] * 4
    assert [g["outputs"] for g in data["groups"]] == [[0, 1, 2, 3], [4, 5, 6, 7]]


BAD = {
    "groups": (["5", "8", "--groups", "2"], "in_channels must be divisible by groups"),
    "outputs": (["4", "7", "--groups", "2"], "out_channels must be divisible by groups"),
    "no groups": (["4", "8", "--groups", "0"], "groups must be a positive integer"),
    "one number": (["4"], "expected two numbers of channels, such as 4 8"),
    "a number after a descriptor": (
        ["conv2d in=4 out=8 kernel=1", "8"],
        "expected two numbers of channels, such as 4 8",
    ),
    "letters": (["four", "8"], "in=four: expected whole numbers"),
    "kernel": (["4", "8", "--kernel", "0"], "kernel"),
    "axes": (["4", "8", "--kernel", "3x3x3"], "kernel=3x3x3: 3 values for 2 spatial axes"),
    "spelling": (["conv2d in=4"], "missing out="),
    "no room": (["80", "80", "--weights"], "no room for the weights"),
    "ending": (["4", "8", "-o", "groups.gif"], "a picture is svg, png, pdf, but got 'gif'"),
    "no ending": (["4", "8", "-o", "groups"], "a picture is svg, png, pdf, but got ''"),
    "output padding": (["4", "8", "--output-padding", "1"], "output_padding belongs to transposed"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_one_clear_line(capsys, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    argv, sentence = BAD[name]
    status, out, err = run(capsys, *argv)
    assert (status, out) == (2, "")
    assert err.startswith("jaxgroups diagram: ")
    assert sentence in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "argv", [[], ["4", "8", "--dims", "4"], ["4", "8", "--colour"], ["4", "8", "2", "6"]]
)
def test_bad_options_are_argparses(capsys, argv):
    status, out, err = run(capsys, *argv)
    assert (status, out) == (2, "")
    assert "jaxgroups diagram: error: " in err or "jaxgroups: error: " in err


def test_the_usage_is_what_is_taken(capsys):
    """A number or a descriptor, then one number; no dots that promise more."""
    status, out, _ = run(capsys, "--help")
    usage = " ".join(out.split("\n\n")[0].split())
    assert status == 0
    assert usage.endswith(" IN [OUT]")
