"""Weight values for a picture, as torch keeps them: one row a filter, one column a kernel."""

from math import prod
from typing import Any

import numpy as np

from jaxgroups._spec.spec import ConvSpec
from jaxgroups.diagrams._view import LIMIT

CELLS = 25  # of one kernel
ACROSS = 40  # cells of one filter, side by side


def counting(spec: ConvSpec) -> np.ndarray:
    """1, 2, 3, ... in torch's order: the values of the experiment."""
    shape = spec.torch_weight_shape
    return np.arange(1, prod(shape) + 1).reshape(shape)


def checked(spec: ConvSpec, weights: Any) -> np.ndarray:
    """Given values in torch's layout.

    Raises:
      ValueError: the shape is not the spec's, or there is no room to write the values.
    """
    values = np.asarray(weights)
    if values.shape != spec.weight_shape:
        raise ValueError(
            f"weights must have the shape {spec.weight_shape}, but got {values.shape}: {spec}"
        )
    if spec.data_format == "channels_last":
        values = values.transpose(*reversed(range(values.ndim - 2, values.ndim)), *range(spec.rank))
    check_room(spec)
    return values


def fits(spec: ConvSpec) -> bool:
    """Whether the values could be read."""
    filters, kernels, *kernel = spec.torch_weight_shape
    return (
        spec.rank <= 2
        and prod(kernel) <= CELLS
        and kernels * kernel[-1] <= ACROSS
        and max(filters, spec.in_channels, spec.out_channels) <= LIMIT
    )


def check_room(spec: ConvSpec) -> None:
    """Refuse to write values where they could not be read."""
    if not fits(spec):
        raise ValueError(
            "no room for the weights: they are drawn for kernels of one or two axes and up to "
            f"{CELLS} elements, up to {ACROSS} values across a filter and {LIMIT} channels; {spec} "
            f"has the weight {spec.torch_weight_shape}"
        )


def number(value: Any) -> str:
    """A weight in few letters.

    >>> number(np.float32(3)), number(-0.12345)
    ('3', '-0.12')
    """
    value = complex(value)
    if value.imag:
        return f"{value.real:.2g}{value.imag:+.2g}j"
    whole = value.real.is_integer() and abs(value.real) < 1e6
    return f"{value.real:.0f}" if whole else f"{value.real:.2g}"


def sums(values: np.ndarray, bias: np.ndarray | None = None) -> list[str]:
    """What each filter of a plain convolution makes of ones, where it lies whole on the input.

    `bias` is added where it is known.
    """
    wide = values.astype(np.result_type(values.dtype, np.float64))
    totals = wide.reshape(len(wide), -1).sum(axis=1)
    return [number(v) for v in (totals if bias is None else totals + bias)]
