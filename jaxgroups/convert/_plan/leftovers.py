"""Entries and hints for tensors, names, rules and patterns that are not used, or used twice."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from jaxgroups._printable import printable
from jaxgroups._types import Shape
from jaxgroups.convert._model.names import Names, strip_collection
from jaxgroups.convert._model.structure import Structure
from jaxgroups.convert._plan.plan import LEAVES, Entry
from jaxgroups.convert._plan.resolve import Problem
from jaxgroups.convert._plan.rule_template import rule_template
from jaxgroups.convert._rules import ops

Claims = dict[str, list[Entry]]
PROPOSE = (
    "where only the names differ, propose_names(model, checkpoint) or `jaxgroups plan --propose` "
    "gives a table for names="
)


def unclaimed(
    infos: Mapping[str, Any], aliases: Mapping[str, str], claims: Claims, ignore: Iterable[str]
) -> list[Entry]:
    """Entries for tensors that no parameter needs: ignored, aliases of others, or unexpected."""
    patterns = compiled(ignore)
    entries = []
    shared = {aliases.get(key, key): key for key in reversed(claims)}
    for key, info in infos.items():
        if key in claims:
            continue
        kept = shared.get(aliases.get(key, key))
        status, note, keys = "unexpected", "", (key,)
        if any(pattern.fullmatch(key) for pattern in patterns):
            status = "ignored"
        elif kept is not None:
            status, note, keys = "alias", f"shares its data with {kept}", (key, kept)
        entries.append(
            Entry(status, keys, None, torch_shape=info.shape, dtype=info.dtype, note=note)
        )
    return entries + [
        _unused_pattern(p, infos) for p in patterns if not any(map(p.fullmatch, infos))
    ]


def _unused_pattern(pattern: re.Pattern[str], infos: Iterable[str]) -> Entry:
    """The problem of a pattern that no tensor matches."""
    note = f"ignore has {pattern.pattern!r}, which matches no key of the checkpoint"
    partly = next((key for key in infos if pattern.search(key)), None)
    note += "" if partly is None else f"; a pattern must match the whole key, such as {partly!r}"
    return Entry("unknown", (), None, note=note)


def compiled(ignore: Iterable[str]) -> list[re.Pattern[str]]:
    """The patterns of `ignore`, which may also be one pattern.

    Raises:
      ValueError: an invalid regular expression.
    """
    patterns = []
    for pattern in [ignore] if isinstance(ignore, str) else ignore:
        try:
            patterns.append(re.compile(pattern))
        except re.error as error:
            text = f"ignore: invalid regular expression {pattern!r}: {error}"
            raise ValueError(text) from error
    return patterns


def ambiguous(claims: Claims) -> list[Entry]:
    """Entries for tensors that several parameters claim, other than as its different parts."""
    entries = []
    for key, entries_of_key in claims.items():
        leaves = [e for e in entries_of_key if e.flax and e.status in LEAVES]
        parts = [ops.part_of(e.op) for e in leaves]
        paths = ", ".join(str(e.flax) for e in leaves)
        if len(leaves) > 1 and (None in parts or len(set(parts)) < len(parts)):
            note = f"{key} is claimed by {paths}"
        elif any(p and set(parts) != {ops.Part(i, p.count) for i in range(p.count)} for p in parts):
            note = f"{key} is claimed in parts by {paths}, which are not all of its parts"
        else:
            continue
        entries.append(Entry("ambiguous", (key,), None, note=note))
    return entries


def unused(
    structure: Structure,
    names: Names,
    rules: Mapping[str, Any],
    named: set[str],
    ruled: set[str],
) -> list[Entry]:
    """Entries for paths in the user's `rules` and `names` that are not used."""
    entries = []
    for what, paths, known in (
        ("rules", rules, ruled),
        ("names", names if isinstance(names, Mapping) and not callable(names) else {}, named),
    ):
        for path in paths:
            if strip_collection(structure, path) in known:
                continue
            near = get_close_matches(strip_collection(structure, path), sorted(named | ruled), n=1)
            note = f"{what} has {path!r}, which no layer or parameter of the model uses"
            note += f"; similar: {near[0]!r}" if near else ""
            entries.append(Entry("unknown", (), None, note=note))
    return entries


def hints(entries: Iterable[Entry]) -> list[str]:
    """Hints on missing keys that resemble unexpected ones of the same shape."""
    entries = list(entries)
    missing = list({e.torch[0]: e for e in entries if e.status == "missing"}.values())
    free = {e.torch[0]: e.torch_shape for e in entries if e.status == "unexpected"}
    if missing and all(f"model.{e.torch[0]}" in free for e in missing):
        return ['all keys begin with "model.": pass prefix="model."']
    texts = []
    for entry in missing[:20]:
        fitting = [key for key, shape in free.items() if _fits(entry, shape)]
        close = get_close_matches(entry.torch[0], fitting, n=1, cutoff=0.8)
        if close:
            text = f'missing "{entry.torch[0]}" is close to unexpected "{close[0]}"'
            texts.append(printable(text))
    if any(_fits(entry, shape) for entry in missing[:20] for shape in {*free.values()}):
        texts.append(PROPOSE)
    return texts


def _fits(entry: Entry, shape: Any) -> bool:
    """Whether a tensor of that shape could fill the parameter of a missing key."""
    try:
        return entry.op.flax_shape(tuple(shape)) == entry.flax_shape
    except ops.ShapeRefused:
        return False


def rule_hints(problems: Iterable[Problem], free: Mapping[str, Shape]) -> list[str]:
    """A rule to paste for each layer type that has none."""
    by_kind: dict[type, dict[str, Shape]] = {}
    tensors: dict[type, dict[str, Shape]] = {}
    for problem in problems:
        if problem.kind is None:
            continue
        leaves = by_kind.setdefault(problem.kind, {})
        for tail, param in zip(problem.tails, problem.params, strict=True):
            leaves.setdefault(tail, param.shape)
        front = f"{problem.front}." if problem.front else ""
        inside = {k.removeprefix(front): s for k, s in free.items() if k.startswith(front)}
        tensors.setdefault(problem.kind, inside)
    return [
        f"@jaxgroups.convert.register({kind.__name__}) adds a rule for such layers; a proposal:\n\n"
        f"{rule_template(kind, leaves, tensors[kind])}\n"
        for kind, leaves in by_kind.items()
    ]
