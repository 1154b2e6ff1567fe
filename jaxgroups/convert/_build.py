"""From a structure and a checkpoint to a plan: every leaf gets its tensor, or its problem."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from flax import nnx

from jaxgroups.convert import _ops as ops
from jaxgroups.convert import _rules as rules_of
from jaxgroups.convert._names import Names, torch_name
from jaxgroups.convert._plan import Entry, Plan
from jaxgroups.convert._structure import Path, Slot, Structure, dotted

_CONTAINERS = (nnx.List, nnx.Dict, nnx.Sequential)


class Builder:
    """One run of `build`: the checkpoint's tensors and which of them are already claimed."""

    def __init__(
        self,
        structure: Structure,
        infos: Mapping[str, Any] | None,
        names: Names,
        rules: Mapping[str, Any],
        prefix: str,
    ) -> None:
        self.structure = structure
        self.infos = infos
        self.names = names
        self.rules = dict(rules)
        self.prefix = prefix
        self.entries: list[Entry] = []
        self.claimed: dict[str, list[Entry]] = defaultdict(list)

    def name(self, path: Path) -> str:
        return torch_name(self.structure, path, self.names, self.prefix)

    def key(self, module: Path, leaf: str) -> str:
        front = self.name(module)
        return f"{front}.{leaf}" if front and not front.endswith(".") else front + leaf

    def owner(self, path: Path) -> tuple[Path, Any, Any] | None:
        """The outermost layer with a rule above a leaf: it knows what is inside it."""
        for length in range(len(path) + 1):
            head = path[:length]
            rule = self.rules.get(dotted(head)) if head else None
            layer = self.structure.layers.get(head)
            if rule is None and layer is not None:
                rule = rules_of.rule_of(layer)
            if rule is not None:
                return head, layer, _as_rule(rule)
        return None

    def _info(self, key: str) -> Any:
        return (self.infos or {})[key]

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        for key in entry.torch:
            self.claimed[key].append(entry)

    # --- leaves ----------------------------------------------------------------------------

    def run(self) -> None:
        groups: dict[Path, tuple[Any, Any, list[Slot]]] = {}
        for slot in self.structure.slots:
            found = self.owner(slot.path)
            if found is None:
                self.bare(slot)
            else:
                head, layer, rule = found
                groups.setdefault(head, (layer, rule, []))[2].append(slot)
        for head, (layer, rule, slots) in groups.items():
            self.layer(head, layer, rule, slots)

    def layer(self, head: Path, layer: Any, rule: Any, slots: list[Slot]) -> None:
        tails = {slot: dotted(slot.path[len(head) :]) for slot in slots}
        where = f"{dotted(head) or 'the model'} ({type(layer).__name__})"
        try:
            answer = rules_of.apply_rule(rule, layer, {tails[s]: s.shape for s in slots})
        except (ValueError, KeyError) as error:
            self.unknown(slots, f"{where}: {error}")
            return
        for slot in slots:
            leaf = answer.leaves.get(tails[slot])
            if leaf is None:
                self.unknown([slot], f"{where} has a parameter {tails[slot]!r} without a rule")
            else:
                self.leaf(slot, head, leaf)
        for name in answer.torch_only:
            self.counter(self.key(head, name))

    def counter(self, key: str) -> None:
        note = "torch's counter, kept aside"
        if self.infos is None:
            self.add(Entry("counter", (key,), None, torch_shape=(), dtype="int64", note=note))
        elif key in self.infos:
            info = self.infos[key]
            shape = tuple(info.shape)
            self.add(Entry("counter", (key,), None, torch_shape=shape, dtype=info.dtype, note=note))

    def leaf(self, slot: Slot, head: Path, leaf: rules_of.Leaf) -> None:
        key = self.key(head, leaf.torch)
        tail = slot.path[len(head) :]
        shared = []
        for alias in self.structure.aliases.get(slot.path, ()):
            if alias[-len(tail) :] == tail:
                shared.append(self.key(alias[: -len(tail)], leaf.torch))
        if self.infos is None:
            self.exported(slot, key, shared, leaf.op)
            return
        present = [k for k in dict.fromkeys((key, *shared)) if k in self.infos]
        if present:
            self.found(slot, present[0], leaf.op)
            for other in present[1:]:
                info = self._info(other)
                note = f"shares its data with {present[0]}"
                self.add(
                    Entry(
                        "alias",
                        (other, present[0]),
                        None,
                        torch_shape=info.shape,
                        dtype=info.dtype,
                        note=note,
                    )
                )
            return
        for magnitude, direction in _weight_norms(key):
            if magnitude in self.infos and direction in self.infos:
                self.folded(slot, magnitude, direction, leaf.op)
                return
        self.add(Entry("missing", (key,), slot.name, leaf.op, None, slot.shape, slot.dtype))

    def exported(self, slot: Slot, key: str, shared: list[str], op: ops.Op) -> None:
        """No checkpoint: the leaf says what torch's tensor will be."""
        shape = op.torch_shape(slot.shape)
        self.add(Entry("ok", (key,), slot.name, op, shape, slot.shape, slot.dtype))
        for other in dict.fromkeys(shared):
            note = f"shares its data with {key}"
            entry = Entry("alias", (other, key), None, torch_shape=shape, dtype=slot.dtype)
            self.add(replace(entry, note=note))

    def found(self, slot: Slot, key: str, op: ops.Op) -> None:
        info = self._info(key)
        try:
            shape: Any = op.shape(info.shape)
            reason = "" if shape == slot.shape else f"it would become {shape}"
        except ops.ShapeRefused as error:
            reason = str(error)
        status = "mismatched" if reason else "ok"
        note = reason and (
            f"size mismatch for {key}: copying a param with shape {tuple(info.shape)} from "
            f"checkpoint, the shape in current model is {slot.shape} at {slot.name} ({reason})."
        )
        self.add(Entry(status, (key,), slot.name, op, info.shape, slot.shape, info.dtype, note))

    def folded(self, slot: Slot, magnitude: str, direction: str, op: ops.Op) -> None:
        info = self._info(direction)
        note = f"weight norm of {magnitude} and {direction} is folded: import only"
        try:
            fits = op.shape(info.shape) == slot.shape
        except ops.ShapeRefused:
            fits = False
        if not fits:
            note = (
                f"size mismatch for {direction}: copying a param with shape {tuple(info.shape)} "
                f"from checkpoint, the shape in current model is {slot.shape} at {slot.name}."
            )
        status = "folded" if fits else "mismatched"
        keys = (direction, magnitude)
        self.add(Entry(status, keys, slot.name, op, info.shape, slot.shape, info.dtype, note))

    def bare(self, slot: Slot) -> None:
        """A parameter directly on a module without a rule: by exact name and shape, or not."""
        module = slot.path[:-1]
        while module not in self.structure.layers and module:
            module = module[:-1]
        owner = self.structure.layers.get(module)
        kind = type(owner)
        key = self.key(module, dotted(slot.path[len(module) :]))
        built_in = kind.__module__.split(".")[0] == "flax" and not isinstance(owner, _CONTAINERS)
        if not built_in and self.infos is None:
            self.exported(slot, key, [], ops.Identity())
            return
        if built_in or key not in (self.infos or {}):
            where = dotted(module) or "the model itself"
            self.unknown(
                [slot],
                f"{where} ({kind.__module__}.{kind.__qualname__}) holds {slot.path[-1]!r} of shape "
                f"{slot.shape}, and no rule names it; a bare parameter is found by the exact name "
                f"{key!r}. Tell with @jaxgroups.convert.register({kind.__name__})",
            )
            return
        self.found(slot, key, ops.Identity())

    def unknown(self, slots: Iterable[Slot], note: str) -> None:
        for slot in slots:
            entry = Entry("unknown", (), slot.name, flax_shape=slot.shape, dtype=slot.dtype)
            self.entries.append(replace(entry, note=note))

    # --- what is left ----------------------------------------------------------------------

    def leftovers(self, ignore: Iterable[str], aliases: Mapping[str, str]) -> None:
        patterns = [re.compile(pattern) for pattern in ignore]
        for key, info in (self.infos or {}).items():
            if key in self.claimed:
                continue
            status, note = "unexpected", ""
            if any(pattern.fullmatch(key) for pattern in patterns):
                status = "ignored"
            elif aliases.get(key) in self.claimed:
                status, note = "alias", f"shares its data with {aliases[key]}"
            keys = (key, aliases[key]) if status == "alias" else (key,)
            self.add(Entry(status, keys, None, torch_shape=info.shape, dtype=info.dtype, note=note))

    def ambiguities(self) -> None:
        """Two leaves may share a tensor only as different parts of it."""
        for key, entries in list(self.claimed.items()):
            leaves = [e for e in entries if e.flax and e.status in ("ok", "folded")]
            parts = [ops.part_of(e.op) for e in leaves]
            if len(leaves) > 1 and len(set(parts)) < len(parts):
                paths = ", ".join(str(e.flax) for e in leaves)
                note = f"{key} is claimed by {paths}"
                self.entries.append(Entry("ambiguous", (key,), None, note=note))

    def hints(self) -> list[str]:
        """Near misses: for the message only, never applied."""
        missing = [e for e in self.entries if e.status == "missing"]
        free = {e.torch[0]: e.torch_shape for e in self.entries if e.status == "unexpected"}
        hints = []
        for wrapper in ("module.", "_orig_mod.", "model."):
            if missing and all(wrapper + e.torch[0] in free for e in missing):
                hints.append(f'all keys begin with "{wrapper}": pass prefix="{wrapper}"')
                return hints
        for entry in missing[:20]:
            close = get_close_matches(entry.torch[0], free, n=1, cutoff=0.8)
            if close:
                hints.append(f'missing "{entry.torch[0]}" is close to unexpected "{close[0]}"')
        return hints


def _as_rule(rule: Any) -> Any:
    return rule.rule if isinstance(rule, FlattenLinear) else rule


class FlattenLinear:
    """For ``rules=``: a Linear fed by a flattened (C, H, W) feature map, (H, W, C) in Flax."""

    def __init__(self, c: int, h: int, w: int) -> None:
        self.rule = rules_of.flatten_linear(c, h, w)


def _weight_norms(key: str) -> list[tuple[str, str]]:
    """Torch's two spellings of a weight norm on `key`: (magnitude, direction)."""
    module, _, leaf = key.rpartition(".")
    front = f"{module}." if module else ""
    return [
        (f"{key}_g", f"{key}_v"),
        (
            f"{front}parametrizations.{leaf}.original0",
            f"{front}parametrizations.{leaf}.original1",
        ),
    ]


def build(
    structure: Structure,
    infos: Mapping[str, Any] | None,
    aliases: Mapping[str, str],
    *,
    names: Names = None,
    rules: Mapping[str, Any] | None = None,
    ignore: Iterable[str] = (),
    prefix: str = "",
) -> Plan:
    """The plan that joins a structure with a checkpoint's tensors; None: a plan for export."""
    builder = Builder(structure, infos, names, rules or {}, prefix)
    builder.run()
    builder.leftovers(ignore, aliases)
    builder.ambiguities()
    return Plan(structure.name, builder.entries, hints=builder.hints())
