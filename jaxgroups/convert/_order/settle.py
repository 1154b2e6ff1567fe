"""Reorders flattened features in a plan, by the axes of the model's parameters."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from jaxgroups._types import Shape
from jaxgroups.convert._model.structure import Structure, dotted
from jaxgroups.convert._order.need import need_of
from jaxgroups.convert._order.trace import Axes
from jaxgroups.convert._plan.plan import Entry, Plan
from jaxgroups.convert._rules import ops
from jaxgroups.convert._rules.feature_order import (
    FlattenLinear,
    FlattenVector,
    KeepOrder,
    OrderRule,
    UnflattenLinear,
    axis_groups,
    is_reordered,
    reordered,
)

_ORDERS = "torch flattens (C, *spatial), Flax (*spatial, C)"


@dataclass
class _Found:
    """What the warnings report.

    Attributes:
      reordered: the entries by the path of the layer and of the parameter.
      unknown: the paths by the reason why their order is not known.
    """

    reordered: dict[str, dict[str, Entry]] = field(default_factory=lambda: defaultdict(dict))
    unknown: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


def settle(plan: Plan, structure: Structure, given: Mapping[str, Any], known: Axes) -> Plan:
    """The plan with every flattened axis reordered, and with a warning about it.

    Args:
      plan: the plan.
      structure: the structure of the model.
      given: the rules of the user by parameter name.
      known: the axes of every parameter.
    """
    paths = {param.name: param.path for param in structure.params}
    found = _Found()
    entries = []
    for entry in plan.entries:
        name = str(entry.flax)
        rule = given.get(name)
        if entry.status in ("ok", "folded") and name in known and _undecided(rule, entry):
            entry = _settled(entry, known[name], rule, paths[name], found)
        entries.append(entry)
    return replace(plan, entries=entries, warnings=[*plan.warnings, *_warnings(found)])


def _undecided(rule: Any, entry: Entry) -> bool:
    """Whether neither the user nor the rule of the layer has given the order of features."""
    if isinstance(rule, KeepOrder):
        return False
    return isinstance(rule, OrderRule) or (rule is None and not is_reordered(entry.op))


def _settled(
    entry: Entry, axes: list[Any], rule: OrderRule | None, path: tuple[Any, ...], found: _Found
) -> Entry:
    by_rule = {op.axis: op for op in _reorderings(entry.op)}
    needed: list[ops.ChannelsLast] = []
    layer = dotted(path[:-1])
    for axis, group in enumerate(axis_groups(entry.op, entry.flax_shape or ())):
        need = need_of(f for a in group for f in axes[a])
        if axis in by_rule:
            if need.certain and _effect([by_rule[axis]]) != _effect(need.ops(axis)):
                note = _contradiction(entry, rule, layer, by_rule[axis], need.ops(axis))
                return replace(entry, status="mismatched", note=note)
        elif need.unknown:
            found.unknown[need.unknown].append(layer or dotted(path))
        else:
            needed += need.ops(axis)
    if needed:
        found.reordered[layer][dotted(path)] = entry = replace(
            entry, op=reordered(entry.op, needed)
        )
    return entry


def _reorderings(op: ops.Op) -> list[ops.ChannelsLast]:
    every = op.ops if isinstance(op, ops.Chain) else (op,)
    return [o for o in every if isinstance(o, ops.ChannelsLast)]


def _effect(reorderings: Iterable[ops.ChannelsLast]) -> list[tuple[int, int, Shape]]:
    """What the reorderings depend on: channels, number of positions, and offsets."""
    return [(m.sizes[0], prod(m.sizes[1:]), m.around) for m in reorderings]


def _contradiction(
    entry: Entry,
    rule: Any,
    layer: str,
    by_rule: ops.ChannelsLast,
    needed: list[ops.ChannelsLast],
) -> str:
    c, n = by_rule.sizes[0], prod(by_rule.sizes[1:])
    if needed:
        sizes = needed[0].sizes
        held = f"{sizes[0]} channels and {prod(sizes[1:])} positions"
    else:
        held = "no positions before channels: the model itself has torch's order, or no map there"
    return (
        f"order mismatch for {entry.torch[0]}: {rule} of {layer or 'the model'} is a feature map "
        f"of {c} channels and {n} positions, but {entry.flax} has {held} in the model. Sizes are "
        f'channels first; an operation in rules={{"{entry.flax}": ...}} is not checked.'
    )


# --- warnings -------------------------------------------------------------------------------------


def _warnings(found: _Found) -> list[str]:
    texts = []
    if found.reordered:
        rules = ", ".join(
            text for path, e in found.reordered.items() for text in _rule_texts(path, e)
        )
        texts.append(
            f"feature order: {_ORDERS}; these are reordered, as the model computes: pass "
            f"rules={{{rules}}} to confirm it, or KeepOrder() for a layer where torch has Flax's "
            "order"
        )
    for reason, paths in found.unknown.items():
        some = list(dict.fromkeys(paths))
        texts.append(
            f"feature order of {', '.join(some)} is not known: {reason}; {_ORDERS}. Nothing is "
            'reordered: pass rules={"' + some[0] + '": ...} with FlattenLinear, UnflattenLinear or '
            "FlattenVector, or with KeepOrder() if torch has Flax's order"
        )
    return texts


def _rule_texts(layer: str, entries: Mapping[str, Entry]) -> list[str]:
    """The rules for the reordering of a layer, as text for `rules=`."""
    by_leaf = {path.rpartition(".")[2]: e for path, e in entries.items()}
    kernel = by_leaf.get("kernel")
    rule: OrderRule | None = None
    reorderings = [m for e in entries.values() for m in _reorderings(e.op)]
    if any(any(m.around) for m in reorderings):
        rule = None
    elif kernel is not None and len(kernel.torch_shape or ()) == 2:
        sides = {m.axis: m.sizes for m in _reorderings(kernel.op)}
        if 0 in sides:
            rule = FlattenLinear(*sides[0], output=sides.get(1))
        else:
            rule = UnflattenLinear(*sides[1])
    elif len({m.sizes for m in reorderings}) == 1 and set(by_leaf) <= {
        "scale",
        "bias",
        "mean",
        "var",
    }:
        rule = FlattenVector(*reorderings[0].sizes)
    if rule is not None:
        return [f'"{layer}": {rule}']
    return [f'"{path}": {e.op}' for path, e in entries.items()]
