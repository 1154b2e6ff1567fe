"""``lax.conv_general_dilated`` itself: supports every problem and defines the result."""

import jax

from jaxgroups._lowerings.base import Lowering
from jaxgroups._lowerings.views import View
from jaxgroups._problem.problem import ConvProblem
from jaxgroups._problem.xla_conv import plain_conv_p


def unsupported_reason(problem: ConvProblem, view: View | None, platform: str) -> None:
    return None


def apply(problem: ConvProblem, view: View | None, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    y = plain_conv_p.bind(lhs, rhs, **problem.widened.parameters, out_sharding=None)
    return y.astype(problem.result)


LOWERING = Lowering(
    name="xla",
    summary="XLA's own grouped convolution",
    unsupported_reason=unsupported_reason,
    apply=apply,
)
