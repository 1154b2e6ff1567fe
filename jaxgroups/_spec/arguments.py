"""Argument forms: whatever torch accepts for an integer or a tuple of integers, made canonical.

There are two steps, because torch makes them at different times. `integer` and `integers` check
the *type*; torch's argument parser does that before anything else. `broadcast` checks the *length*,
which torch does later, between other checks. A type error has torch's pattern
``conv2d(): argument 'stride' must be ...``.
"""

import operator
from collections.abc import Iterable

from jaxgroups._types import Ints

OPS = tuple(f"{kind}{rank}d" for kind in ("conv", "conv_transpose") for rank in (1, 2, 3))


def op_rank(op: str) -> tuple[int, bool]:
    """``"conv_transpose2d"`` -> ``(2, True)``."""
    if op not in OPS:
        raise ValueError(f"op must be one of {', '.join(OPS)}, but got op={op!r}")
    return int(op[-2]), op.startswith("conv_transpose")


def layer_name(op: str) -> str:
    """``"conv_transpose2d"`` -> ``"ConvTranspose2d"``."""
    return "".join(part.capitalize() for part in op.split("_"))


def _is_integer(value: object) -> bool:
    if isinstance(value, bool):
        return False
    try:
        operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True


def integer(where: str, name: str, value: object) -> int:
    """`value` as an int. Bools and floats raise TypeError, as in torch."""
    if not _is_integer(value):
        raise TypeError(
            f"{where}(): argument '{name}' must be int, not {type(value).__name__}: "
            f"got {name}={value!r}, give a whole number"
        )
    return operator.index(value)  # type: ignore[arg-type]


def integers(where: str, name: str, value: object) -> Ints:
    """An int as ``(int,)``, an iterable of ints as a tuple of any length."""
    if _is_integer(value):
        return (operator.index(value),)  # type: ignore[arg-type]
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError(
            f"{where}(): argument '{name}' must be tuple of ints, not {type(value).__name__}: "
            f"got {name}={value!r}, give one int or one int an axis"
        )
    items = tuple(value)
    for position, item in enumerate(items):
        if not _is_integer(item):
            raise TypeError(
                f"{where}(): argument '{name}' must be tuple of ints, but found element of type "
                f"{type(item).__name__} at pos {position}: got {name}={items!r}"
            )
    return tuple(operator.index(item) for item in items)


def broadcast(name: str, value: Ints, rank: int, *, one_fills: bool = True) -> Ints:
    """One value for each axis. A single value is that of all axes, unless not `one_fills`."""
    if len(value) == rank:
        return value
    if len(value) == 1 and one_fills:
        return value * rank
    raise ValueError(
        f"expected {name} to be a single integer value or a list of {rank} values to match the "
        f"convolution dimensions, but got {name}={list(value)}: {len(value)} values for "
        f"{rank} spatial {'axis' if rank == 1 else 'axes'}"
    )


def kernel(where: str, value: object, rank: int) -> Ints:
    """kernel_size: an int is the size of all axes, a tuple must have one entry for each axis."""
    values = integers(where, "kernel_size", value)
    return broadcast("kernel_size", values, rank, one_fills=_is_integer(value))


def padding(where: str, value: object, *, transposed: bool) -> Ints | str:
    """padding: ints as `integers`. A string stays a string, unless torch takes none here."""
    if isinstance(value, str) and not transposed:
        return value
    return integers(where, "padding", value)


def sizes(where: str, value: object) -> Ints:
    """output_size: an iterable of ints. Unlike elsewhere, an int alone is an error."""
    if not isinstance(value, Iterable):
        raise TypeError(
            f"object of type {type(value).__name__!r} has no len(): output_size has one entry an "
            f"axis, got output_size={value!r}"
        )
    return integers(where, "output_size", value)
