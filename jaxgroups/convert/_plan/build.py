"""From a structure and a checkpoint to a plan: every leaf gets its tensor, or its problem."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from jaxgroups.convert._files import TensorInfo
from jaxgroups.convert._model.names import Names, bare, told, torch_name
from jaxgroups.convert._model.structure import Path, Slot, Structure, dotted
from jaxgroups.convert._plan import leftovers
from jaxgroups.convert._plan.misfits import is_magnitude, misfit, weight_norms
from jaxgroups.convert._plan.plan import Entry, Plan
from jaxgroups.convert._rules import layers as rules_of
from jaxgroups.convert._rules import ops


class FlattenLinear:
    """For ``rules=``: a Linear fed by a flattened (C, H, W) feature map, (H, W, C) in Flax."""

    def __init__(self, c: int, h: int, w: int) -> None:
        self.rule = rules_of.flatten_linear(c, h, w)


class _Nameless(Exception):
    """The user's names leave a path without one; already among the problems."""


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
        self.rules = {bare(structure, path): rule for path, rule in rules.items()}
        self.prefix = prefix
        self.entries: list[Entry] = []
        self.claimed: dict[str, list[Entry]] = defaultdict(list)
        self.named: set[str] = set()  # paths that names were asked for
        self.ruled: set[str] = set()  # paths whose rule was applied
        self.unruled: dict[type, list[Slot]] = defaultdict(list)
        self.ways: dict[Slot, Path] = {}
        self._nameless: set[Path] = set()

    # --- names -----------------------------------------------------------------------------

    def name(self, path: Path) -> str:
        self.named |= {dotted(path[:length]) for length in range(1, len(path) + 1)}
        try:
            return torch_name(self.structure, path, self.names, self.prefix)
        except ValueError as error:
            if path not in self._nameless:
                self._nameless.add(path)
                self.entries.append(Entry("ambiguous", (), None, note=str(error)))
            raise _Nameless from error

    def key(self, module: Path, leaf: str, path: Path | None = None) -> str:
        """Torch's key of a layer's leaf; `path` of the leaf, which `names` may tell by itself."""
        if path is not None:
            self.named.add(dotted(path))
            exact = told(self.structure, self.names, path)
            if exact is not None:
                return self.prefix + exact
        front = self.name(module)
        return f"{front}.{leaf}" if front and not front.endswith(".") else front + leaf

    # --- layers ----------------------------------------------------------------------------

    def owner(self, path: Path) -> tuple[Path, Any, Any] | None:
        """Who knows what a leaf is: the nearest rule that the user gave, or the outermost layer.

        A layer with a rule knows what is inside it. So does one of Flax's own without a rule: its
        parts have no names of their own in torch.
        """
        heads = [path[:length] for length in range(len(path) + 1)]
        for head in reversed(heads):
            rule = self.rules.get(dotted(head))
            if rule is not None:
                self.ruled.add(dotted(head))
                rule = rule.rule if isinstance(rule, FlattenLinear) else rule
                return head, self.structure.at(head), rule
        for head in heads:
            layer = self.structure.at(head)
            if layer is not None:
                rule = rules_of.rule_of(layer)
                if rule is not None or rules_of.is_built_in(layer):
                    return head, layer, rule
        return None

    def way(self, slot: Slot) -> Path:
        """By which of its paths a leaf is told: one with a rule, if it is shared."""
        paths = [slot.path, *self.structure.aliases.get(slot.path, ())]
        ruled = [p for p in paths if any(dotted(p[:n]) in self.rules for n in range(len(p) + 1))]
        return next((p for p in (*ruled, *paths) if self.owner(p) is not None), slot.path)

    def run(self) -> None:
        groups: dict[Path, tuple[Any, Any, list[Slot]]] = {}
        self.ways = {slot: self.way(slot) for slot in self.structure.slots}
        for slot, path in self.ways.items():
            found = self.owner(path)
            if found is None:
                self.bare(slot)
            else:
                head, layer, rule = found
                groups.setdefault(head, (layer, rule, []))[2].append(slot)
        for head, (layer, rule, slots) in groups.items():
            self.layer(head, layer, rule, slots)

    def layer(self, head: Path, layer: Any, rule: Any, slots: list[Slot]) -> None:
        tails = {slot: dotted(self.ways[slot][len(head) :]) for slot in slots}
        where = f"{dotted(head) or 'the model'} ({type(layer).__name__})"
        if isinstance(rule, (ops.Op, rules_of.Leaf)):
            self.single(head, rule, slots)
            return
        if rule is None:
            self.unknown(slots, f"{where} has parameters, but no rule", type(layer))
            return
        try:
            answer = rules_of.apply_rule(rule, layer, {tails[s]: s.shape for s in slots})
        except KeyError as error:
            holds = ", ".join(map(repr, tails.values()))
            self.unknown(slots, f"{where}: its rule asks for {error}, but it holds {holds}")
            return
        except ValueError as error:
            self.unknown(slots, f"{where}: {error}")
            return
        for slot in slots:
            leaf = answer.leaves.get(tails[slot])
            if leaf is None:
                note = f"{where} has a parameter {tails[slot]!r} without a rule"
                self.unknown([slot], note, type(layer))
            else:
                self.leaf(slot, head, leaf)
        for name in answer.torch_only:
            self.counter(head, name, slots)

    def single(self, head: Path, rule: Any, slots: list[Slot]) -> None:
        """A rule for one parameter: its operation, or that and its name in torch."""
        if [self.ways[slot] for slot in slots] != [head]:
            holds = ", ".join(dotted(self.ways[slot]) for slot in slots)
            note = f"an operation is the rule of one parameter, but {dotted(head)} holds {holds}"
            self.unknown(slots, note)
            return
        module = self.module_of(head)
        if not isinstance(rule, rules_of.Leaf):
            rule = rules_of.Leaf(self.leaf_name(module, dotted(head[len(module) :])), rule)
        self.leaf(slots[0], module, rule)

    def leaf_name(self, module: Path, tail: str) -> str:
        """Torch's name of a layer's leaf by the rule of its type; without one its own."""
        layer = self.structure.layers.get(module)
        rule = rules_of.rule_of(layer) if layer is not None else None
        if rule is None:
            return tail
        inside = [(s, p) for s, p in self.ways.items() if p[: len(module)] == module]
        shapes = {dotted(path[len(module) :]): slot.shape for slot, path in inside}
        try:
            return rules_of.apply_rule(rule, layer, shapes).leaves[tail].torch
        except (KeyError, ValueError):
            return tail

    def module_of(self, path: Path) -> Path:
        while path and path[:-1] not in self.structure.layers:
            path = path[:-1]
        return path[:-1]

    def counter(self, head: Path, name: str, slots: list[Slot]) -> None:
        """What only torch has, once for every name of a layer that is shared."""
        heads = [head, *self.shared(slots[0], head)]
        try:
            keys = list(dict.fromkeys(self.key(path, name) for path in heads))
        except _Nameless:
            return
        if self.infos is not None:
            keys = [key for key in keys if key in self.infos]
        for key in keys:
            info = (self.infos or {}).get(key, TensorInfo((), "int64"))
            if key != keys[0]:
                self.alias(key, keys[0], tuple(info.shape), info.dtype)
                continue
            entry = Entry("counter", (key,), None, torch_shape=tuple(info.shape), dtype=info.dtype)
            self.add(replace(entry, note="torch's counter, kept aside"))

    def shared(self, slot: Slot, head: Path) -> list[Path]:
        """Where else the layer is that has this leaf."""
        tail = self.ways[slot][len(head) :]
        paths = [slot.path, *self.structure.aliases.get(slot.path, ())]
        heads = [path[: -len(tail)] for path in paths if tail and path[-len(tail) :] == tail]
        return [other for other in heads if other != head]

    # --- leaves ----------------------------------------------------------------------------

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        for key in entry.torch:
            self.claimed[key].append(entry)

    def leaf(self, slot: Slot, head: Path, leaf: rules_of.Leaf) -> None:
        path = self.ways[slot]
        tail = path[len(head) :]
        try:
            keys = [self.key(head, leaf.torch, path)]
            for other in self.shared(slot, head):
                keys.append(self.key(other, leaf.torch, (*other, *tail)))
        except _Nameless:
            return
        if self.infos is None:
            self.exported(slot, keys, leaf.op)
        elif not self.imported(slot, keys, leaf.op):
            self.add(Entry("missing", (keys[0],), slot.name, leaf.op, None, slot.shape, slot.dtype))

    def exported(self, slot: Slot, keys: list[str], op: ops.Op) -> None:
        """No checkpoint: the leaf says what torch's tensor will be."""
        key = keys[0]
        try:
            shape = op.torch_shape(slot.shape)
        except ops.ShapeRefused as error:
            entry = Entry("mismatched", (key,), slot.name, op, None, slot.shape, slot.dtype)
            self.add(replace(entry, note=f"size mismatch for {key}: {slot.name}: {error}"))
            return
        self.add(Entry("ok", (key,), slot.name, op, shape, slot.shape, slot.dtype))
        for other in dict.fromkeys(keys[1:]):
            if other != key:
                self.alias(other, key, shape, slot.dtype)

    def imported(self, slot: Slot, keys: list[str], op: ops.Op) -> bool:
        """The tensors of a leaf, under all its names; False where there is none."""
        infos = self.infos or {}
        present = [key for key in dict.fromkeys(keys) if key in infos]
        if present:
            self.found(slot, present[0], op)
            for other in present[1:]:
                self.alias(other, present[0], infos[other].shape, infos[other].dtype)
            return True
        norms = [pair for key in dict.fromkeys(keys) for pair in weight_norms(key)]
        norms = [pair for pair in norms if all(name in infos for name in pair)]
        if norms:
            self.folded(slot, *norms[0], op)
        for pair in norms[1:]:
            for other, kept in zip(pair, norms[0], strict=True):
                self.alias(other, kept, infos[other].shape, infos[other].dtype)
        return bool(norms)

    def alias(self, key: str, kept: str, shape: Any, dtype: str) -> None:
        note = f"shares its data with {kept}"
        self.add(Entry("alias", (key, kept), None, torch_shape=shape, dtype=dtype, note=note))

    def found(self, slot: Slot, key: str, op: ops.Op) -> None:
        info = (self.infos or {})[key]
        note = misfit(slot, key, info, op)
        status = "mismatched" if note else "ok"
        self.add(Entry(status, (key,), slot.name, op, info.shape, slot.shape, info.dtype, note))

    def folded(self, slot: Slot, magnitude: str, direction: str, op: ops.Op) -> None:
        infos = self.infos or {}
        info, norms = infos[direction], infos[magnitude]
        note = misfit(slot, direction, info, op)
        if not note and not is_magnitude(norms.shape, info.shape):
            note = (
                f"size mismatch for {magnitude}: {tuple(norms.shape)} is no magnitude of the "
                f"{tuple(info.shape)} of {direction}: one axis of it, or none, is longer than 1."
            )
        status = "mismatched" if note else "folded"
        note = note or f"weight norm of {magnitude} and {direction} is folded: import only"
        keys = (direction, magnitude)
        self.add(Entry(status, keys, slot.name, op, info.shape, slot.shape, info.dtype, note))

    def bare(self, slot: Slot) -> None:
        """A parameter directly on a module without a rule: by exact name and shape, or not."""
        module = self.module_of(slot.path)
        kind = type(self.structure.layers.get(module))
        try:
            paths = [slot.path, *self.structure.aliases.get(slot.path, ())]
            keys = [self.name(path) for path in paths]
        except _Nameless:
            return
        if self.infos is None:
            self.exported(slot, keys, ops.Identity())
        elif not self.imported(slot, keys, ops.Identity()):
            where = dotted(module) or "the model itself"
            note = (
                f"{where} ({kind.__module__}.{kind.__qualname__}) holds {str(slot.path[-1])!r} of "
                f"shape {slot.shape}, and no rule names it; a bare parameter is found by the exact "
                f"name {keys[0]!r}"
            )
            self.unknown([slot], note, kind)

    def unknown(self, slots: Iterable[Slot], note: str, kind: type | None = None) -> None:
        for slot in slots:
            entry = Entry("unknown", (), slot.name, flax_shape=slot.shape, dtype=slot.dtype)
            self.entries.append(replace(entry, note=note))
            if kind is not None:
                self.unruled[kind].append(slot)


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
    for path, rule in (rules or {}).items():
        if not callable(rule) and not isinstance(rule, (FlattenLinear, ops.Op, rules_of.Leaf)):
            raise TypeError(
                f"rules has {rule!r} for {path!r}, but a rule is a FlattenLinear, an operation, a "
                "Leaf or a function as for register"
            )
    builder = Builder(structure, infos, names, rules or {}, prefix)
    builder.run()
    if infos is not None:
        builder.entries += leftovers.unclaimed(infos, aliases, builder.claimed, ignore)
    builder.entries += leftovers.ambiguous(builder.claimed)
    builder.entries += leftovers.unused(structure, names, rules or {}, builder.named, builder.ruled)
    hints = leftovers.hints(builder.entries) + leftovers.rule_hints(builder.unruled)
    return Plan(structure.name, builder.entries, hints=hints)
