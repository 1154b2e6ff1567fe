"""``lax.conv_general_dilated`` as it is: takes every problem, defines the meaning."""

import jax
from jax import lax

from jaxgroups._problem import ConvProblem
from jaxgroups.lowerings._base import Lowering


def why_not(problem: ConvProblem, platform: str) -> None:
    return None


def apply(problem: ConvProblem, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(
        lhs,
        rhs,
        window_strides=problem.window_strides,
        padding=problem.padding,
        lhs_dilation=problem.lhs_dilation,
        rhs_dilation=problem.rhs_dilation,
        dimension_numbers=lax.ConvDimensionNumbers(*problem.dimension_numbers),
        feature_group_count=problem.feature_group_count,
        batch_group_count=problem.batch_group_count,
        precision=problem.precision,
        preferred_element_type=problem.preferred_element_type,
    )


LOWERING = Lowering("xla", "XLA's own grouped convolution", why_not, apply)
