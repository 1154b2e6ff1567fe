"""Docstrings: what the original's says first, and the shapes of arguments and results."""

import textwrap
from typing import Any

from jaxgroups.port._classes import Class
from jaxgroups.port._order import channels_last

_SPATIAL = {1: ("L",), 2: ("H", "W"), 3: ("D", "H", "W")}


def docstring(one: Class, fixed: bool) -> list[str]:
    """The lines of a class's docstring; `fixed`: with the example's sizes of images."""
    first = one.instances[0]
    text = first.doc or f"{first.kind}."
    shape = _shapes(one, fixed)
    lines = textwrap.wrap(text, 90, break_long_words=False, break_on_hyphens=False)
    if not shape and len(lines) == 1:
        return [f'    """{text}"""']
    lines[0] = f'"""{lines[0]}'
    lines += ["", shape] if shape else []
    return [f"    {line}".rstrip() for line in [*lines, '"""']]


def _shapes(one: Class, fixed: bool) -> str:
    """``(N, H, W, 64) -> (N, H / 2, W / 2, 128)``"""
    first = one.instances[0]
    given = _held(first, "inputs")
    if not given or any(shape is None for shape in first.outputs):
        return ""
    left = [_shape(one, shape, i, "inputs", fixed) for i, shape in enumerate(given)]
    right = [_shape(one, shape, i, "outputs", fixed) for i, shape in enumerate(first.outputs)]
    text = f"{', '.join(left)} -> {', '.join(right)}"
    return text if len(text) < 92 else ""


def _shape(one: Class, shape: Any, place: int, side: str, fixed: bool) -> str:
    sizes, order = shape
    rank = len(sizes)
    if not rank:
        return "()"
    letters: list[str] = []
    spatial = _SPATIAL.get(rank - 2, ())
    last = order == channels_last(rank) and rank >= 3
    for i in range(rank):
        if i == 0:
            letters.append("N")
        elif i == rank - 1 and (last or rank == 2):
            letters.append(_size(one, place, side, i))
        elif last and spatial and not fixed:
            letters.append(_common(one, spatial[i - 1], place, side, i))
        else:
            letters.append(_size(one, place, side, i))
    return f"({', '.join(letters)})"


def _common(one: Class, letter: str, place: int, side: str, i: int) -> str:
    """The size beside that of the first input, if it is the same for all instances."""
    found = set()
    ratios = []
    for instance in one.instances:
        given = _held(instance, "inputs")
        shapes = given if side == "inputs" else _held(instance, "outputs")
        if place >= len(shapes) or shapes[place] is None or i >= len(shapes[place][0]):
            return f"{letter}'"
        size, before = shapes[place][0][i], given[0]
        if side == "inputs" and not place:
            return letter
        if before is None or before[1] != shapes[place][1]:
            return letter if side == "inputs" else f"{letter}'"
        found.add(_relative(letter, size, before[0][i]))
        ratios.append(-(-before[0][i] // size) if size else 0)
    if len(found) == 1:
        return found.pop()
    stride = [instance.values.get("stride") for instance in one.instances]
    return f"{letter} / stride" if "stride" in one.arguments and stride == ratios else f"{letter}'"


def _relative(letter: str, size: int, before: int) -> str:
    if size == 1 and before != 1:
        return "1"
    if size == before:
        return letter
    if size and before % size == 0:
        return f"{letter} / {before // size}"
    return f"{letter}'"


def _held(instance: Any, side: str) -> list[Any]:
    """The shapes of the arguments or of the results."""
    if side == "outputs":
        return list(instance.outputs)
    given = [shape for shapes in instance.inputs.values() for shape in shapes]
    return [shape for shape in given if shape is not None]  # not integers


def _size(one: Class, place: int, side: str, i: int) -> str:
    """A size that all instances have, the argument that it is, or a letter."""
    found = []
    for instance in one.instances:
        shapes = _held(instance, side)
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
