"""One function for each number of spatial axes, from one template."""

import inspect
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from jaxgroups._functional.observed import observed

P = ParamSpec("P")
R = TypeVar("R")
_AXES = ("D", "H", "W")


def axes_of(rank: int) -> tuple[str, ...]:
    """The names of the spatial axes: (L,), (H, W) or (D, H, W)."""
    return ("L",) if rank == 1 else _AXES[-rank:]


def filled(text: str, rank: int, name: str) -> str:
    """A docstring for one rank: ``{rank}``, ``{name}``, ``{axes}`` and ``{out}`` replaced."""
    axes = axes_of(rank)
    values = {
        "rank": str(rank),
        "name": name,
        "axes": ", ".join(axes),
        "out": ", ".join(f"{axis}_out" for axis in axes),
    }
    for key, value in values.items():
        text = text.replace(f"{{{key}}}", value)
    return text


def by_rank(template: Callable[Concatenate[str, int, P], R]) -> tuple[Callable[P, R], ...]:
    """The functions ``name1d``, ``name2d`` and ``name3d`` of a template ``name``.

    The template takes the function's name and its rank before the public arguments. Its docstring
    is `filled`, with ``{axes}`` such as ``H, W`` and ``{out}`` such as ``H_out, W_out``.

    Returns:
      The functions, with the signature and the docstring that ``help()`` shows.
    """
    return tuple(_of_rank(template, rank) for rank in (1, 2, 3))


def _of_rank(template: Callable[Concatenate[str, int, P], R], rank: int) -> Callable[P, R]:
    name = f"{template.__name__}{rank}d"

    def function(*args: P.args, **kwargs: P.kwargs) -> R:
        return template(name, rank, *args, **kwargs)

    signature = inspect.signature(template)
    _, _, *public = signature.parameters.values()
    function.__name__ = function.__qualname__ = name
    function.__module__ = template.__module__
    function.__doc__ = filled(template.__doc__ or "", rank, name)
    function.__signature__ = signature.replace(parameters=public)  # type: ignore[attr-defined]
    return observed(function)
