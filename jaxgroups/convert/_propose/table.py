"""The shortest table of names that gives every unit its module.

A line of `names=` holds for everything below its path, whose names are not changed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxgroups.convert._model.structure import Path
from jaxgroups.convert._propose.assign import Assignment

Parts = tuple[str, ...]


@dataclass(frozen=True)
class Branch:
    """One line: a Flax path, its torch name, and the assignments that it covers."""

    path: Path
    name: str
    assignments: tuple[Assignment, ...]


def table(
    assignments: Sequence[Assignment], default: Callable[[Path], Parts]
) -> tuple[str, list[Branch]]:
    """The prefix of all names ("" if none helps), and the lines.

    Args:
      assignments: units and their modules.
      default: the parts of the torch name that a path has without a table.
    """
    wanted = [(a, _parts(a.name)) for a in assignments]
    best: tuple[str, list[Branch]] | None = None
    for length in range(_shared(wanted) + 1):
        if any(not a.unit.path and len(parts) > length for a, parts in wanted):
            continue  # no line can name the model itself
        stripped = [(a, parts[length:]) for a, parts in wanted]
        lines = _branch((), (), stripped, default)
        if best is None or len(lines) < len(best[1]):
            best = "".join(f"{part}." for part in wanted[0][1][:length]) if length else "", lines
    return best or ("", [])


def _parts(name: str) -> Parts:
    return tuple(name.split(".")) if name else ()


def _shared(wanted: Sequence[tuple[Assignment, Parts]]) -> int:
    """The length of the prefix that all names share, without the last part of a parameter."""
    if not wanted:
        return 0
    first = wanted[0][1]
    length = min(len(parts) - a.unit.is_parameter for a, parts in wanted)
    return next((n for n in range(length) if any(p[n] != first[n] for _, p in wanted)), length)


def _branch(
    path: Path,
    given: Parts,
    wanted: Sequence[tuple[Assignment, Parts]],
    default: Callable[[Path], Parts],
) -> list[Branch]:
    """The lines at a path and below it, given the name `given` that the lines above result in."""
    here = len(default(path))
    fronts = {_front(parts, default(a.unit.path)[here:]) for a, parts in wanted}
    if fronts == {given}:
        return []
    (front,) = fronts if len(fronts) == 1 else (None,)
    if front is not None and path:
        return [Branch(path, ".".join(front), tuple(a for a, _ in wanted))]
    lines = []
    below: dict[Path, list[tuple[Assignment, Parts]]] = {}
    for a, parts in wanted:
        below.setdefault(a.unit.path[: len(path) + 1], []).append((a, parts))
    for child, inside in below.items():
        if child != path:
            lines += _branch(child, (*given, *default(child)[here:]), inside, default)
    return lines


def _front(parts: Parts, rest: Parts) -> Parts | None:
    """The parts before the unchanged rest of a name; None if the rest is changed."""
    if not rest:
        return parts
    return parts[: -len(rest)] if parts[-len(rest) :] == rest else None
