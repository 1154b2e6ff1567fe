"""lax's convolution with the lowering that it had before any `accelerate`."""

from typing import Any

from jax import lax
from jax.extend import core
from jax.interpreters import mlir

from jaxgroups._problem import jax_private as private

LAX_P = lax.conv_general_dilated_p
plain_conv_p = core.Primitive("jaxgroups_plain_conv")
plain_conv_p.def_effectful_abstract_eval(
    lambda *avals, **params: LAX_P.abstract_eval(*avals, **params)
)


def _to_lax(ctx: Any, lhs: Any, rhs: Any, **params: Any) -> Any:
    return mlir.lower_fun(lambda *args: LAX_P.bind(*args, **params), multiple_results=False)(
        ctx, lhs, rhs
    )


mlir.register_lowering(plain_conv_p, _to_lax)
mlir.register_lowering(plain_conv_p, private.lowering_rule(LAX_P, "cpu"), platform="cpu")
