"""One module of the checkpoint for each unit of the model, with the evidence."""

from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from jaxgroups.convert._propose.likeness import likeness, words
from jaxgroups.convert._propose.order import natural
from jaxgroups.convert._propose.pairs import Place, best_first, in_order, longest_increasing
from jaxgroups.convert._propose.units import Modules, Unit

NAME = "equal name"
SHAPE = "only one of its shape"
ORDER_AND_NAME = "order and similar name"
ORDER_OF_ALL = "order, as many on both sides"
ORDER = "order alone"
SIMILAR = "similar name"
SIMILAR_TOO = "name no more similar than others"
LEFT = "only one left of its shape"
_COMPARED = 100_000  # pairs in one group above which names are not compared
_PAIRED = 4_000_000  # pairs in one group above which nothing is assigned
_SHOWN = 3


@dataclass(frozen=True)
class Assignment:
    """One unit and its module.

    Attributes:
      unit: the unit.
      name: the torch name of the module.
      evidence: one of the phrases above.
      check: whether the user must check it, because another module or another unit fits too.
      others: some of the other modules that fit.
    """

    unit: Unit
    name: str
    evidence: str
    check: bool = False
    others: tuple[str, ...] = ()


def assign(
    units: Sequence[Unit], modules: Modules, default: Callable[[Unit], str], *, ordered: bool
) -> list[Assignment]:
    """Assign modules to units: by their names, then attentions, layers and single parameters.

    Args:
      units: the units, in the order of definition if it is known.
      modules: the checkpoint's modules.
      default: the torch name that a unit has without a table.
      ordered: whether both sides are in the order of definition. Otherwise names decide.
    """
    work = _Assigning(units, modules, default, ordered)
    parts = [work.equal_names()]
    done = {id(a.unit) for a in parts[0]}
    for stage in range(3):
        rest = [unit for unit in units if id(unit) not in done and _stage(unit) == stage]
        parts += [work.group(group, names) for group, names in work.groups(rest)]
    if ordered:
        row = {id(unit): n for n, unit in enumerate(units)}
        at = {id(a): (row[id(a.unit)], modules.place(a.name)) for part in parts for a in part}
        sure = [at[id(a)] for part in parts for a in part if a.evidence in (NAME, SHAPE)]
        parts = [_contradicted(part, sure, at) for part in parts]
    return [a for part in parts for a in part]


def _stage(unit: Unit) -> int:
    if unit.is_parameter:
        return 2
    return 0 if any("." in tensor for tensor in unit.wanted) else 1


class _Assigning:
    """The state of an assignment: the keys in use, and the words of the names on both sides."""

    def __init__(
        self,
        units: Sequence[Unit],
        modules: Modules,
        default: Callable[[Unit], str],
        ordered: bool,
    ) -> None:
        self.units = units
        self.modules = modules
        self.default = default
        self.ordered = ordered
        self.in_use: set[str] = set()
        self.sure: set[str] = set()  # the keys in use that fit no other unit
        for unit in units:
            modules.fitting(unit)  # so that the names below are complete
        self.names = modules.in_order()
        self._row = {id(unit): n for n, unit in enumerate(units)}
        self._column = {name: n for n, name in enumerate(self.names)}
        self._words = words(self.names)
        self._default_words = words({default(unit) for unit in units})

    def equal_names(self) -> list[Assignment]:
        """The assignments of units that fit the module of their own name."""
        result = []
        for unit in self.units:
            name = self.default(unit)
            used = self.modules.fitting(unit).get(name, frozenset())
            if used and not used & self.in_use:
                result.append(Assignment(unit, name, NAME))
                self.in_use |= used
        return result

    def groups(self, units: list[Unit]) -> list[tuple[list[Unit], list[str]]]:
        """Units, and the modules that they fit, in groups that have no module in common."""
        group_of: dict[str, int] = {}
        groups: dict[int, list[Unit]] = {}
        for number, unit in enumerate(units):
            members = [unit]
            for old in {group_of[name] for name in self._open(unit) if name in group_of}:
                members = [*groups.pop(old), *members]
            groups[number] = members
            for member in members:
                group_of.update(dict.fromkeys(self._open(member), number))
        result = []
        for members in groups.values():
            names = {name for unit in members for name in self._open(unit)}
            if names and len(names) * len(members) <= _PAIRED:
                members.sort(key=lambda unit: self._row[id(unit)])
                place = self.modules.place if self.ordered else natural
                result.append((members, sorted(names, key=place)))
        return result

    def _open(self, unit: Unit) -> list[str]:
        """The modules that fit and are not in use, without those that share all their data."""
        return [
            name
            for name, used in self.modules.fitting(unit).items()
            if not used & self.in_use and name not in self.modules.shared
        ]

    def group(self, units: list[Unit], names: list[str]) -> list[Assignment]:
        """The assignments of one group."""
        if len(units) == len(names) == 1:
            rivals = self._rivals(units[0], names[0])
            found = [Assignment(units[0], names[0], LEFT if rivals else SHAPE, bool(rivals))]
        else:
            found = self._paired(units, names)
        in_use = [a for a in found if not self.modules.fitting(a.unit)[a.name] & self.in_use]
        for a in in_use:
            used = self.modules.fitting(a.unit)[a.name]
            self.in_use |= used
            self.sure |= used if a.evidence == SHAPE else set()
        return in_use

    def _rivals(self, unit: Unit, name: str) -> list[str]:
        """Other modules that fit, assigned ones too, except those that fit no other unit."""
        fitting = self.modules.fitting(unit).items()
        excluded = {name, *self.modules.shared}
        return [other for other, used in fitting if other not in excluded and not used & self.sure]

    def _paired(self, units: list[Unit], names: list[str]) -> list[Assignment]:
        allowed = [[name in self.modules.fitting(unit) for name in names] for unit in units]
        few = len(units) * len(names) <= _COMPARED
        alike = [[self._alike(u, name) if few else 0.0 for name in names] for u in units]
        if self.ordered:
            scores = [
                [score + self._beside(unit, name) for score, name in zip(row, names, strict=True)]
                for unit, row in zip(units, alike, strict=True)
            ]
            pairs = in_order(allowed, scores)
        else:
            pairs = best_first(allowed, alike)
        complete = len(pairs) == len(units) == len(names)
        found = []
        for i, j in pairs:
            row = sorted((-alike[i][n], names[n]) for n in range(len(names)) if allowed[i][n])
            others = tuple(name for _, name in row if name != names[j])[:_SHOWN]
            rivals = [alike[i][n] for n in range(len(names)) if n != j and allowed[i][n]]
            rivals += [alike[m][j] for m in range(len(units)) if m != i and allowed[m][j]]
            clear = all(alike[i][j] > score for score in rivals)
            if self.ordered:
                evidence = ORDER_AND_NAME if clear else ORDER_OF_ALL if complete else ORDER
            else:
                evidence = SIMILAR if clear else SIMILAR_TOO
            check = evidence != ORDER_AND_NAME
            found.append(Assignment(units[i], names[j], evidence, check, others))
        return found

    def _alike(self, unit: Unit, name: str) -> float:
        return likeness(self._default_words[self.default(unit)], self._words[name])

    def _beside(self, unit: Unit, name: str) -> float:
        """A score for the neighbours of a module that fit the neighbours of a unit.

        The one before has more weight, since a norm comes after its convolution.
        """
        row, column = self._row[id(unit)], self._column[name]
        return 2.0 * self._fits(row - 1, column - 1) + self._fits(row + 1, column + 1)

    def _fits(self, row: int, column: int) -> bool:
        inside = 0 <= row < len(self.units) and 0 <= column < len(self.names)
        return inside and self.names[column] in self.modules.fitting(self.units[row])


def _contradicted(
    group: list[Assignment], sure: list[Place], at: dict[int, Place]
) -> list[Assignment]:
    """The group, marked to be checked if its order contradicts that of the sure assignments."""
    kept = longest_increasing(sure)
    rows = [row for row, _ in kept]
    for a in group:
        row, column = at[id(a)]
        n = bisect(rows, row)
        before, after = kept[:n][-1:], kept[n:][:1]
        crossed = any(column < c for _, c in before) or any(column > c for _, c in after)
        if crossed and a.evidence in (ORDER_AND_NAME, ORDER_OF_ALL, ORDER):
            return [replace(other, evidence=ORDER, check=True) for other in group]
    return group
