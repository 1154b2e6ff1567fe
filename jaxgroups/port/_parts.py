"""Pieces of expressions."""

import re
from collections.abc import Sequence
from typing import Any


def dtype_of(name: str) -> str:
    """The text of a dtype; what JAX may not have has its own width, else it warns."""
    return {"int64": "int", "float64": "float", "bool": "bool"}.get(name, f'"{name}"')


def joined(parts: Sequence[Any], separator: str = ", ") -> list[Any]:
    """The parts with a separator in between."""
    found: list[Any] = []
    for part in parts:
        found += [separator, part] if found else [part]
    return found


def fill(template: str, parts: Sequence[Any]) -> list[Any]:
    """``"{0} + {1}"`` with the parts in it."""
    found: list[Any] = []
    for text in re.split(r"(\{\d+\})", template):
        found.append(parts[int(text[1:-1])] if re.fullmatch(r"\{\d+\}", text) else text)
    return [part for part in found if part != ""]


# of integers, by the name of Python's function
ARITHMETIC = {
    "python.add": "{0} + {1}",
    "python.sub": "{0} - {1}",
    "python.mul": "{0} * {1}",
    "python.floordiv": "{0} // {1}",
    "python.truediv": "{0} / {1}",
    "python.mod": "{0} % {1}",
    "python.neg": "-{0}",
    "python.pow": "{0} ** {1}",
    "python.sym_max": "max({0}, {1})",
    "python.sym_min": "min({0}, {1})",
    "python.sym_float": "float({0})",
    "python.ceil": "math.ceil({0})",
    "python.floor": "math.floor({0})",
    "python.trunc": "math.trunc({0})",
    "python.round": "round({0})",
    "python.sym_sqrt": "math.sqrt({0})",
}
