"""``lax.conv_general_dilated`` as it is: takes every problem, defines the meaning."""

import jax

from jaxgroups._lowerings.base import Lowering
from jaxgroups._problem.problem import ConvProblem
from jaxgroups._problem.xla_conv import plain_conv_p


def unsupported_reason(problem: ConvProblem, platform: str) -> None:
    return None


def apply(problem: ConvProblem, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    return plain_conv_p.bind(lhs, rhs, **problem.parameters, out_sharding=None)


LOWERING = Lowering("xla", "XLA's own grouped convolution", unsupported_reason, apply)
