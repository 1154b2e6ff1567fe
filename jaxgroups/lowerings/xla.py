"""``lax.conv_general_dilated`` as it is: takes every problem, defines the meaning."""

import jax

from jaxgroups._plain import plain_conv_p
from jaxgroups._problem import ConvProblem
from jaxgroups.lowerings._base import Lowering


def why_not(problem: ConvProblem, platform: str) -> None:
    return None


def apply(problem: ConvProblem, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    return plain_conv_p.bind(lhs, rhs, **problem.parameters, out_sharding=None)


LOWERING = Lowering("xla", "XLA's own grouped convolution", why_not, apply)
