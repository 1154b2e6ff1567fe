"""What follows a convolution in the same operation: an activation, and where a residual is added.

`activation=` of a function is a name, or a tuple of a name and numbers. Here it becomes one of a
few kinds with up to two numbers, which the C++ kernels know as well.
"""

from math import inf, isnan
from typing import Any, NamedTuple

from jaxgroups._types import Ints

# kind, the numbers by default; None stands for a number that has to be given
_NAMES: dict[str, tuple[str, tuple[float, ...]]] = {
    "relu": ("clip", (0.0, inf)),
    "relu6": ("clip", (0.0, 6.0)),
    "hardtanh": ("clip", (-1.0, 1.0)),
    "leaky_relu": ("leaky", (0.01,)),
    "sigmoid": ("sigmoid", ()),
    "silu": ("silu", ()),
    "hardsigmoid": ("hardsigmoid", ()),
    "hardswish": ("hardswish", ()),
}
_WITH_NUMBERS = ("hardtanh", "leaky_relu")
KINDS = ("none", "clip", "leaky", "sigmoid", "silu", "hardsigmoid", "hardswish")
PLACES = ("none", "before", "after")


class Epilogue(NamedTuple):
    """An activation, and where the residual is added.

    Attributes:
      kind: one of `KINDS`.
      alpha, beta: the bounds of ``clip``; `alpha` the slope of ``leaky``; else 0.
      residual: one of `PLACES`: no residual, or before or after the activation.
    """

    kind: str = "none"
    alpha: float = 0.0
    beta: float = 0.0
    residual: str = "none"

    def __bool__(self) -> bool:
        return self.kind != "none" or self.residual != "none"

    def __str__(self) -> str:
        """Such as "+ residual, relu"."""
        words = []
        if self.kind != "none":
            words.append(_shown(self.kind, self.alpha, self.beta))
        if self.residual != "none":
            words.insert(0 if self.residual == "before" else 1, "+ residual")
        return ", ".join(words)


def _shown(kind: str, alpha: float, beta: float) -> str:
    for name, (of, numbers) in _NAMES.items():
        if of == kind and (*numbers, 0.0, 0.0)[:2] == (alpha, beta):
            return name
    numbers = f"({alpha:g}, {beta:g})" if kind == "clip" else f"({alpha:g})"
    return kind + numbers


def parsed(op: str, activation: Any, residual: bool) -> Epilogue:
    """The epilogue of the arguments ``activation=`` and ``residual=`` of the function `op`.

    Raises:
      TypeError: an activation that is neither None, a name, nor a tuple of a name and numbers.
      ValueError: an unknown name, or numbers that do not fit it.
    """
    place = "before" if residual else "none"
    if activation is None:
        return Epilogue(residual=place)
    name, *numbers = activation if isinstance(activation, tuple) and activation else (activation,)
    if not isinstance(name, str):
        raise TypeError(
            f"{op}(): argument 'activation' must be a name, or a tuple of a name and numbers, "
            f"not {type(activation).__name__}: got activation={activation!r}"
        )
    if name not in _NAMES:
        raise ValueError(
            f"{op}(): activation must be None or one of {', '.join(_NAMES)}, "
            f"but got activation={activation!r}"
        )
    kind, default = _NAMES[name]
    wanted = len(default) if name in _WITH_NUMBERS else 0
    real = all(isinstance(n, (int, float)) and not isnan(n) for n in numbers)
    if numbers and (len(numbers) != wanted or not real):
        raise ValueError(
            f"{op}(): activation {name!r} takes {wanted or 'no'} number{'s' * (wanted != 1)}, "
            f"but got activation={activation!r}"
        )
    alpha, beta = (*(map(float, numbers or default)), 0.0, 0.0)[:2]
    if kind == "clip" and alpha > beta:
        raise ValueError(
            f"{op}(): the bounds of 'hardtanh' should be in order, "
            f"but got activation={activation!r}"
        )
    return Epilogue(kind, alpha, beta, place)


def check_dtype(op: str, dtype: str) -> None:
    """Refuse an activation of complex numbers."""
    if "complex" in dtype:
        raise TypeError(f"{op}(): an activation is of real numbers: got {dtype}, leave activation")


def check_residual(op: str, shape: Ints, dtype: str, wanted: Ints, wanted_dtype: str) -> None:
    """Refuse a residual that is not like the result."""
    if tuple(shape) != tuple(wanted) or dtype != wanted_dtype:
        raise ValueError(
            f"{op}(): the residual must have the shape and the dtype of the result, "
            f"{list(wanted)} {wanted_dtype}, but got {list(shape)} {dtype}"
        )
