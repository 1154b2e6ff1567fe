"""The schemas themselves: one for each command with ``--json``, closed, and true to the code."""

import argparse
from dataclasses import fields
from typing import get_args

import pytest
from support.command import run
from support.schema_checks import (
    assert_nothing_else_is_taken,
    changes,
    names,
    schema,
    validated,
    validator,
)

from jaxgroups import _native as native
from jaxgroups import cli
from jaxgroups._native import build as _build
from jaxgroups.convert._files import base as _base
from jaxgroups.convert._files import dtypes as _dtypes
from jaxgroups.convert._plan import plan as _plan
from jaxgroups.convert._rules import ops
from jaxgroups.convert._rules import ops_json as _ops_json


def with_json(parser, path=()):
    """The commands that take ``--json``, at any depth: words after the program's name."""
    found = set()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                found |= with_json(below, (*path, name))
        elif "--json" in action.option_strings:
            found.add(" ".join(path))
    return found


def test_every_command_with_json_has_a_schema():
    offered = with_json(cli.command_line())
    assert {"explain", "inspect", "plan", "convert", "verify"} <= offered
    assert names() == offered


def test_a_command_of_commands_is_walked():
    parser = argparse.ArgumentParser()
    inner = parser.add_subparsers().add_parser("outer").add_subparsers()
    inner.add_parser("one").add_argument("--json")
    inner.add_parser("two").add_argument("--text")
    assert with_json(parser) == {"outer one"}


def objects(node):
    """Every object that a schema describes."""
    if isinstance(node, dict):
        if node.get("type") == "object":
            yield node
        for value in node.values():
            yield from objects(value)
    elif isinstance(node, list):
        for value in node:
            yield from objects(value)


@pytest.mark.parametrize("command", sorted(names()))
def test_schemas_are_closed(command):
    """An object has all of its keys and no other, or its keys are names and all values alike."""
    kept = schema(command)
    assert kept["title"] == f"jaxgroups {command} --json"
    validator(command)
    for described in objects(kept):
        if isinstance(described["additionalProperties"], dict):
            assert "properties" not in described
        else:
            assert described["additionalProperties"] is False
            assert sorted(described.get("required", ())) == sorted(described.get("properties", ()))


# --- closed sets of the code ----------------------------------------------------------------------


def operations():
    """Those of `_ops`, whether `_ops_json` knows them or not."""
    kinds = [kind for kind in vars(ops).values() if isinstance(kind, type)]
    return {
        kind.__name__: kind for kind in kinds if issubclass(kind, ops.Op) and kind is not ops.Op
    }


def referred(alternatives):
    return {one["$ref"].rpartition("/")[2] for one in alternatives["oneOf"]}


def test_operations_are_the_codes():
    parts = schema("plan")["$defs"]
    steps = referred(parts["step"])
    assert referred(parts["operation"]) == {"step", "Chain"}
    assert steps | {"Chain"} == set(operations()) == {*_ops_json._KINDS, "Chain"}
    for name in (*steps, "Chain"):
        constant, held = parts[name]["prefixItems"]
        assert constant == {"const": name}
        held = parts[held["$ref"].rpartition("/")[2]] if "$ref" in held else held
        if name != "Chain":  # whose steps stand in the list itself
            kept = [field.name for field in fields(operations()[name])]
            assert list(held.get("properties", ())) == kept


def test_statuses_are_the_codes():
    entry = schema("plan")["$defs"]["entry"]
    assert entry["properties"]["status"]["enum"] == [*_plan.GOOD, *_plan.BAD]
    assert schema("plan")["$defs"]["plan"]["properties"]["format"] == {"const": _plan.FORMAT}


def test_formats_and_dtypes_are_the_codes():
    parts = schema("inspect")["$defs"]
    formats = parts["contents"]["properties"]["format"]["enum"]
    assert set(formats) == {*get_args(_base.Format)} - {"memory"}  # which is no file
    assert set(parts["tensor"]["properties"]["dtype"]["enum"]) == _dtypes.NAMES


def test_problems_are_the_codes():
    keys = {"error", *_plan.ConversionError("Net", []).as_dict()}
    for command in ("convert", "verify"):
        assert set(schema(command)["$defs"]["misfits"]["properties"]) == keys


def test_instruction_sets_are_the_codes():
    ready = schema("doctor")["$defs"]["ready"]["properties"]
    known = {"baseline", *(name for sets in _build.ISAS.values() for name in sets)}
    assert set(ready["instruction_sets"]["items"]["enum"]) == known


# --- the doctor -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "found",
    [
        native.Status("they are not compiled"),
        native.Status(None, _build.SOURCES / "kernels.so", ("avx2", "baseline")),
    ],
    ids=["missing", "ready"],
)
@pytest.mark.parametrize("compiler", [None, ["g++"]], ids=["no compiler", "compiler"])
def test_the_doctor(capsys, monkeypatch, found, compiler):
    monkeypatch.setattr(native, "status", lambda: found)
    monkeypatch.setattr(_build, "find_compiler", lambda: compiler)
    status, out, err = run(capsys, "doctor", "--json")
    assert (status, err) == (0, "")
    data = validated(out, "doctor")
    assert data["native"]["ready"] == (found.missing is None)
    assert_nothing_else_is_taken("doctor", data)
    wrong = data["native"] | {"ready": not data["native"]["ready"]}
    assert not validator("doctor").is_valid(data | {"native": wrong})


def test_the_doctor_here(capsys):
    validated(run(capsys, "doctor", "--json")[1], "doctor")


def test_changes_are_of_every_place():
    listed = [what for what, _ in changes({"a": {"names": {"x": "y"}}, "b": ["z"]}, maps={"names"})]
    assert sum(what.endswith("is of no kind") for what in listed) == 6
    assert sum(what.endswith("more") for what in listed) == 4  # three objects and a list
    assert [what for what in listed if "lacks" in what] == [
        "() lacks 'a'",
        "('a',) lacks 'names'",
        "() lacks 'b'",
    ]


def test_a_verdict_and_its_list_agree():
    check = validator("verify")
    assert not check.is_valid({"equal": True, "different": ["fc.bias"]})
    assert not check.is_valid({"equal": False, "different": []})
