"""Which statements are needed, how long a value lives, and what is written within what."""

from collections.abc import Iterator
from typing import Any

from jaxgroups.port._expr import Expr, Instance, Lit, Make, Named, Self, Statement, Use
from jaxgroups.port._graph import Ref, refs
from jaxgroups.port._loops import Loop


def read(step: Any) -> list[int]:
    if isinstance(step, Loop):
        return [step.start, *(n for n in step.expr.uses() if n != step.start)]
    return list(step.expr.uses())


def used(structure: Any) -> Iterator[int]:
    if isinstance(structure, Use | Ref):
        yield structure.number
    elif isinstance(structure, Expr):
        yield from structure.uses()
    elif isinstance(structure, dict):
        for one in structure.values():
            yield from used(one)
    elif isinstance(structure, list | tuple):
        for one in structure:
            yield from used(one)


def needed(statements: list[Statement], results: Any, made: Instance) -> list[Statement]:
    """The statements whose results are used, and calls of children that have statistics."""
    needed = {*used(results)}
    kept = []
    for step in reversed(statements):
        child = child_of(step)
        if needed & {*refs(step.target)} or (child and has_statistics(made.children.get(child))):
            kept.append(step)
            needed |= {*step.expr.uses()}
    return kept[::-1]


def has_statistics(make: Any) -> bool:
    """Whether a layer, or one within it, changes its running statistics when it is called."""
    if isinstance(make, Instance):
        return any(map(has_statistics, [make.base, *make.children.values()]))
    if not isinstance(make, Make):
        return False
    if isinstance(make.target, Instance):
        return has_statistics(make.target)
    settings = {name: one.value for name, one in make.arguments if isinstance(one, Lit)}
    if make.target.startswith("jnn.BatchNorm"):
        return settings.get("track_running_stats", True)
    if make.target.startswith("jnn.InstanceNorm"):
        return settings.get("track_running_stats", False)
    if not make.target.startswith(("jnn.", "nnx.")):
        return True  # a registered layer may have them
    return any(has_statistics(one) for _, one in make.arguments)


def child_of(statement: Statement) -> tuple[str, ...] | None:
    """The path of the child that the statement calls."""
    held, *rest = statement.expr.parts
    return held.path if isinstance(held, Self) and rest[:1] == ["("] else None


def counts(steps: list[Any], results: Any) -> dict[int, int]:
    counts: dict[int, int] = {}
    for step in steps:
        for number in read(step):
            counts[number] = counts.get(number, 0) + 1
    for number in used(results):
        counts[number] = counts.get(number, 0) + 1
    return counts


def last_uses(steps: list[Any], results: Any) -> dict[int, int]:
    live: dict[int, int] = {}
    for i, step in enumerate(steps):
        for number in read(step):
            live[number] = i
    for number in used(results):
        live[number] = len(steps)
    return live


def inlined(expr: Expr, held: dict[int, Statement]) -> Expr:
    parts: list[Any] = []
    for part in expr.parts:
        if isinstance(part, Use) and part.number in held:
            parts.append(held[part.number].expr)
        elif isinstance(part, Expr):
            parts.append(inlined(part, held))
        else:
            parts.append(part)
    return Expr(parts, expr.atom)


def length(expr: Expr) -> int:
    """About how long the text is."""
    total = 0
    for part in expr.parts:
        if isinstance(part, Expr):
            total += length(part)
        elif isinstance(part, Named):
            total += len(part.lit.name) + len(str(part.lit.value)) + 3
        elif isinstance(part, Self):
            total += len(".".join(part.path)) + 5
        else:
            total += len(str(part)) if isinstance(part, str) else 2
    return total
