"""Entries and hints for tensors, names and rules that are unused, or used more than once."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from jaxgroups._printable import printable
from jaxgroups.convert._model.names import Names, strip_collection
from jaxgroups.convert._model.structure import ParamInfo, Structure
from jaxgroups.convert._plan.plan import Entry
from jaxgroups.convert._rules import ops

Claims = dict[str, list[Entry]]


def unclaimed(
    infos: Mapping[str, Any], aliases: Mapping[str, str], claims: Claims, ignore: Iterable[str]
) -> list[Entry]:
    """The tensors that no parameter needs: ignored, aliases of others, or unexpected."""
    patterns = [_compiled(p) for p in ([ignore] if isinstance(ignore, str) else ignore)]
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
    return entries


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"ignore: invalid regular expression {pattern!r}: {error}") from error


def ambiguous(claims: Claims) -> list[Entry]:
    """Tensors that several parameters claim, other than as the parts that make up the tensor."""
    entries = []
    for key, entries_of_key in claims.items():
        leaves = [e for e in entries_of_key if e.flax and e.status in ("ok", "folded")]
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
    """Paths in the user's `rules` and `names` that nothing in the model uses."""
    entries = []
    for what, paths, known in (
        ("rules", rules, ruled),
        ("names", names if isinstance(names, Mapping) and not callable(names) else {}, named),
    ):
        for path in paths:
            if strip_collection(structure, path) in known:
                continue
            near = get_close_matches(strip_collection(structure, path), sorted(named | ruled), n=1)
            note = f"{what} has {path!r}, which is no layer here that takes one"
            note += f"; near it: {near[0]!r}" if near else ""
            entries.append(Entry("unknown", (), None, note=note))
    return entries


def hints(entries: Iterable[Entry]) -> list[str]:
    """Missing keys that resemble unexpected ones: for the message only, never applied."""
    entries = list(entries)
    missing = [e for e in entries if e.status == "missing"]
    free = {e.torch[0]: e.torch_shape for e in entries if e.status == "unexpected"}
    if missing and all(f"model.{e.torch[0]}" in free for e in missing):
        return ['all keys begin with "model.": pass prefix="model."']
    found = []
    for entry in missing[:20]:
        close = get_close_matches(entry.torch[0], free, n=1, cutoff=0.8)
        if close:
            text = f'missing "{entry.torch[0]}" is close to unexpected "{close[0]}"'
            found.append(printable(text))
    return found


def rule_hints(unruled: Mapping[type, list[ParamInfo]]) -> list[str]:
    """How to register a rule for each layer type that has none."""
    texts = []
    for kind, slots in unruled.items():
        leaves = dict.fromkeys(str(param.path[-1]) for param in slots)
        body = ", ".join(f'"{leaf}": TensorRule("<name in torch>", <operation>)' for leaf in leaves)
        texts.append(
            f"@jaxgroups.convert.register({kind.__name__}) adds a rule for such layers:\n"
            f"\t\t@register({kind.__name__})\n"
            f"\t\tdef _(layer, shapes):\n"
            f"\t\t    return {{{body}}}"
        )
    return texts
