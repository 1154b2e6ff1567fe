"""The parts of a model that need a torch name, and the modules of a checkpoint that fit them."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jaxgroups.convert._files import TensorInfo
from jaxgroups.convert._model.names import TorchNames, strip_collection
from jaxgroups.convert._model.structure import Path, Structure
from jaxgroups.convert._plan.match import classify, find_tensors
from jaxgroups.convert._plan.resolve import (
    Constant,
    Counter,
    Problem,
    Target,
    resolve_names,
    resolve_rules,
)

Infos = Mapping[str, TensorInfo]
_PARAMETRIZED = "parametrizations."


@dataclass
class Unit:
    """A layer, or a parameter outside any layer, for which torch has one name.

    Attributes:
      path: its Flax path.
      wanted: the parameters that each of its torch tensors fills, by the name of the tensor; the
        name is "" for a parameter outside any layer.
      torch_only: names of tensors that only torch has.
    """

    path: Path
    wanted: dict[str, list[Target]] = field(default_factory=lambda: defaultdict(list))
    torch_only: set[str] = field(default_factory=set)

    @property
    def is_parameter(self) -> bool:
        return "" in self.wanted

    @property
    def signature(self) -> Any:
        """Equal for units that fit the same modules."""
        parts = (
            (name, repr(t.op), t.param.shape, t.param.dtype)
            for name, targets in self.wanted.items()
            for t in targets
        )
        return tuple(sorted(parts)), tuple(sorted(self.torch_only))

    def __str__(self) -> str:
        params = [t.param for targets in self.wanted.values() for t in targets]
        return ", ".join(f"{param.name} {param.shape}" for param in params)


class _Numbers(TorchNames):
    """Numbers in place of torch names, so that a key gives the path and the tensor's own name."""

    def __init__(self, structure: Structure) -> None:
        super().__init__(structure, None, "")
        self.paths: list[Path] = []

    def of(self, path: Path) -> str:
        self.paths.append(path)
        return str(len(self.paths) - 1)

    def explicit_name(self, path: Path) -> None:
        return None


def units_of(structure: Structure, rules: Mapping[str, Any]) -> tuple[list[Unit], list[str]]:
    """The units of a model, and notes on its parameters that have no rule."""
    by_path = {strip_collection(structure, path): rule for path, rule in rules.items()}
    numbers = _Numbers(structure)
    units: dict[Path, Unit] = {}
    problems = []
    for item in resolve_names(structure, resolve_rules(structure, by_path), numbers):
        if isinstance(item, Problem):
            problems.append(item.note)
            continue
        if isinstance(item, Constant):  # torch has no name for it
            continue
        number, _, tensor = item.keys[0].partition(".")
        path = numbers.paths[int(number)]
        unit = units.setdefault(path, Unit(path))
        if isinstance(item, Counter):
            unit.torch_only.add(tensor)
        else:
            unit.wanted[tensor].append(item)
    return [unit for unit in units.values() if unit.wanted], problems


class Modules:
    """The modules of a checkpoint, according to its keys.

    Args:
      structure: the structure of the model that its tensors are for.
      infos: shape and dtype of the tensors by key.
      aliases: keys that share another key's memory, and that key.
    """

    def __init__(self, structure: Structure, infos: Infos, aliases: Mapping[str, str]) -> None:
        self._structure = structure
        self._infos = infos
        self._found: dict[Any, dict[str, frozenset[str]]] = {}
        self._place = {key: n for n, key in enumerate(infos)}
        self._first: dict[str, int] = {}
        self.keys: dict[str, set[str]] = defaultdict(set)
        for key in infos:
            self.keys[_module(key)].add(key)
        self.shared = {
            module for module, keys in self.keys.items() if all(key in aliases for key in keys)
        }

    def fitting(self, unit: Unit) -> dict[str, frozenset[str]]:
        """The names under which all tensors of a unit fit, and the keys that each would use."""
        signature = unit.signature
        if signature not in self._found:
            keys = {name: self._used(unit, name) for name in self._names(unit)}
            self._found[signature] = {name: used for name, used in keys.items() if used}
            for name, used in self._found[signature].items():
                self._first.setdefault(name, min(map(self._place.__getitem__, used)))
        return self._found[signature]

    def place(self, name: str) -> int:
        """The position in the checkpoint of the first tensor of a module that fits some unit."""
        return self._first[name]

    def in_order(self) -> list[str]:
        """The names that fit some unit, in the order of the checkpoint."""
        return sorted(self._first, key=self.place)

    def _names(self, unit: Unit) -> list[str]:
        """The modules with tensors of the names that the unit needs."""
        if unit.is_parameter:
            return list(self._infos)
        tensor = min(unit.wanted, key=lambda name: name.count("."))
        inner = tensor.rpartition(".")[0]
        if not inner:
            return list(self.keys)
        modules = (module for module in self.keys if f".{module}".endswith(f".{inner}"))
        return [module[: -len(inner)].removesuffix(".") for module in modules]

    def _used(self, unit: Unit, name: str) -> frozenset[str]:
        """The keys that the unit would use in a module; none if one does not fit or is left."""
        used = set()
        for tensor, targets in unit.wanted.items():
            key = ".".join(part for part in (name, tensor) if part)
            for target in targets:
                # the name of the added tensor begins with a number, as in `_Numbers`
                added = tuple(
                    ".".join(part for part in (name, plus.partition(".")[2]) if part)
                    for plus in target.plus
                )
                found = find_tensors(replace(target, keys=(key,), plus=added), self._infos)
                entries = classify(self._structure, found, self._infos)
                fits = ("ok", "folded", "summed")
                if isinstance(entries, Problem) or entries[0].status not in fits:
                    return frozenset()
                used |= {*entries[0].torch}
        only = {".".join(part for part in (name, t) if part) for t in unit.torch_only}
        left = set() if unit.is_parameter else self.keys.get(name, set()) - used - only
        return frozenset() if left else frozenset(used)


def _module(key: str) -> str:
    """The name of the module that holds a tensor; a parametrization belongs to its tensor."""
    module = key.rpartition(".")[0]
    front, found, _ = f"{module}.".rpartition(f".{_PARAMETRIZED}")
    if found:
        return front
    return "" if module.startswith(_PARAMETRIZED) else module
