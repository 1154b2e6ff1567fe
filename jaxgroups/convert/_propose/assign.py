"""One module of the checkpoint for each unit of the model, and what that stands on."""

from bisect import bisect, bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jaxgroups.convert._propose.likeness import likeness, words
from jaxgroups.convert._propose.order import natural
from jaxgroups.convert._propose.units import Modules, Unit

NAME = "equal name"
SHAPE = "only one of its shape"
ORDER_AND_NAME = "order and similar name"
ORDER_OF_ALL = "order, as many on both sides"
ORDER = "order alone"
SIMILAR = "similar name"
SIMILAR_TOO = "name no more similar than others"
LEFT = "only one left of its shape"
Place = tuple[int, int]  # of a unit among the units, and of its module in the checkpoint
_COMPARED = 100_000  # pairs of names in one group, above which they are not compared
_SHOWN = 3


@dataclass(frozen=True)
class Assignment:
    """One unit and its module.

    Attributes:
      evidence: what it stands on, one of the sentences above.
      check: whether the evidence leaves it open: another module or another unit fits as well.
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
    """Assign modules to units: attentions first, then other layers, then single parameters.

    Args:
      units: the units, in the order of definition if it is known.
      modules: the checkpoint's modules.
      default: the torch name that a unit has without a table.
      ordered: whether both sides are in the order of definition. Otherwise names decide.
    """
    found: list[Assignment] = []
    taken: set[str] = set()
    for unit in units:
        used = modules.fitting(unit).get(default(unit), frozenset())
        if used and not used & taken:
            found.append(Assignment(unit, default(unit), NAME))
            taken |= used
    done = {id(a.unit) for a in found}
    groups: list[list[Assignment]] = []
    for unit in units:
        modules.fitting(unit)  # each place is known before any is compared
    beside = _Neighbours(units, modules) if ordered else None
    for stage in range(3):
        rest = [unit for unit in units if id(unit) not in done and _stage(unit) == stage]
        open_ = {id(u): _open(u, modules, taken) for u in rest}
        for group, names in _groups(rest, open_):
            names.sort(key=modules.place if ordered else natural)
            allowed = [[name in open_[id(unit)] for name in names] for unit in group]
            groups.append([])
            for a in _assigned(group, names, allowed, default, modules, beside):
                used = modules.fitting(a.unit)[a.name]
                if not used & taken:
                    groups[-1].append(a)
                    taken |= used
    every = [found, *groups]
    if ordered:
        place = {id(unit): n for n, unit in enumerate(units)}
        at = {id(a): (place[id(a.unit)], modules.place(a.name)) for part in every for a in part}
        sure = [at[id(a)] for part in every for a in part if a.evidence in (NAME, SHAPE)]
        every = [_contradicted(part, sure, at) for part in every]
    return [a for part in every for a in part]


def _contradicted(
    group: list[Assignment], sure: list[Place], at: dict[int, Place]
) -> list[Assignment]:
    """The same, to be checked if their order contradicts that of the sure assignments nearby."""
    kept = longest_increasing(sure)
    rows = [row for row, _ in kept]
    for a in group:
        row, column = at[id(a)]
        if a.evidence in (NAME, SHAPE):
            continue
        n = bisect(rows, row)
        before, after = kept[:n][-1:], kept[n:][:1]
        if any(column < c for _, c in before) or any(column > c for _, c in after):
            return [replace(other, evidence=ORDER, check=True) for other in group]
    return group


def longest_increasing(places: Sequence[Place]) -> list[Place]:
    """The longest run of places, by row, whose columns increase too."""
    ends: list[int] = []
    chain: list[tuple[Place, Any]] = []
    for place in sorted(places):
        n = bisect_left(ends, place[1])
        link = (place, chain[n - 1] if n else None)
        ends[n : n + 1] = [place[1]]
        chain[n : n + 1] = [link]
    found, link = [], chain[-1] if chain else None
    while link is not None:
        found.append(link[0])
        link = link[1]
    return found[::-1]


def _stage(unit: Unit) -> int:
    if unit.is_parameter:
        return 2
    return 0 if any("." in tensor for tensor in unit.wanted) else 1


def _open(unit: Unit, modules: Modules, taken: set[str]) -> dict[str, Any]:
    """The modules that fit a unit and are not used yet, without those that share all their data."""
    fitting = modules.fitting(unit)
    return {n: used for n, used in fitting.items() if not used & taken and n not in modules.shared}


def _groups(units: list[Unit], open_: dict[int, Any]) -> list[tuple[list[Unit], list[str]]]:
    """Units and the modules they compete for; no unit fits a module of another group."""
    group_of: dict[str, int] = {}
    groups: dict[int, list[Unit]] = {}
    for number, unit in enumerate(units):
        members = [unit]
        for old in {group_of[name] for name in open_[id(unit)] if name in group_of}:
            members = [*groups.pop(old), *members]
        groups[number] = members
        for member in members:
            group_of.update(dict.fromkeys(open_[id(member)], number))
    place = {id(unit): n for n, unit in enumerate(units)}
    result = []
    for members in groups.values():
        names = dict.fromkeys(name for unit in members for name in open_[id(unit)])
        if names:
            result.append((sorted(members, key=lambda u: place[id(u)]), list(names)))
    return result


def _assigned(
    group: list[Unit],
    names: list[str],
    allowed: list[list[bool]],
    default: Callable[[Unit], str],
    modules: Modules,
    beside: "_Neighbours | None",
) -> list[Assignment]:
    if len(group) == len(names) == 1:
        rivals = [n for n in modules.fitting(group[0]) if n != names[0] and n not in modules.shared]
        if not rivals:
            return [Assignment(group[0], names[0], SHAPE)]
    small = len(group) * len(names) <= _COMPARED
    ours = words([default(unit) for unit in group])
    theirs = words(names)

    def alike(unit: Unit, name: str) -> float:
        return likeness(ours[default(unit)], theirs[name]) if small else 0.0

    scores = [[alike(unit, name) for name in names] for unit in group]
    if beside is None:
        pairs = _by_likeness(allowed, scores)
    else:
        also = [[beside(unit, name) for name in names] for unit in group]
        pairs = _in_order(
            allowed, [[*map(sum, zip(*row, strict=True))] for row in zip(scores, also, strict=True)]
        )
    ordering = ORDER_OF_ALL if len(pairs) == len(group) == len(names) else ORDER
    result = []
    for i, j in pairs:
        rivals = [(scores[i][n], names[n]) for n in range(len(names)) if n != j and allowed[i][n]]
        contested = [scores[m][j] for m in range(len(group)) if m != i and allowed[m][j]]
        clear = all(scores[i][j] > score for score in [*contested, *(score for score, _ in rivals)])
        if beside is not None:
            evidence, check = (ORDER_AND_NAME, False) if clear else (ordering, True)
        else:  # a name that is the most similar one may still be another layer's
            evidence, check = SIMILAR if clear else SIMILAR_TOO, True
        if len(group) == len(names) == 1:
            evidence, check = LEFT, True
        near = sorted(rivals, key=lambda rival: -rival[0])[:_SHOWN]
        others = tuple(name for _, name in near)
        result.append(Assignment(group[i], names[j], evidence, check, others))
    return result


class _Neighbours:
    """Whether the modules beside a module fit the units beside a unit: more so those before it."""

    def __init__(self, units: Sequence[Unit], modules: Modules) -> None:
        self._units = units
        self._fitting = modules.fitting
        self._row = {id(unit): n for n, unit in enumerate(units)}
        self._names = modules.in_order()
        self._column = {name: n for n, name in enumerate(self._names)}

    def __call__(self, unit: Unit, name: str) -> float:
        row, column = self._row[id(unit)], self._column[name]
        return 2 * self._fits(row - 1, column - 1) + self._fits(row + 1, column + 1)

    def _fits(self, row: int, column: int) -> bool:
        inside = 0 <= row < len(self._units) and 0 <= column < len(self._names)
        return inside and self._names[column] in self._fitting(self._units[row])


def _in_order(allowed: list[list[bool]], scores: list[list[float]]) -> list[tuple[int, int]]:
    """As many pairs as possible that keep the order of both sides; among those, the likest."""
    rows, columns = len(allowed), len(allowed[0])
    best = [[(0, 0.0)] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            options = [best[i + 1][j], best[i][j + 1]]
            if allowed[i][j]:
                count, score = best[i + 1][j + 1]
                options.append((count + 1, score + scores[i][j]))
            best[i][j] = max(options)
    pairs, i, j = [], 0, 0
    while i < rows and j < columns:
        count, score = best[i + 1][j + 1]
        if allowed[i][j] and best[i][j] == (count + 1, score + scores[i][j]):
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs


def _by_likeness(allowed: list[list[bool]], scores: list[list[float]]) -> list[tuple[int, int]]:
    """The likest pair first; of pairs that are as like, those at the same place."""
    candidates = [
        (-scores[i][j], abs(i - j), i, j)
        for i, row in enumerate(allowed)
        for j, fits in enumerate(row)
        if fits
    ]
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for _, _, i, j in sorted(candidates):
        if i not in pairs and j not in taken:
            pairs[i] = j
            taken.add(j)
    return sorted(pairs.items())
