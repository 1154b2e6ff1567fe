"""A convolution as the parameters of XLA's operation: what a lowering computes.

A transposed convolution is the input gradient of a plain one, so it needs no operation of its own:
the input is dilated by the stride, padded by ``d (k - 1) - p``, and convolved with the kernel
flipped in space and regrouped from ``(g, in/g, out/g)`` to ``(in/g, g out/g)``. Written with the
weight as a matrix of groups, plain is ``[n, g c] [g o, c] -> [n, g o]`` and transposed reads the
very same weight the other way, ``[n, g o] [g o, c] -> [n, g c]``; the channels of one group stay
together on both sides, which is why a plain reshape would mix groups.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgroups._spec import arithmetic
from jaxgroups._spec.spec import ConvSpec
from jaxgroups._types import Ints, Pairs


@dataclass(frozen=True, kw_only=True)
class ConvProblem:
    """Parameters of ``lax.conv_general_dilated``, shapes and dtype of its operands.

    ``dimension_numbers`` holds three permutations, of input, kernel and output, as lax's
    ``ConvDimensionNumbers`` does: (batch, channels, *spatial), (out, in, *spatial), as the input.
    """

    lhs_shape: Ints
    rhs_shape: Ints
    dtype: str
    window_strides: Ints
    padding: Pairs
    lhs_dilation: Ints
    rhs_dilation: Ints
    dimension_numbers: tuple[Ints, Ints, Ints]
    feature_group_count: int = 1
    batch_group_count: int = 1
    precision: Any = None
    preferred_element_type: Any = None

    @classmethod
    def of(cls, lhs: Any, rhs: Any, params: dict[str, Any]) -> "ConvProblem | None":
        """The problem of lax's operands and parameters; None where a size is symbolic.

        `lhs` and `rhs` are anything with a shape and a dtype; `params` are those of an equation of
        lax's primitive, or of ours, whose further parameters are ignored.
        """
        padding = tuple((lo, hi) for lo, hi in params["padding"])
        if not all(isinstance(n, int) for n in (*lhs.shape, *rhs.shape, *sum(padding, ()))):
            return None
        preferred = params["preferred_element_type"]
        return cls(
            lhs_shape=lhs.shape,
            rhs_shape=rhs.shape,
            dtype=lhs.dtype.name,
            **{name: params[name] for name in _PARAMETERS}
            | {
                "padding": padding,
                "dimension_numbers": tuple(params["dimension_numbers"]),
                "preferred_element_type": None if preferred is None else np.dtype(preferred).name,
            },
        )

    @property
    def result(self) -> str:
        """The dtype of the result."""
        return self.preferred_element_type or self.dtype

    @property
    def widened(self) -> "ConvProblem":
        """The same problem with a result in the dtype that sums are kept in."""
        wide = accumulation_dtype(self.result)
        return self if wide == self.result else replace(self, preferred_element_type=wide)

    @property
    def parameters(self) -> dict[str, Any]:
        """Keyword arguments of lax's primitive, but for ``out_sharding``."""
        preferred = self.preferred_element_type
        return {name: getattr(self, name) for name in _PARAMETERS} | {
            "dimension_numbers": lax.ConvDimensionNumbers(*self.dimension_numbers),
            "preferred_element_type": None if preferred is None else jnp.dtype(preferred),
        }


_PARAMETERS = (
    "window_strides",
    "padding",
    "lhs_dilation",
    "rhs_dilation",
    "dimension_numbers",
    "feature_group_count",
    "batch_group_count",
    "precision",
    "preferred_element_type",
)


def accumulation_dtype(dtype: str) -> str:
    """The dtype that sums are kept in: float32 for the 16-bit floats, else `dtype` itself."""
    return "float32" if dtype in ("float16", "bfloat16") else dtype


def widened(params: dict[str, Any], dtype: Any) -> dict[str, Any]:
    """The parameters of a convolution whose result of `dtype` stays in the dtype of its sums."""
    wide = accumulation_dtype(jnp.dtype(dtype).name)
    return {**params, "preferred_element_type": jnp.dtype(wide)}


def dimension_numbers(rank: int, data_format: str) -> tuple[Ints, Ints, Ints]:
    """(N, C, *spatial) with (O, I, *spatial), or (N, *spatial, C) with (*spatial, I, O)."""
    if data_format == "channels_first":
        axes = tuple(range(rank + 2))
        return axes, axes, axes
    spatial = tuple(range(1, rank + 1))
    data = (0, rank + 1, *spatial)
    return data, (rank + 1, rank, *range(rank)), data


def problem_of(
    spec: ConvSpec, precision: Any = None, preferred_element_type: Any = None
) -> ConvProblem:
    """The problem of a spec whose input is known, with all batch axes as one.

    The problem pads with zeros: for another `padding_mode` the caller has padded the input.
    """
    size, padding = spec.size or (), spec.padding
    if spec.padding_mode != "zeros":
        size = tuple(n + lo + hi for n, (lo, hi) in zip(size, padding, strict=True))
        padding = ((0, 0),) * spec.rank
    if spec.transposed:
        window = zip(spec.kernel_size, padding, spec.dilation, spec.output_padding, strict=True)
        padding = tuple(arithmetic.conv_transpose_padding(*w) for w in window)
    one = (1,) * spec.rank
    batch = 1
    for n in spec.batch or ():
        batch *= n
    if preferred_element_type is not None:
        preferred_element_type = jnp.dtype(preferred_element_type).name
    channels = (spec.out_channels, spec.in_channels // spec.groups)
    last = spec.data_format == "channels_last"
    return ConvProblem(
        lhs_shape=(batch, *size, spec.in_channels) if last else (batch, spec.in_channels, *size),
        rhs_shape=(*spec.kernel_size, *channels[::-1]) if last else (*channels, *spec.kernel_size),
        dtype=spec.dtype,
        window_strides=one if spec.transposed else spec.stride,
        padding=padding,
        lhs_dilation=spec.stride if spec.transposed else one,
        rhs_dilation=spec.dilation,
        dimension_numbers=dimension_numbers(spec.rank, spec.data_format),
        feature_group_count=spec.groups,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )
