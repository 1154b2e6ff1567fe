"""Makes a plan from a structure and a checkpoint, in four stages that each return a value.

    resolve rules -> resolve names -> match -> classify

`resolve` has the first two, `match` the last two. `leftovers` reports unused tensors, names and
rules.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from jaxgroups._printable import printable
from jaxgroups.convert._files import TensorInfo
from jaxgroups.convert._model.names import Names, TorchNames, strip_collection
from jaxgroups.convert._model.structure import ParamInfo, Path, Structure, dotted
from jaxgroups.convert._plan import leftovers, parametrized
from jaxgroups.convert._plan.layer_hints import layer_hints
from jaxgroups.convert._plan.match import classify, constant, counted, exported, find_tensors
from jaxgroups.convert._plan.plan import Entry, Plan
from jaxgroups.convert._plan.resolve import (
    Constant,
    Counter,
    Problem,
    Resolved,
    RuleMatch,
    Target,
    resolve_names,
    resolve_rules,
)
from jaxgroups.convert._plan.wrappers import wrapper_hints
from jaxgroups.convert._rules import ops
from jaxgroups.convert._rules.layers import TensorRule
from jaxgroups.convert._rules.merges import FlaxOnly


def build(
    structure: Structure,
    infos: Mapping[str, TensorInfo] | None,
    aliases: Mapping[str, str],
    *,
    names: Names = None,
    rules: Mapping[str, Any] | None = None,
    ignore: Iterable[str] = (),
    prefix: str = "",
) -> Plan:
    """The plan for a structure and the tensors of a checkpoint.

    Args:
      structure: the structure of the model.
      infos: shape and dtype of the checkpoint's tensors by key; None for a plan for export.
      aliases: for each key that shares the memory of another key, that key.
      names, rules, ignore, prefix: as in `jaxgroups.convert.plan`.

    Raises:
      TypeError: a value in `rules` that is not a rule.
      ValueError: an invalid regular expression in `ignore`.
    """
    given = rules or {}
    check_rules(given)
    by_path = {strip_collection(structure, path): rule for path, rule in given.items()}
    matches = resolve_rules(structure, by_path)
    torch_names = TorchNames(structure, names, prefix)
    resolved = resolve_names(structure, matches, torch_names)
    outcomes = [_outcome(structure, item, infos) for item in resolved]
    entries = _entries(outcomes)
    claims = _claims(entries)
    if infos is not None:
        entries += leftovers.unclaimed(infos, aliases, claims, ignore)
    entries += leftovers.ambiguous(claims)
    if given or isinstance(names, Mapping):
        named, ruled = _used_paths(resolved), _ruled(matches)
        entries += leftovers.unused(structure, names, given, named, ruled)
    unruled = [item for item in outcomes if isinstance(item, Problem) and item.kind is not None]
    free = {e.torch[0]: e.torch_shape or () for e in entries if e.status == "unexpected"}
    mapped = names is None or isinstance(names, Mapping)
    modules = _modules(structure, torch_names) if mapped else {}
    hints = wrapper_hints(entries, modules, prefix) or leftovers.hints(entries)
    hints += layer_hints(structure, entries)
    hints += parametrized.hints(list(free), infos or {})
    hints += leftovers.rule_hints(unruled, free)
    warnings = parametrized.unnamed(entries)
    return Plan(structure.name, entries, [printable(text) for text in warnings], hints)


def _modules(structure: Structure, names: TorchNames) -> dict[str, str]:
    """The Flax path of each module by its torch name; the outermost one if several have it."""
    paths = sorted(structure.layers, key=len)
    return {names.of(path): dotted(path) for path in reversed(paths)}


def check_rules(rules: Mapping[str, Any]) -> None:
    """Check the argument `rules` of `plan`.

    Raises:
      TypeError: a value that is not a rule.
    """
    for path, rule in rules.items():
        if not callable(rule) and not isinstance(rule, (ops.Op, TensorRule, FlaxOnly)):
            raise TypeError(
                f"rules[{path!r}] must be a FlattenLinear, an RNNLayers, an operation, a "
                f"TensorRule, a FlaxOnly or a function as for register, got {rule!r}"
            )


def _outcome(
    structure: Structure,
    item: Resolved,
    infos: Mapping[str, TensorInfo] | None,
) -> list[Entry] | Problem:
    match item:
        case Problem():
            return item
        case Counter():
            return list(counted(item, infos))
        case Constant():
            return [constant(item)]
        case Target():
            if infos is None:
                return exported(item)
            return classify(structure, find_tensors(item, infos), infos)


def _entries(outcomes: list[list[Entry] | Problem]) -> list[Entry]:
    """The entries in order; a path without a torch name and an alias are reported once."""
    entries: list[Entry] = []
    unnamed: set[Path] = set()
    aliases: set[tuple[str, ...]] = set()  # parts of one tensor have the same aliases
    for outcome in outcomes:
        if not isinstance(outcome, Problem):
            for entry in outcome:
                if entry.status != "alias" or entry.torch not in aliases:
                    entries.append(entry)
                aliases |= {entry.torch} if entry.status == "alias" else set()
        elif outcome.unnamed is None:
            entries += [_unknown(param, outcome.note) for param in outcome.params]
        elif outcome.unnamed not in unnamed:
            unnamed.add(outcome.unnamed)
            entries.append(Entry("ambiguous", (), None, note=outcome.note))
    return entries


def _unknown(param: ParamInfo, note: str) -> Entry:
    return Entry("unknown", (), param.name, flax_shape=param.shape, dtype=param.dtype, note=note)


def _claims(entries: list[Entry]) -> leftovers.Claims:
    """The entries that name each torch key."""
    claims: leftovers.Claims = defaultdict(list)
    for entry in entries:
        for key in entry.torch:
            claims[key].append(entry)
    return dict(claims)


def _used_paths(resolved: list[Resolved]) -> set[str]:
    """The paths for which a torch name was needed."""
    return {dotted(path) for item in resolved for path in item.used_paths}


def _ruled(matches: list[RuleMatch]) -> set[str]:
    """The paths whose rule from the user was used."""
    return {dotted(match.head) for match in matches if match.from_user and match.head is not None}
