"""Entries of plans as their schema has them, beside what `Plan.from_json` reads."""

import json

import pytest
from flax import nnx
from support.models import mixed
from support.schema_checks import validator

import jaxgroups.convert as jc


def step(name, **held):
    return [name, held]


WRONG = {
    "status": {"status": "fine"},
    "folded of one tensor": {"status": "folded"},
    "counter with a leaf": {"status": "counter"},
    "alias with a leaf": {"status": "alias", "torch": ["a", "b"]},
    "two tensors": {"torch": ["a", "b"]},
    "no tensor": {"torch": []},
    "no leaf": {"flax": None, "flax_shape": None},
    "no shape": {"torch_shape": None},
    "no shape of the leaf": {"flax_shape": None},
    "no dtype": {"dtype": None},
    "negative": {"torch_shape": [6, -1]},
    "unknown operation": {"op": step("Rotate")},
    "no operation": {"op": []},
    "no fields": {"op": ["Identity"]},
    "fields of another": {"op": step("Identity", axes=[0])},
    "more than fields": {"op": [*step("Identity"), {}]},
    "an axis twice": {"op": step("Permute", axes=[0, 0])},
    "flipped twice": {"op": step("Flip", axes=[0, 0])},
    "negative axis": {"op": step("Flip", axes=[-1])},
    "no channels": {"op": step("ChannelsLast", axis=0, sizes=[0, 6], around=[0, 0])},
    "no parts": {"op": step("Part", index=0, count=0)},
    "reshaped to nothing": {"op": step("Reshape", torch=[6])},
    "chain of no operations": {"op": step("Chain", ops=[])},
    "a part comes second": {
        "op": ["Chain", [step("Identity"), step("Part", index=0, count=1)]],
    },
}


@pytest.fixture(scope="module")
def plan():
    """A plan of a whole model, as data."""
    model = nnx.eval_shape(lambda: mixed.Mixed(rngs=nnx.Rngs(0)))
    rules = {"fc": jc.FlattenLinear(6, 2, 2)}
    return json.loads(jc.plan(model, mixed.state(), rules=rules).to_json())


def reads(plan):
    try:
        jc.Plan.from_json(json.dumps(plan))
    except ValueError:
        return False
    return True


def test_both_take_a_plan_as_it_is(plan):
    assert validator("plan", "plan").is_valid(plan)
    assert reads(plan)


@pytest.mark.parametrize("name", WRONG)
def test_both_refuse_what_no_plan_says(plan, name):
    (good,) = (entry for entry in plan["entries"] if entry["torch"] == ["up.bias"])
    for entry, fine in ((good, True), (good | WRONG[name], False)):
        changed = plan | {"entries": [entry]}
        assert validator("plan").is_valid(changed) is fine
        assert reads(changed) is fine


def merged(kind, **fields):
    return {"merge": [kind, fields]}


ONE = {"op": step("Identity"), "torch_shape": [6], "flax_shape": [6]}
NO_TENSOR = {"torch": [], "torch_shape": None}
MERGES = {
    "a merge without a kind": ({"status": "folded", "torch": ["a", "b"]}, False),
    "a weight norm": ({"status": "folded", "torch": ["a", "b"]} | merged("WeightNorm"), True),
    "a mask": ({"status": "folded", "torch": ["a", "b"]} | merged("Mask"), True),
    "a spectral norm": (
        {"status": "folded", "torch": ["a", "b", "c"]} | merged("SpectralNorm", axis=1),
        True,
    ),
    "a spectral norm of two": (
        {"status": "folded", "torch": ["a", "b"]} | merged("SpectralNorm", axis=1),
        False,
    ),
    "a mask of three": ({"status": "folded", "torch": ["a", "b", "c"]} | merged("Mask"), False),
    "three without a name": ({"status": "folded", "torch": ["a", "b", "c"]}, False),
    "orthogonal": (
        {"status": "folded", "torch": ["a", "b"]} | merged("Orthogonal", map="cayley"),
        True,
    ),
    "orthogonal by nothing": (
        {"status": "folded", "torch": ["a", "b"]} | merged("Orthogonal", map="qr"),
        False,
    ),
    "a folded sum": ({"status": "folded", "torch": ["a", "b"]} | merged("Sum"), False),
    "a sum": ({"status": "summed", "torch": ["a", "b"]} | merged("Sum"), True),
    "a sum of a GRU": ({"status": "summed", "torch": ["a", "b"]} | merged("GRUSum"), True),
    "a sum of one": ({"status": "summed", "torch": ["a"]} | merged("Sum"), False),
    "a sum without a kind": ({"status": "summed", "torch": ["a", "b"]}, False),
    "a summed mask": ({"status": "summed", "torch": ["a", "b"]} | merged("Mask"), False),
    "a constant": (
        {"status": "constant"} | NO_TENSOR | merged("FlaxOnly", value=1.5, exact=False),
        True,
    ),
    "a constant of a tensor": (
        {"status": "constant"} | merged("FlaxOnly", value=1.5, exact=True),
        False,
    ),
    "a constant text": (
        {"status": "constant"} | NO_TENSOR | merged("FlaxOnly", value="1.5", exact=True),
        False,
    ),
    "a constant without its value": ({"status": "constant"} | NO_TENSOR, False),
    "merged, but ok": (merged("Mask"), False),
    "a constant of half its fields": (
        {"status": "constant"} | NO_TENSOR | merged("FlaxOnly", value=1.5),
        False,
    ),
    "unknown": ({"status": "folded", "torch": ["a", "b"]} | merged("Median"), False),
    "fields of another merge": (
        {"status": "folded", "torch": ["a", "b"]} | merged("Mask", axis=0),
        False,
    ),
    "an alias of three": (
        {"status": "alias", "torch": ["a", "b", "c"], "flax": None, "flax_shape": None},
        False,
    ),
}


@pytest.mark.parametrize("name", MERGES)
def test_both_know_what_is_merged(plan, name):
    change, fine = MERGES[name]
    (good,) = (entry for entry in plan["entries"] if entry["torch"] == ["up.bias"])
    changed = plan | {"entries": [good | ONE | change]}
    assert validator("plan").is_valid(changed) is fine
    assert reads(changed) is fine


@pytest.mark.parametrize("name", ["format", "model", "entries", "warnings", "hints"])
def test_both_need_all_of_a_plan(plan, name):
    lacking = {key: value for key, value in plan.items() if key != name}
    assert not validator("plan").is_valid(lacking)
    assert not reads(lacking)
