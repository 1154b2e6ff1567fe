"""The primitive of a convolution with its epilogue: bias, residual and activation in one operation.

On CPU, where the chooser takes the C++ kernels for a program of one device, it is one call of them.
Everywhere else, and in every transformation, it is its composition: the convolution with its bias,
then the residual and the activation as operations of XLA.

`packed` weights, if there are any, come last among the operands: the right operand once more, in
the order in which the kernels read it. Only the kernels read them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core
from jax.interpreters import ad, batching, mlir

from jaxgroups._lowerings import dispatch
from jaxgroups._lowerings.base import Fused
from jaxgroups._lowerings.views import Forward, weights_of
from jaxgroups._op import lowered, primitive, registries
from jaxgroups._problem import jax_private as private
from jaxgroups._problem.problem import ConvProblem
from jaxgroups._problem.view_ops import apply_views, apply_views_to_aval, strides_of
from jaxgroups._spec.epilogue import Epilogue

fused_p = core.Primitive("jaxgroups_conv_fused")
_OWN = ("epilogue", "biased", "layout")


def _of_conv(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters of `conv_p` among those of `fused_p`."""
    return {name: value for name, value in params.items() if name not in _OWN}


fused_p.def_effectful_abstract_eval(
    lambda lhs, rhs, *_, **params: primitive.conv_p.abstract_eval(lhs, rhs, **_of_conv(params))
)


def activated(x: jax.Array, epilogue: Epilogue) -> jax.Array:
    """The activation, with torch's gradients where it has a corner."""
    alpha, beta = (jnp.asarray(n, x.dtype) for n in (epilogue.alpha, epilogue.beta))
    if epilogue.kind == "clip":
        return lax.clamp(alpha, x, beta)
    if epilogue.kind == "leaky":
        return jnp.where(x > 0, x, alpha * x)
    if epilogue.kind == "sigmoid":
        return lax.logistic(x)
    if epilogue.kind == "silu":
        return x * lax.logistic(x)
    if epilogue.kind in ("hardsigmoid", "hardswish"):
        zero, three, six = (jnp.asarray(n, x.dtype) for n in (0, 3, 6))
        gate = lax.clamp(zero, x + three, six) / six
        return gate if epilogue.kind == "hardsigmoid" else x * gate
    return x


def finished(y: jax.Array, residual: jax.Array | None, epilogue: Epilogue) -> jax.Array:
    """What an epilogue makes of the result of a convolution."""
    if residual is not None and epilogue.residual == "before":
        y = y + residual
    y = activated(y, epilogue)
    if residual is not None and epilogue.residual == "after":
        y = y + residual
    return y


def _parts(
    operands: tuple[Any, ...], epilogue: Epilogue, biased: bool, layout: int
) -> tuple[Any, Any, Any]:
    """Bias, residual and packed weights among the operands after the first two."""
    rest = list(operands[2:])
    bias = rest.pop(0) if biased else None
    residual = rest.pop(0) if epilogue.residual != "none" else None
    return bias, residual, rest.pop(0) if layout else None


def bind(
    lhs: Any,
    rhs: Any,
    bias: Any | None,
    residual: Any | None,
    epilogue: Epilogue,
    *,
    packed: Any | None = None,
    layout: int = 0,
    **params: Any,
) -> jax.Array:
    """`fused_p`; `params` are those of `conv_p`."""
    more = [operand for operand in (bias, residual, packed) if operand is not None]
    registries.enter_loaded()
    return fused_p.bind(
        lhs, rhs, *more, epilogue=epilogue, biased=bias is not None, layout=layout, **params
    )


def compute(
    problem: ConvProblem,
    lhs: Any,
    rhs: Any,
    implementation: str | None,
    kernel: Callable[[Any], Any] | None,
    bias: Any | None,
    residual: Any | None,
    epilogue: Epilogue,
) -> jax.Array:
    """`primitive.compute`, and what follows it.

    Args:
      residual: of the shape and dtype of the result; None where the epilogue has none.
    """
    view_ops = primitive.view_ops_of(kernel, rhs.shape, rhs.dtype.name) if kernel else ()
    operands = (lhs, rhs, bias, residual)
    if view_ops is None or not all(map(primitive.ordinary, operands)):
        y = primitive.compute(problem, lhs, rhs, implementation, kernel, bias)
        return finished(y, residual, epilogue)
    if implementation is not None:
        dispatch.choose(problem, implementation)
    params = primitive.lax_parameters(problem, *private.settings_of_lax())
    how = {"implementation": implementation, "view_ops": view_ops, **params}
    return bind(*operands, epilogue, **how)


def _composed(
    *operands: Any, epilogue: Epilogue, biased: bool, layout: int, **params: Any
) -> jax.Array:
    """The same of `conv_p`, or of `biased_p`, and operations of JAX."""
    bias, residual, _ = _parts(operands, epilogue, biased, layout)
    if bias is None:
        y = primitive.conv_p.bind(*operands[:2], **params)
    else:
        y = primitive.biased_p.bind(*operands[:2], bias, **params)
    return finished(y, residual, epilogue)


def _jvp(primals: Any, tangents: Any, **params: Any) -> Any:
    moved = [i for i, tangent in enumerate(tangents) if not isinstance(tangent, ad.Zero)]

    def of_moved(*some: Any) -> Any:
        operands = list(primals)
        for i, operand in zip(moved, some, strict=True):
            operands[i] = operand
        return _composed(*operands, **params)

    return jax.jvp(of_moved, [primals[i] for i in moved], [tangents[i] for i in moved])


def _batched(operands: Any, axes: Any, **params: Any) -> Any:
    return jax.vmap(partial(_composed, **params), axes)(*operands), 0


def _lower(platform: str | None, ctx: Any, *operands: Any, **params: Any) -> Any:
    """One call of the kernels where these are chosen, else the composition."""
    of_conv = _of_conv(params)
    implementation, view_ops = of_conv.pop("implementation"), of_conv.pop("view_ops")
    (lhs_aval, rhs_aval, *_), (out_aval,) = ctx.avals_in, ctx.avals_out
    problem = ConvProblem.of(lhs_aval, apply_views_to_aval(rhs_aval, view_ops), of_conv)
    sharded = any(map(private.sharded_by_type, (lhs_aval, rhs_aval, out_aval)))
    alone = not sharded and not private.partitioned(ctx) and not private.exported(ctx)
    choice = None
    if problem is not None and platform == "cpu" and alone:
        packed = params["layout"] != 0
        choice = dispatch.prefer(problem, implementation, platform, False, packed)
    fuses = choice is not None and choice.lowering.fuses and isinstance(choice.view, Forward)
    if problem is None or choice is None or not fuses:
        composed = partial(_composed, **params)
        return mlir.lower_fun(composed, multiple_results=False)(ctx, *operands)

    lowering, view, _ = choice
    epilogue, biased, layout = (params[name] for name in _OWN)
    lowered.note(ctx, platform or "", implementation, problem, choice, str(epilogue), layout != 0)
    strides = strides_of(rhs_aval.shape, view_ops)
    weights = strides and weights_of(problem, view, strides)

    def scoped(*operands: Any) -> Any:
        bias, residual, packed = _parts(operands, epilogue, biased, layout)
        lhs, rhs = operands[:2]
        fused = Fused(epilogue, residual, packed, layout)
        with jax.named_scope(f"jaxgroups.{lowering.name}"):
            rhs = rhs if weights else apply_views(rhs, view_ops)
            return lowering.apply(problem, view, lhs, rhs, weights, bias, fused)

    return mlir.lower_fun(scoped, multiple_results=False)(ctx, *operands)


fused_p.def_impl(partial(primitive.evaluate, fused_p))
mlir.register_lowering(fused_p, partial(_lower, None))
mlir.register_lowering(fused_p, partial(_lower, "cpu"), platform="cpu")
ad.primitive_jvps[fused_p] = _jvp
batching.primitive_batchers[fused_p] = _batched
registries.register_fused(fused_p, _of_conv, _composed)
