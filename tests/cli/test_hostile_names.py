"""Names and metadata of a file on every way out: none acts on a terminal, or forges a line.

Each way runs twice, with a plain name and with a hostile one. What it prints must have as many
lines both times, and no character that a terminal obeys or that nobody sees.
"""

import ast
import json
import sys
import traceback
import unicodedata
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from flax import nnx
from rich.console import Console
from support import torch_files
from support.checkpoints import written

import jaxgroups as jg
import jaxgroups.convert as jc
from jaxgroups import cli
from jaxgroups._printable import printable
from jaxgroups.cli import checkpoints
from jaxgroups.convert._compare import Difference

# the texts of the warnings are among those that are printed
pytestmark = pytest.mark.filterwarnings("ignore::jaxgroups.convert.ConversionWarning")

HOSTILE = (
    "\x1b[2J\x1b[31m\x9b1mred\x07\x00"  # sequences that clear the screen and colour it, and a bell
    "\rplan complete"  # overwrites the line
    "\nevery tensor comes back bit for bit\n\n\t\tjaxgroups:"  # forges lines
    "\x0b\x0c\x85\u2028\u2029"
    "\u202egnp.exe\u2066\u200f"  # runs backwards
    "\u200b\u200d\ufeff\u00ad\u3164\u115f\u2800\ufe0f"  # nothing to be seen
    "[red]x[/red][/none] :smile: {} %s"  # markup of rich, formats
    "<b>&amp;"
)
# as long as the hostile name is when it is shown, so that both are wrapped at the same places
PLAIN = "plain" + "".join(" " if c == " " else "p" for c in printable(HOSTILE))[5:]
FORGED = ("every tensor", "plan complete", "jaxgroups:")
MODEL = """
from flax import nnx


class Net(nnx.Module):
    def __init__(self, *, rngs):
        self.fc = nnx.Linear(4, 3, rngs=rngs)
        self.bn = nnx.BatchNorm(3, momentum=0.9, epsilon=1e-5, rngs=rngs)
"""


class Net(nnx.Module):
    def __init__(self, rngs):
        self.fc = nnx.Linear(4, 3, rngs=rngs)
        self.bn = nnx.BatchNorm(3, momentum=0.9, epsilon=1e-5, rngs=rngs)


def assert_harmless(text):
    """By Unicode's own categories: no controls, formats, surrogates, separators."""
    for character in text:
        category = unicodedata.category(character)
        assert character in " \n\t" or category[0] not in "CZ", (hex(ord(character)), text)
        assert character not in "\u115f\u3164\u2800\ufe0f", (hex(ord(character)), text)


def arrays(name):
    """A checkpoint of Net with a hostile name for each of its two layers."""
    vectors = {n: np.full(3, i, "f4") for i, n in enumerate(("weight", "bias", "running_mean"), 1)}
    found = {f"{name}bn.{n}": value for n, value in vectors.items()}
    found[f"{name}bn.running_var"] = np.full(3, np.inf, "f4")
    found[f"{name}bn.num_batches_tracked"] = np.array(7)
    found[f"{name}fc.weight"] = np.arange(12, dtype="f4").reshape(3, 4)
    return found | {f"{name}fc.bias": np.ones(3, "f4")}


class Place:
    """A directory of files with one hostile or plain name in all of them."""

    def __init__(self, path, name, capsys):
        self.path, self.name, self.capsys = path, name, capsys
        self.names = {"fc": f"{name}fc", "bn": f"{name}bn"}
        (path / "net_of_hostile_names.py").write_text(MODEL)
        self.good = written(
            path / "good.safetensors",
            arrays(name),
            {"format": "pt", f"{name}alias": f"{name}fc.bias"},
        )
        table = "".join(f"{key} = {json.dumps(value)}\n" for key, value in self.names.items())
        (path / "rules.toml").write_text(f"[names]\n{table}", "utf-8")
        self.plan = jc.plan(self.model(), self.good, names=self.names)
        self.plan.to_json(path / "plan.json")
        jc.convert_file(self.good, path / "flax.safetensors", self.plan)

    def model(self):
        return nnx.eval_shape(lambda: Net(nnx.Rngs(0)))

    def file(self, file, tensors, metadata=None):
        return written(self.path / file, tensors, metadata)

    def torch(self, file, tree):
        torch_files.state_dict(self.path / file, "torch-zip", tree)
        return self.path / file

    def run(self, *argv):
        """What a command prints, on both streams."""
        self.capsys.readouterr()
        cli.main([str(argument) for argument in argv])
        out, err = self.capsys.readouterr()
        return out + err


def shown(value):
    return "\n".join([str(value), repr(value)])


def error(call, *arguments, **more):
    """The text of an exception, and what an uncaught one prints."""
    try:
        call(*arguments, **more)
    except (ValueError, TypeError, OSError) as raised:
        lines = traceback.format_exception(raised)
        return str(raised) + "\n" + "".join(lines[-1:])
    raise AssertionError("no error")


def with_unexpected(here):
    return arrays(here.name) | {f"{here.name}more": np.ones(2, "f4")}


def with_mismatch(here):
    return arrays(here.name) | {f"{here.name}fc.weight": np.ones((3, 5), "f4")}


def forged_plan(here):
    """A plan.json whose texts were written by somebody else."""
    data = json.loads((here.path / "plan.json").read_text())
    data["model"] = data["warnings"] = data["hints"] = here.name
    data |= {"warnings": [here.name], "hints": [here.name.replace("\t", "")]}
    for entry in data["entries"]:
        entry["note"] = here.name
    (here.path / "forged.json").write_text(json.dumps(data))
    return here.path / "forged.json"


def index_of(here):
    weight_map = {f"{here.name}w": "1.safetensors"}
    here.file("1.safetensors", {"other": np.ones(2, "f4")})
    path = here.path / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": weight_map, "metadata": {here.name: here.name}}))
    return path


def broken_plan(here, **entry):
    data = json.loads((here.path / "plan.json").read_text())
    data["entries"][0] |= entry
    return json.dumps(data)


def loaded(here, tensors=None, **how):
    tensors = arrays(here.name) if tensors is None else tensors
    return jc.load_torch(here.model(), tensors, names=here.names, **how)


MODEL_ARGUMENTS = ("--model", "net_of_hostile_names:Net", "--rules", "rules.toml")
PLANNED = ("--plan", "plan.json")
COMMANDS = {
    "inspect": lambda h: h.run("inspect", h.good),
    "inspect, torch": lambda h: h.run("inspect", h.torch("a.pth", {h.name: np.ones(2, "f4")})),
    "inspect, nested": lambda h: h.run(
        "inspect", nested(h, lambda tensor: {h.name: {h.name: tensor}})
    ),
    "inspect, others": lambda h: h.run(
        "inspect", nested(h, lambda tensor: {h.name: 3, "w": tensor})
    ),
    "inspect, index": lambda h: h.run("inspect", index_of(h)),
    "plan": lambda h: h.run("plan", h.good, *MODEL_ARGUMENTS),
    "plan, unexpected": lambda h: h.run(
        "plan", h.file("u.safetensors", with_unexpected(h)), *MODEL_ARGUMENTS
    ),
    "plan, mismatched": lambda h: h.run(
        "plan", h.file("m.safetensors", with_mismatch(h)), *MODEL_ARGUMENTS
    ),
    "plan, missing": lambda h: h.run(
        "plan", h.file("e.safetensors", {"w": np.ones(2, "f4")}), *MODEL_ARGUMENTS
    ),
    "plan, another format": lambda h: h.run(
        "plan", h.file("f.safetensors", arrays(h.name), {"format": h.name}), *MODEL_ARGUMENTS
    ),
    "plan, already converted": lambda h: h.run(
        "plan",
        h.file("s.safetensors", arrays(h.name), {"jaxgroups.format": h.name}),
        *MODEL_ARGUMENTS,
    ),
    "plan, no model": lambda h: h.run("plan", h.good),
    "plan, JSON": lambda h: h.run("plan", h.good, *MODEL_ARGUMENTS, "--json"),
    "convert": lambda h: h.run(
        "convert", h.good, "--to", "flax", *PLANNED, "-o", "out.safetensors", "--overwrite"
    ),
    "convert to orbax": lambda h: h.run(
        "convert", h.good, "--to", "flax", *PLANNED, "-o", "out", "--overwrite"
    ),
    "convert, forged plan": lambda h: h.run(
        "convert",
        h.good,
        "--to",
        "flax",
        "--plan",
        forged_plan(h),
        "-o",
        "o.safetensors",
        "--overwrite",
    ),
    "convert, another file": lambda h: h.run(
        "convert",
        h.file("u.safetensors", with_unexpected(h)),
        "--to",
        "flax",
        *PLANNED,
        "-o",
        "o.safetensors",
    ),
    "convert, into a link": lambda h: h.run(
        "convert", h.good, "--to", "flax", *PLANNED, "-o", linked(h), "--overwrite"
    ),
    "verify": lambda h: h.run("verify", h.good, "flax.safetensors", *PLANNED),
    "verify, different": lambda h: h.run("verify", changed(h), "flax.safetensors", *PLANNED),
    "verify, another file": lambda h: h.run(
        "verify", h.file("u.safetensors", with_unexpected(h)), "flax.safetensors", *PLANNED
    ),
    "explain": lambda h: h.run("explain", h.good),
    "explain, another format": lambda h: h.run(
        "explain", h.file("f.safetensors", arrays(h.name), {"format": h.name})
    ),
    "explain with a model": lambda h: h.run(
        "explain", h.good, "--model", "net_of_hostile_names:Net", "--example", "1,4"
    ),
}
PYTHON = {
    "a checkpoint": lambda h: shown(jc.open_checkpoint(h.good)),
    "a checkpoint as HTML": lambda h: jc.open_checkpoint(h.good)._repr_html_(),
    "a plan": lambda h: shown(h.plan),
    "a plan as HTML": lambda h: h.plan._repr_html_(),
    "a forged plan": lambda h: shown(jc.Plan.from_json(forged_plan(h))),
    "a forged plan as HTML": lambda h: jc.Plan.from_json(forged_plan(h))._repr_html_(),
    "a plan with problems": lambda h: shown(jc.plan(h.model(), with_unexpected(h), names=h.names)),
    "a report": lambda h: shown(loaded(h)[1]),
    "a report of a partial load": lambda h: shown(loaded(h, with_unexpected(h), strict=False)[1]),
    "a report as HTML": lambda h: loaded(h, with_unexpected(h), strict=False)[1]._repr_html_(),
    "a report with a hostile format": lambda h: shown(
        jc.load_torch(
            h.model(),
            h.file("f.safetensors", arrays(h.name), {"format": h.name}),
            names=h.names,
        )[1]
    ),
    "notes of a conversion": lambda h: "\n".join(
        jc.convert_file(
            h.file(
                "f.safetensors",
                arrays(h.name),
                {"format": h.name, f"{h.name}alias": f"{h.name}fc.bias"},
            ),
            h.path / "out.safetensors",
            h.plan,
            overwrite=True,
        )
    ),
    "a comparison": lambda h: shown(jc.Comparison([difference(h)], 1e-4)),
    "a comparison as HTML": lambda h: jc.Comparison([difference(h)], 1e-4)._repr_html_(),
    "an explanation": lambda h: shown(jg.explain(h.good)),
    "an explanation as HTML": lambda h: jg.explain(h.good)._repr_html_(),
    "an explanation by rich": lambda h: by_rich(jg.explain(h.good)),
    "no such tensor": lambda h: error(jc.open_checkpoint(h.good).read, h.name),
    "a tensor that is unexpected": lambda h: error(loaded, h, with_unexpected(h)),
    "a tensor of another shape": lambda h: error(loaded, h, with_mismatch(h)),
    "tensors that are missing": lambda h: error(loaded, h, {"w": np.ones(2, "f4")}),
    "a dict without the key": lambda h: error(
        jc.plan, h.model(), {h.name: {}, "w": np.ones(2, "f4")}, key="model"
    ),
    "extras of another model": lambda h: error(
        jc.save_torch, Net(nnx.Rngs(0)), h.path / "x.safetensors", extras={h.name: 3}
    ),
    "a header with an unknown dtype": lambda h: error(
        jc.open_checkpoint,
        header(h, {h.name: {"dtype": h.name, "shape": [], "data_offsets": [0, 0]}}),
    ),
    "a header with a duplicate key": lambda h: error(
        jc.open_checkpoint, raw(h, f"{{{json.dumps(h.name)}: 1, {json.dumps(h.name)}: 1}}")
    ),
    "an index of another checkpoint": lambda h: error(jc.open_checkpoint, index_of(h)),
    "a pickle that names code": lambda h: error(jc.open_checkpoint, code(h), reader="own"),
    "a plan with an unknown status": lambda h: error(
        jc.Plan.from_json, broken_plan(h, status=h.name)
    ),
    "a plan with an unknown field": lambda h: error(
        jc.Plan.from_json, broken_plan(h, op=["Permute", {h.name: 1}])
    ),
    "a plan with two names": lambda h: error(
        jc.Plan.from_json, broken_plan(h, torch=[h.name, h.name], flax=h.name)
    ),
    "a plan of another format": lambda h: error(jc.Plan.from_json, json.dumps({"format": h.name})),
    "a plan of another model": lambda h: error(
        jc.save_torch, Net(nnx.Rngs(0)), h.path / "x.safetensors", plan=renamed_plan(h)
    ),
}


def nested(here, tree):
    """A torch file of a tree with one tensor in it."""
    array = np.ones(2, "f4")
    pickle = torch_files.pickled(tree(torch_files.dense("0", array)))
    return torch_files.write(here.path / "nested.pth", "torch-zip", pickle, {"0": array})


def linked(here):
    link = here.path / "link.safetensors"
    if not link.is_symlink():
        link.symlink_to(here.name.replace("/", "").replace("\0", ""))
    return link


def changed(here):
    tensors = arrays(here.name)
    tensors[f"{here.name}fc.bias"] += 1
    return here.file("c.safetensors", tensors, {f"{here.name}alias": f"{here.name}fc.bias"})


def difference(here):
    return Difference(here.name, here.name, 1.0, (2, 3), (2, 3))


def by_rich(value):
    out = StringIO()
    Console(file=out, width=400).print(value)
    return out.getvalue()


def raw(here, text):
    path = here.path / "raw.safetensors"
    data = text.encode()
    path.write_bytes(len(data).to_bytes(8, "little") + data)
    return path


def header(here, table):
    return raw(here, json.dumps(table))


def code(here):
    path = here.path / "code.pth"
    name = here.name.replace("\n", "").replace(" ", "")
    pickle = torch_files.pickled(torch_files.Call(torch_files.Name("os", name), ("x",)))
    torch_files.write(path, "torch-zip", pickle, {})
    return path


def renamed_plan(here):
    entries = [replace(e, flax=here.name + e.flax) if e.flax else e for e in here.plan.entries]
    return jc.Plan("Net", entries)


@pytest.mark.parametrize("way", [*COMMANDS, *PYTHON])
def test_every_way_out(tmp_path, monkeypatch, capsys, way):
    texts = {}
    for name, directory in ((PLAIN, "a"), (HOSTILE, "b")):
        (tmp_path / directory).mkdir()
        monkeypatch.chdir(tmp_path / directory)
        monkeypatch.syspath_prepend(str(tmp_path / directory))
        texts[name] = (COMMANDS | PYTHON)[way](Place(tmp_path / directory, name, capsys))
        assert_harmless(texts[name])
        assert "Traceback" not in texts[name]
    plain, hostile = (text.splitlines() for text in texts.values())
    assert len(plain) == len(hostile), texts[HOSTILE]
    for line in hostile:
        assert way == "verify" or not line.strip().startswith(FORGED)
    # what it shows of the plain name it shows of the hostile one, unless it cuts long texts
    if PLAIN in texts[PLAIN] and "..." not in texts[HOSTILE]:
        assert "[red]x[" in texts[HOSTILE]
        assert ":smile:" in texts[HOSTILE]


def test_the_progress_bar(monkeypatch):
    """Only on a terminal; rich would take ``[/none]`` in a name for markup, and refuse it."""

    class Terminal(StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "2000")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with checkpoints._Progress("writing") as progress:
        progress(HOSTILE, 1, 2)
        progress.bar.refresh()
    drawn = terminal.getvalue()
    assert f"writing {printable(HOSTILE)} " in drawn
    for hidden in ("\x07", "\x1b[31m", "\u202e", "\u200b"):
        assert hidden not in drawn


def test_every_command_that_reads_a_file_is_here():
    commands = cli.command_line()._subparsers._group_actions[0].choices
    tested = {way.split(",")[0].split()[0] for way in COMMANDS}
    with_torch = {"port", "prove"}  # test_port_command has their checkpoints
    assert tested == set(commands) - {"experiment", "diagram", "doctor"} - with_torch


@pytest.mark.parametrize("character", HOSTILE)
def test_printable(character):
    """Plain ASCII and what is seen stays; the rest is written as in Python's literals."""
    text = printable(f"a{character}b")
    assert_harmless(text)
    assert "\n" not in text
    assert "\t" not in text
    assert text.startswith("a")
    assert text.endswith("b")
    assert printable(text) == text
    seen = "!" <= character <= "~" or character == " "
    assert (text == f"a{character}b") == seen
    assert ast.literal_eval(f'"{text}"') == f"a{character}b"


@pytest.mark.parametrize(
    "text", ["encoder.0.weight", "Größe", "层.0", "a b", "\\x1b", "e\u0301", "🙂"]
)
def test_printable_leaves_what_can_be_seen(text):
    assert printable(text) == text


def test_lone_surrogates_can_be_printed():
    name = "\ud800a\udcff"
    assert printable(name) == name.encode("unicode_escape").decode()
    printable(name).encode()
