"""The text of literals, containers and annotations."""

import ast
from collections.abc import Iterator
from typing import Any

from jaxgroups.port._expr import Expr, Lit, Use
from jaxgroups.port._graph import Ref
from jaxgroups.port._layers import Source
from jaxgroups.port._loops import repeated


def literal(value: Any) -> str:
    """The value as Python writes it."""
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "jnp.inf" if value > 0 else "-jnp.inf"
    if isinstance(value, tuple):
        inner = ", ".join(map(literal, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, Source):
        return str(value)
    if isinstance(value, str):
        return '"' + repr(value)[1:-1].replace('"', '\\"') + '"'
    return repr(value)


def binds(part: str, before: str, after: str) -> bool:
    """Whether the operator of the part binds closer than those around it."""
    try:
        tree = ast.parse(part, mode="eval").body
    except SyntaxError:
        return False
    if not isinstance(tree, ast.BinOp):
        return False
    sums_before = not before or before.endswith(("(", "[", ", ", "=", " + ", " - "))
    if isinstance(tree.op, ast.Mult | ast.Div | ast.FloorDiv | ast.MatMult | ast.Mod):
        return sums_before and (not after or after.startswith((")", "]", ",", " + ", " - ")))
    first = not before or before.endswith(("(", "[", ", ", "="))
    return first and after.startswith((" + ", " - "))


def member(path: tuple[str, ...]) -> str:
    text = "self"
    for part in path:
        text += f"[{part}]" if part.isdigit() else f".{part}"
    return text


def container(below: dict[tuple[str, ...], str]) -> str:
    """The text of what an attribute holds: a child, a list of children, a dictionary."""
    if () in below:
        return below[()]
    heads = list(dict.fromkeys(path[0] for path in below))
    inner = {
        head: container({path[1:]: text for path, text in below.items() if path[0] == head})
        for head in heads
    }
    if all(head.isdigit() for head in heads):
        count = max(map(int, heads)) + 1
        items = repeated([inner.get(str(i), "nnx.Dict()") for i in range(count)])
        if len(items) == 1 and items[0].startswith("*["):
            return f"nnx.List({items[0][1:]})"
        return f"nnx.List([{', '.join(items)}])"
    return f"nnx.Dict({', '.join(repeated([f'{head}={text}' for head, text in inner.items()]))})"


def kind(value: Any) -> str:
    if isinstance(value, tuple):
        inner = {kind(one) for one in value}
        return f"tuple[{inner.pop()}, ...]" if len(inner) == 1 else "tuple"
    return "None" if value is None else type(value).__name__


def annotation(structure: Any, shapes: Iterator[Any]) -> str:
    """The type of an argument or result.

    Args:
      structure: tuples, lists and dictionaries of values and constants.
      shapes: of the values in their order; None for an integer.
    """
    if isinstance(structure, Use | Expr | Ref | Lit):
        return "int" if next(shapes, ()) is None else "jax.Array"
    if structure is None or isinstance(structure, bool | int | float | str):
        return "None" if structure is None else type(structure).__name__
    if isinstance(structure, dict):
        inner = {annotation(one, shapes) for one in structure.values()}
        keys = {type(key).__name__ for key in structure}
        both = (one.pop() if len(one) == 1 else "Any" for one in (keys, inner))
        return f"dict[{', '.join(both)}]"
    inside = [annotation(one, shapes) for one in structure]
    if isinstance(structure, tuple):
        return f"tuple[{', '.join(inside)}]" if inside else "tuple[()]"
    return f"list[{inside[0] if len({*inside}) == 1 else 'Any'}]"
