"""Repetitions: calls of one list's items one after the other, and equal constructor calls."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jaxgroups.port._expr import Expr, Instance, Self, Statement, Use
from jaxgroups.port._graph import Ref


@dataclass
class Loop:
    """``for item in self.base: x = expr``.

    Attributes:
      start, last: the value before the loop and after it.
      expr: of the first round; the item is a `Self` whose path ends in ``"*"``.
    """

    base: tuple[str, ...]
    start: int
    last: int
    expr: Expr
    item: str
    hint: Any


def looped(statements: list[Statement], made: Instance) -> list[Any]:
    """The statements, with a `Loop` for calls of all items of a list."""
    found: list[Any] = []
    i = 0
    while i < len(statements):
        loop, count = _loop(statements, i, made)
        if loop is None:
            found.append(statements[i])
            i += 1
        else:
            found.append(loop)
            i += count
    return found


def _loop(statements: list[Statement], i: int, made: Instance) -> tuple[Loop | None, int]:
    first = _item(statements[i])
    if first is None or first[1] != 0:
        return None, 0
    base, _, x = first
    total = len({path[len(base)] for path in made.children if path[: len(base)] == base
                 and len(path) > len(base)})  # fmt: skip
    count = 0
    value = x
    while i + count < len(statements):
        item = _item(statements[i + count])
        if item is None or item[:2] != (base, count) or item[2] != value:
            break
        value = statements[i + count].target.number
        count += 1
    if count < 2 or count != total:
        return None, 0
    used = [n for s in statements for n in s.expr.uses()] + [*_uses(made.returns)]
    inner = [s.target.number for s in statements[i : i + count - 1]]
    if any(used.count(n) != 1 for n in inner):
        return None, 0
    expr = Expr([Self((*base, "*")), "(", Use(x), ")"])
    held = base[-1] if base else ""
    name = held.rstrip("s") if held.endswith("s") and len(held) > 2 else "layer"
    return Loop(base, x, value, expr, name, statements[i].hint), count


def _uses(structure: Any) -> Iterator[int]:
    """The values that a structure of results holds."""
    if isinstance(structure, Use | Ref):
        yield structure.number
    elif isinstance(structure, Expr):
        yield from structure.uses()
    elif isinstance(structure, dict):
        yield from _uses([*structure.values()])
    elif isinstance(structure, list | tuple):
        for one in structure:
            yield from _uses(one)


def _item(statement: Statement) -> tuple[tuple[str, ...], int, int] | None:
    """The list, the place and the argument of ``self.blocks[3](x)``."""
    parts = statement.expr.parts
    if not isinstance(statement.target, Ref) or len(parts) != 4 or statement.why or statement.when:
        return None
    held, opening, x, closing = parts
    if not isinstance(held, Self) or (opening, closing) != ("(", ")") or not isinstance(x, Use):
        return None
    if not held.path[-1].isdigit():
        return None
    return held.path[:-1], int(held.path[-1]), x.number


def repeated(items: list[str]) -> list[str]:
    """The items of a call or list, with a comprehension for three or more equal ones in a row.

    Items by name, ``unit2=Unit(64)``, count up in their names.
    """
    found: list[str] = []
    i = 0
    while i < len(items):
        count = 1
        while i + count < len(items) and _next(items[i], items[i + count], count):
            count += 1
        if count < (2 if count == len(items) else 3) or "(" not in items[i]:
            found.append(items[i])
            i += 1
            continue
        named = _NAMED.match(items[i])
        if named:
            stem, start, text = named[1], int(named[2]), named[3]
            span = f"{start}, {start + count}" if start else f"{count}"
            found.append(f'**{{f"{stem}{{i}}": {text} for i in range({span})}}')
        else:
            found.append(f"*[{items[i]} for _ in range({count})]")
        i += count
    return found


_NAMED = re.compile(r"([A-Za-z_]\w*?)(\d+)=(.*)", re.DOTALL)


def _next(first: str, other: str, distance: int) -> bool:
    """Whether the other item is the first one again, `distance` further."""
    a, b = _NAMED.match(first), _NAMED.match(other)
    if a and b:
        return a[1] == b[1] and a[3] == b[3] and int(b[2]) == int(a[2]) + distance
    return not a and not b and first == other and "=" not in first.partition("(")[0]
