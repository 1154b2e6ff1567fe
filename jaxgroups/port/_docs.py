"""Docstrings: what the original's says first, and the shapes of arguments and results."""

import textwrap
from typing import Any

from jaxgroups.port._classes import Class
from jaxgroups.port._order import channels_last

_SPATIAL = {1: ("L",), 2: ("H", "W"), 3: ("D", "H", "W")}


def docstring(one: Class) -> list[str]:
    """The lines of a class's docstring."""
    first = one.instances[0]
    text = first.doc or f"{first.kind}."
    shape = _shapes(one)
    lines = textwrap.wrap(text, 90, break_long_words=False, break_on_hyphens=False)
    if not shape and len(lines) == 1:
        return [f'    """{text}"""']
    lines[0] = f'"""{lines[0]}'
    lines += ["", shape] if shape else []
    return [f"    {line}".rstrip() for line in [*lines, '"""']]


def _shapes(one: Class) -> str:
    """``(N, H, W, 64) -> (N, H / 2, W / 2, 128)``"""
    first = one.instances[0]
    given = [shape for shapes in first.inputs.values() for shape in shapes]
    if not given or any(shape is None for shape in [*given, *first.outputs]):
        return ""
    base = given[0]
    left = [_shape(one, base, i, "inputs") for i, base in enumerate(given)]
    right = [_shape(one, shape, i, "outputs", base) for i, shape in enumerate(first.outputs)]
    text = f"{', '.join(left)} -> {', '.join(right)}"
    return text if len(text) < 92 else ""


def _shape(one: Class, shape: Any, place: int, side: str, base: Any = None) -> str:
    sizes, order = shape
    rank = len(sizes)
    if not rank:
        return "()"
    letters: list[str] = []
    spatial = _SPATIAL.get(rank - 2, ())
    last = order == channels_last(rank) and rank >= 3
    for i, size in enumerate(sizes):
        if i == 0:
            letters.append("N")
        elif i == rank - 1 and (last or rank == 2):
            letters.append(_size(one, place, side, i))
        elif last and spatial:
            letters.append(_relative(spatial[i - 1], size, base, i, order))
        else:
            letters.append(_size(one, place, side, i))
    return f"({', '.join(letters)})"


def _relative(letter: str, size: int, base: Any, i: int, order: Any) -> str:
    """The size beside that of the first input."""
    if base is None or base[1] != order:
        return letter
    before = base[0][i]
    if size == 1 and before != 1:
        return "1"
    if size == before:
        return letter
    if size and before % size == 0:
        return f"{letter} / {before // size}"
    if before and size % before == 0:
        return f"{size // before} {letter}"
    return f"{letter}'"


def _size(one: Class, place: int, side: str, i: int) -> str:
    """A size that all instances have, the argument that it is, or a letter."""
    found = []
    for instance in one.instances:
        shapes = (
            [s for group in instance.inputs.values() for s in group]
            if side == "inputs"
            else instance.outputs
        )
        if place >= len(shapes) or shapes[place] is None or i >= len(shapes[place][0]):
            return "C"
        found.append(shapes[place][0][i])
    if len({*found}) == 1:
        return str(found[0])
    for name in one.arguments:
        values = [instance.values.get(name) for instance in one.instances]
        if values == found and not any(isinstance(v, bool) for v in values):
            return name
    return "C"
