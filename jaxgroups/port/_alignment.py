"""Whether one body is another one without some of its parts."""

from dataclasses import dataclass
from typing import Any

from jaxgroups.port._expr import Expr, Instance, Lit, Make, Named, Self, Use
from jaxgroups.port._graph import Ref


@dataclass(frozen=True)
class Alignment:
    """Which parts of a larger body a smaller one has.

    Attributes:
      statements: by statement of the larger body the place of the smaller one's, or None.
    """

    statements: tuple[int | None, ...]


def align(large: Instance, small: Instance) -> Alignment | None:
    """How the smaller body lies in the larger one; None if it does not.

    A statement of the larger body may be left out if it makes one value of one other value, in the
    same order of axes: then the result stands for that other value.
    """
    if [_plain(n) for n in large.parameters] != [_plain(n) for n in small.parameters]:
        return None
    if large.base is not None or small.base is not None:
        return None
    if not all(path in large.children for path in small.children):
        return None
    values: dict[int, int] = {}
    if not _same(list(large.parameters.values()), list(small.parameters.values()), values, True):
        return None
    for path, make in small.children.items():
        if not _same(large.children[path], make, values, False):
            return None
    found: list[int | None] = []
    j = 0
    for statement in large.statements:
        other = small.statements[j] if j < len(small.statements) else None
        if other is not None and _same(statement.expr, other.expr, values, False):
            if not _same(statement.target, other.target, values, True):
                return None
            found.append(j)
            j += 1
            continue
        uses = {*statement.expr.uses()}
        if not statement.keeps or len(uses) != 1 or not isinstance(statement.target, Ref):
            return None
        (read,) = uses
        if read not in values or _shared(statement, small):
            return None
        values[statement.target.number] = values[read]
        found.append(None)
    if j != len(small.statements) or None not in found:
        return None
    return Alignment(tuple(found)) if _same(large.returns, small.returns, values, False) else None


def _plain(name: str) -> str:
    return "" if name.startswith("_") else name


def _shared(statement: Any, small: Instance) -> bool:
    """Whether the statement reads an array or child that the smaller body has too."""
    return any(
        isinstance(part, Self) and part.path in small.children for part in statement.expr.parts
    )


def _same(a: Any, b: Any, values: dict[int, int], new: bool) -> bool:
    """Whether two parts are alike up to settings; `new` enters their values as the same."""
    if isinstance(a, Use | Ref):
        if type(a) is not type(b):
            return False
        if new:
            return values.setdefault(a.number, b.number) == b.number
        return values.get(a.number) == b.number
    if type(a) is not type(b):
        return False
    if isinstance(a, Named):
        return a.lit.name == b.lit.name
    if isinstance(a, Lit):
        return a.name == b.name
    if isinstance(a, Self):
        return a.path == b.path
    if isinstance(a, Expr):
        return a.atom == b.atom and _same(a.parts, b.parts, values, new)
    if isinstance(a, Make):
        if isinstance(a.target, Instance) != isinstance(b.target, Instance):
            return False
        targets = (
            a.target.group is b.target.group
            if isinstance(a.target, Instance)
            else a.target == b.target
        )
        names = [n for n, _ in a.arguments] == [n for n, _ in b.arguments]
        parts = ([x for _, x in a.arguments], [x for _, x in b.arguments])
        return targets and names and _same(*parts, values, new)
    if isinstance(a, dict):
        return list(a) == list(b) and _same(list(a.values()), list(b.values()), values, new)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_same(x, y, values, new) for x, y in zip(a, b, strict=True))
    return a == b
