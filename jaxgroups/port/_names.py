"""The names of variables in the text of a class."""

import keyword
from typing import Any

from jaxgroups.port._graph import Ref

_MODULES = ("self", "jnp", "jnn", "jg", "nnx", "jax")


def identifier(name: str, first: bool) -> str:
    """The name of a parameter; "x" and "y" for those that the original does not name."""
    if name.startswith("_"):
        name = "x" if first else "y"
    usable = name.isidentifier() and not keyword.iskeyword(name) and name not in ("self", "rngs")
    return name if usable else "x"


def fresh(hint: str, busy: dict[str, int]) -> str:
    """The name if it is not busy, else one like it."""
    if keyword.iskeyword(hint) or hint in _MODULES:
        hint = "x"
    if hint not in busy:
        return hint
    letters = ["y", "z", "w"] if hint == "x" else []
    return next(n for n in [*letters, *(f"{hint}{i}" for i in range(1, 1000))] if n not in busy)


def unpacked(
    target: Any, hint: Any, used: set[int], busy: dict[str, int], chosen: dict[int, str]
) -> str:
    """The text of the names of results, ``(y, (h, _))``.

    Args:
      target: tuples and lists of values.
      hint: the original's name or a structure of names.
      used: the values that are read; others are ``_``.
      busy: the names that are taken; gets those of this text.
      chosen: gets the name of each value that is read.
    """
    if isinstance(target, Ref):
        if target.number not in used:
            return "_"
        name = fresh(single(hint) or "x", busy)
        chosen[target.number] = name
        busy[name] = target.number
        return name
    alike = isinstance(hint, tuple) and len(hint) == len(target)
    hints = hint if alike else [hint] * len(target)
    pairs = zip(target, hints, strict=True)
    names = [unpacked(one, inner, used, busy, chosen) for one, inner in pairs]
    if {*names} == {"_"}:
        return "_"
    return f"({', '.join(names)}{',' if len(names) == 1 else ''})"


def single(hint: Any) -> str:
    """The name of one result; ``""`` if the original names several."""
    return hint if isinstance(hint, str) else ""


def unpackable(structure: Any) -> bool:
    """Whether results can be unpacked: tuples and lists of values."""
    if isinstance(structure, list | tuple) and not isinstance(structure, Ref):
        return len(structure) > 0 and all(map(unpackable, structure))
    return isinstance(structure, Ref)
