"""What inspect, plan, convert and verify print with ``--json``, for good files and for bad."""

import contextlib
import json

import numpy as np
import pytest
from support import torch_files
from support.checkpoints import written
from support.command import run
from support.models import mixed
from support.schema_checks import assert_nothing_else_is_taken, forms, schema, validated, validator

from jaxgroups.cli import main
from jaxgroups.convert._rules import ops_json as _ops_json

GOOD = ["--model", "support.models.mixed:Mixed", "--rules", "rules.toml"]
BROKEN = ["--model", "support.models.mixed:Mixed", "--rules", "broken.toml"]
FLAX = ["--to", "flax", "-o", "out.safetensors", "--overwrite"]
PLANNED = ["--plan", "plan.json"]
# argv, exit status, and which form of the schema the output is
OUTCOMES = {
    "a file": (["inspect", "good.safetensors"], 0, "contents"),
    "shards": (["inspect", "shards.safetensors.index.json"], 0, "contents"),
    "nothing in it": (["inspect", "empty.safetensors"], 0, "contents"),
    "torch": (["inspect", "nested.pth", "--key", "model", "--reader", "own"], 0, "contents"),
    "legacy torch": (["inspect", "legacy.pth", "--reader", "own"], 0, "contents"),
    "nested": (["inspect", "nested.pth", "--reader", "own"], 2, "failed"),
    "no file": (["inspect", "none.safetensors"], 2, "failed"),
    "damaged": (["inspect", "damaged.safetensors"], 2, "failed"),
    "complete": (["plan", "good.safetensors", *GOOD, "-o", "again.json"], 0, "plan"),
    "leftovers": (["plan", "good.safetensors", *GOOD[:2]], 1, "plan"),
    "problems of every kind": (["plan", "broken.safetensors", *BROKEN], 1, "plan"),
    "prefix forgotten": (["plan", "prefixed.safetensors", *GOOD], 1, "plan"),
    "nothing fits": (["plan", "empty.safetensors", *GOOD], 1, "plan"),
    "linen": (
        ["plan", "good.safetensors", "--model", "support.models.twin:linen", "--example", "2,24"],
        1,
        "plan",
    ),
    "names": (["plan", "other_names.safetensors", *GOOD, "--propose"], 0, "proposal"),
    "names for another model": (
        ["plan", "broken.safetensors", *GOOD[:2], "--propose"],
        1,
        "proposal",
    ),
    "no names needed": (["plan", "good.safetensors", *GOOD, "--propose"], 0, "proposal"),
    "names for nothing": (["plan", "good.safetensors", "--propose"], 2, "refused"),
    "names and a plan": (
        ["plan", "good.safetensors", *GOOD, "--propose", "-o", "again.json"],
        2,
        "failed",
    ),
    "plan by nothing": (["plan", "good.safetensors"], 2, "refused"),
    "nothing to be ambiguous": (["plan", "empty.safetensors"], 2, "refused"),
    "plan of no model": (["plan", "good.safetensors", "--model", "nowhere:Net"], 2, "failed"),
    "plan of a converted file": (["plan", "flax.safetensors", *GOOD], 2, "failed"),
    "converted": (["convert", "good.safetensors", *FLAX, *PLANNED], 0, "written"),
    "converted by a model": (["convert", "good.safetensors", *FLAX, *GOOD], 0, "written"),
    "orbax": (
        ["convert", "good.safetensors", "--to", "flax", "-o", "o", "--overwrite", *PLANNED],
        0,
        "written",
    ),
    "misfits": (["convert", "broken.safetensors", *FLAX, *BROKEN], 1, "misfits"),
    "another file": (["convert", "broken.safetensors", *FLAX, *PLANNED], 1, "misfits"),
    "convert by nothing": (["convert", "good.safetensors", *FLAX], 2, "refused"),
    "no way back": (
        ["convert", "flax.safetensors", "--to", "torch", "-o", "b.safetensors", *PLANNED],
        2,
        "failed",
    ),
    "twice": (["convert", "flax.safetensors", *FLAX, *PLANNED], 2, "failed"),
    "no plan": (["convert", "good.safetensors", *FLAX, "--plan", "rules.toml"], 2, "failed"),
    "in the way": (["convert", "good.safetensors", *FLAX[:4], *PLANNED], 2, "failed"),
    "equal": (["verify", "good.safetensors", "flax.safetensors", *PLANNED], 0, "equal"),
    "different": (["verify", "other.safetensors", "flax.safetensors", *PLANNED], 1, "different"),
    "not the source": (
        ["verify", "broken.safetensors", "flax.safetensors", *PLANNED],
        1,
        "misfits",
    ),
    "not converted": (["verify", "good.safetensors", "good.safetensors", *PLANNED], 2, "failed"),
    "verify by nothing": (["verify", "good.safetensors", "flax.safetensors"], 2, "failed"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files of the outcomes."""
    here = tmp_path_factory.mktemp("schemas")
    arrays = mixed.state()
    tied = {"tied.weight": "fc.weight", "format": "pt"}  # the name of an alias lies in the metadata
    written(here / "good.safetensors", arrays | {"loss.weight": np.ones(2, "f4")}, {"format": "pt"})
    written(here / "shard.safetensors", arrays, tied)
    index = {
        "metadata": {"total_size": 3},
        "weight_map": dict.fromkeys(arrays, "shard.safetensors"),
    }
    index["weight_map"]["tied.weight"] = "shard.safetensors"
    (here / "shards.safetensors.index.json").write_text(json.dumps(index))
    written(here / "empty.safetensors", {})
    (here / "damaged.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    written(here / "broken.safetensors", mixed.broken())
    others = {"look": "attn", "fc": "head", "again": "tied", "scale": "gamma"}
    renamed = dict(arrays)
    for ours, theirs in others.items():
        renamed = {n.replace(ours, theirs): a for n, a in renamed.items()}
    written(here / "other_names.safetensors", renamed | {"loss.weight": np.ones(2, "f4")})
    written(here / "prefixed.safetensors", {f"module.{n}": a for n, a in arrays.items()})
    changed = {n: a + (n == "bn.bias") for n, a in arrays.items()}
    written(here / "other.safetensors", changed)
    storage = {"0": np.ones(3, "f4")}
    root = {"model": {"w": torch_files.dense("0", storage["0"]), "steps": 3}, "epoch": 3}
    torch_files.write(here / "nested.pth", "torch-zip", torch_files.pickled(root), storage)
    torch_files.state_dict(here / "legacy.pth", "torch-legacy", {"w": storage["0"]})
    (here / "rules.toml").write_text(mixed.RULES)
    (here / "broken.toml").write_text(mixed.BROKEN_RULES)
    with contextlib.chdir(here):
        assert main(["plan", "good.safetensors", *GOOD, "-o", "plan.json"]) == 0
        to = ["--to", "flax", "-o", "flax.safetensors"]
        assert main(["convert", "good.safetensors", *to, *PLANNED]) == 0
    return here


@pytest.fixture
def printed(folder, monkeypatch, capsys):
    """What the command of an outcome prints, in that folder."""
    monkeypatch.chdir(folder)

    def call(name):
        argv, expected, _ = OUTCOMES[name]
        status, out, err = run(capsys, *argv, "--json")
        assert status == expected, err
        return out

    return call


@pytest.mark.parametrize("name", OUTCOMES)
def test_outputs_are_what_the_schemas_say(printed, name):
    (command, *_), status, form = OUTCOMES[name]
    data = validated(printed(name), command)
    assert forms(command, data) == [form]
    if status == 2:
        assert data["error"]
    if form == "refused":  # without its tensors it is a failure, which is an output too
        assert forms(command, {"error": data["error"]}) == ["failed"]
        assert not forms(command, data | {"ambiguous": {"a": 1}})
        return
    entries = {(e["status"], e["op"][0]): e for e in data.get("entries", ())}  # one of a kind
    for entry in entries.values():
        assert_nothing_else_is_taken(command, entry, "entry")
    if entries:
        data["entries"] = data["entries"][:1]
    assert_nothing_else_is_taken(command, data)


# --- plans ----------------------------------------------------------------------------------------


def kinds(op):
    """The names of an operation and, of a chain, of its steps."""
    name, held = op
    return {name}.union(*map(kinds, held)) if name == "Chain" else {name}


def test_every_status_and_every_operation_was_among_them(printed):
    names = ("complete", "leftovers", "problems of every kind")
    entries = [entry for name in names for entry in json.loads(printed(name))["entries"]]
    told = schema("plan")["$defs"]["entry"]["properties"]["status"]["enum"]
    assert {entry["status"] for entry in entries} == set(told)
    assert set().union(*(kinds(entry["op"]) for entry in entries)) == {*_ops_json._KINDS, "Chain"}
    assert {bool(e["flax"]) for e in entries if e["status"] == "unknown"} == {True, False}
    assert len([e for e in entries if e["status"] == "mismatched"]) > 1


def test_entries_hold_what_their_status_says(printed):
    """A leaf, a tensor, a reason: each is there or not, and the other way is refused."""
    check = validator("plan", "entry")
    for entry in json.loads(printed("problems of every kind"))["entries"]:
        assert check.is_valid(entry)
        wrong = [{"torch_shape": [3] if entry["torch_shape"] is None else None}]
        wrong += [{"flax_shape": [3] if entry["flax_shape"] is None else None}]
        most = 3 if entry["status"] in ("folded", "mismatched") else 2
        wrong += [{"torch": ["a", "b", "c", "d"][: most + 1]}]
        if entry["status"] in ("mismatched", "ambiguous", "unknown"):
            wrong += [{"note": ""}]
        if entry["status"] not in ("ambiguous", "unknown"):
            wrong += [{"torch": []}, {"dtype": None}]
        if entry["flax"] is None:
            wrong += [{"flax": "leaf"}, {"op": ["Flip", {"axes": [0]}]}]
        else:
            wrong += [{"flax": None}]
        for change in wrong:
            assert not check.is_valid(entry | change), (entry, change)


def test_the_plan_that_is_written_is_the_one_that_is_printed(printed, folder):
    text = printed("complete")
    assert (folder / "again.json").read_text() == text.removesuffix("\n")
    assert validated((folder / "again.json").read_text(), "plan")["model"] == "Mixed"
