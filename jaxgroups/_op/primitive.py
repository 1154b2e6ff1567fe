"""The primitive: lax's convolution in all its rules, lowered on CPU by our chooser.

``lax.conv_general_dilated`` is closed under its own transformations: its jvp, both transposes and
its vmap are convolutions again. So no rule is written here. Each is lax's, re-bound: a function
that calls lax is traced to a jaxpr, and the jaxpr is evaluated with `conv_p` in the place of lax's
primitive. Shapes, dtypes, shardings and the errors about them are lax's in the same way.

Two parameters are added. ``implementation``: the name of a lowering, or None for the best.
``view_ops``: rearrangements of the right operand that come first. In what is traced they stand
before the convolution, as in all gradients of lax's; there they become a part of ours, so that
a lowering may read the weights where they are.

`biased_p` is `conv_p` with a bias, one number for each channel of the result: a kernel's sums begin
with it. It is itself nowhere but where a result is computed: its rules know `conv_p` and a sum.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core
from jax.interpreters import ad, batching, mlir

from jaxgroups._lowerings import dispatch
from jaxgroups._problem import jax_private as private
from jaxgroups._problem.problem import ConvProblem
from jaxgroups._problem.view_ops import (
    ViewOps,
    apply_views,
    apply_views_to_aval,
    strides_of,
    view_op_of,
)
from jaxgroups._problem.xla_conv import LAX_P, plain_conv_p

conv_p = core.Primitive("jaxgroups_conv")
conv_p.def_effectful_abstract_eval(
    lambda lhs, rhs, *, implementation, view_ops, **params: LAX_P.abstract_eval(
        lhs, apply_views_to_aval(rhs, view_ops), **params
    )
)
biased_p = core.Primitive("jaxgroups_conv_bias")
biased_p.def_effectful_abstract_eval(
    lambda lhs, rhs, bias, **params: conv_p.abstract_eval(lhs, rhs, **params)
)


class _Lax(NamedTuple):
    """A function that calls lax, by value, so that what is traced from it is cached."""

    function: Callable
    params: tuple[tuple[str, Any], ...]
    aval: Any = None

    def __call__(self, *operands: Any) -> Any:
        extra = () if self.aval is None else (self.aval,)
        params = dict(self.params)
        if isinstance(params.get("preferred_element_type"), str):
            params["preferred_element_type"] = jnp.dtype(params["preferred_element_type"])
        return self.function(*operands, *extra, **params)


# an eager call runs the jitted function again; inside another jit it leaves no trace of itself
@partial(jax.jit, static_argnums=(0, 1), inline=True)
def _rebind(called: _Lax, implementation: str | None, *operands: Any, bias: Any = None) -> Any:
    """``called(*operands)`` with every convolution of lax's bound as ours, plus the bias if any."""
    closed = jax.make_jaxpr(called)(*operands)
    known: dict[Any, Any] = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
    known.update(zip(closed.jaxpr.invars, operands, strict=True))
    origins: dict[
        Any, tuple[Any, ViewOps]
    ] = {}  # of what is apply_views: the array before, and how

    def read(atom: Any) -> Any:
        if isinstance(atom, core.Literal):
            return atom.val
        if atom not in known:
            known[atom] = apply_views(*origins[atom])
        return known[atom]

    def before(atom: Any) -> tuple[Any, ViewOps]:
        if isinstance(atom, core.Literal) or atom not in origins:
            return read(atom), ()
        return origins[atom]

    for eqn in closed.jaxpr.eqns:
        view_op = view_op_of(eqn)
        if view_op:
            array, view_ops = before(eqn.invars[0])
            origins[eqn.outvars[0]] = array, (*view_ops, view_op)
            continue
        if eqn.primitive is LAX_P:
            lhs, (rhs, view_ops) = read(eqn.invars[0]), before(eqn.invars[1])
            params = {"implementation": implementation, "view_ops": view_ops, **eqn.params}
            ours, added = (conv_p, ()) if bias is None else (biased_p, (bias,))
            outs = ours.bind(lhs, rhs, *added, **params)
        else:
            params = eqn.primitive.get_bind_params(eqn.params)
            outs = eqn.primitive.bind(*map(read, eqn.invars), **params)
        outs = outs if eqn.primitive.multiple_results else [outs]
        known.update(zip(eqn.outvars, outs, strict=True))
    return read(closed.jaxpr.outvars[0])


def _by_value(params: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Items to look up by; a dtype by its name, for NumPy's float64 dtype equals None."""
    named = ((k, v.name if isinstance(v, np.dtype) else v) for k, v in params.items())
    return tuple(sorted(named))


def bind(lhs: Any, rhs: Any, implementation: str | None = None, **params: Any) -> jax.Array:
    """``lax.conv_general_dilated(lhs, rhs, **params)`` as `conv_p`; params must be hashable."""
    return _rebind(_Lax(lax.conv_general_dilated, _by_value(params)), implementation, lhs, rhs)


def compute(
    problem: ConvProblem,
    lhs: Any,
    rhs: Any,
    implementation: str | None,
    kernel: Callable[[Any], Any] | None = None,
    bias: Any = None,
) -> jax.Array:
    """A problem as `conv_p`. A forced `implementation` that refuses raises here, at the call.

    The right operand is ``kernel(rhs)`` where `kernel`, which must be hashable, is given; `bias`
    (channels,) has the dtype of the result.
    """
    if implementation is not None:
        dispatch.choose(problem, implementation)
    params = _by_value({**problem.parameters, "kernel": kernel})
    called = _Lax(_convolve, params)
    if bias is None or _fits(bias):
        return _rebind(called, implementation, lhs, rhs, bias=bias)
    y = _rebind(called, implementation, lhs, rhs)
    return _plus(y, problem.dimension_numbers[2][1], bias)


def _fits(bias: Any) -> bool:
    """Whether `biased_p` takes it: its type follows from the operands, not from the bias."""
    aval = jax.typeof(bias)
    return not getattr(aval, "vma", None) and not private.sharded_by_type((aval,))


def _convolve(lhs: Any, rhs: Any, kernel: Callable[[Any], Any] | None, **params: Any) -> Any:
    return lax.conv_general_dilated(lhs, kernel(rhs) if kernel else rhs, **params)


def _lax_of_views(lhs: Any, rhs: Any, view_ops: ViewOps, **params: Any) -> Any:
    return LAX_P.bind(lhs, apply_views(rhs, view_ops), **params)


def _linear_lhs(ct: Any, rhs: Any, aval: Any, **params: Any) -> Any:
    return jax.linear_transpose(lambda lhs: _lax_of_views(lhs, rhs, **params), aval)(ct)[0]


def _linear_rhs(ct: Any, lhs: Any, aval: Any, **params: Any) -> Any:
    return jax.linear_transpose(lambda rhs: _lax_of_views(lhs, rhs, **params), aval)(ct)[0]


def _transpose_lhs(ct: Any, lhs: Any, rhs: Any, *, implementation: str | None, **params: Any):
    return _rebind(_Lax(_linear_lhs, _by_value(params), lhs.aval), implementation, ct, rhs)


def _transpose_rhs(ct: Any, lhs: Any, rhs: Any, *, implementation: str | None, **params: Any):
    return _rebind(_Lax(_linear_rhs, _by_value(params), rhs.aval), implementation, ct, lhs)


def _mapped(lhs: Any, rhs: Any, axes: Any, **params: Any) -> Any:
    return jax.vmap(lambda lhs, rhs: _lax_of_views(lhs, rhs, **params), axes)(lhs, rhs)


def _batched(operands: Any, axes: Any, *, implementation: str | None, **params: Any):
    called = _Lax(_mapped, _by_value(params), tuple(axes))
    return _rebind(called, implementation, *operands), 0


def _spread(bias: Any, shape: tuple[int, ...], axis: int) -> Any:
    """The bias along the axis of channels of a result."""
    return lax.broadcast_in_dim(bias, shape, (axis,))


def _plus(y: Any, axis: int, bias: Any = None) -> Any:
    """A result with its bias, if there is one."""
    return y if bias is None else y + _spread(bias, y.shape, axis)


def _channels(params: dict[str, Any]) -> int:
    """Which axis of a result they are."""
    return params["dimension_numbers"].out_spec[1]


def _biased_jvp(primals: Any, tangents: Any, **params: Any) -> Any:
    (lhs, rhs, _), (d_lhs, d_rhs, d_bias) = primals, tangents
    y = biased_p.bind(*primals, **params)
    terms = []
    if not isinstance(d_lhs, ad.Zero):
        terms.append(conv_p.bind(d_lhs, rhs, **params))
    if not isinstance(d_rhs, ad.Zero):
        terms.append(conv_p.bind(lhs, d_rhs, **params))
    if not isinstance(d_bias, ad.Zero):
        terms.append(_spread(d_bias, y.shape, _channels(params)))
    return y, sum(terms[1:], terms[0])


def _biased_batched(operands: Any, axes: Any, **params: Any):
    (lhs, rhs, bias), (*both, axis) = operands, axes
    if any(of is not None for of in both):
        y, _ = _batched((lhs, rhs), both, **params)
    else:
        y = lax.broadcast(conv_p.bind(lhs, rhs, **params), (bias.shape[axis],))
    if axis is None:
        return _plus(y, _channels(params) + 1, bias), 0
    spread = partial(_spread, shape=y.shape[1:], axis=_channels(params))
    return y + jax.vmap(spread, axis)(bias), 0


def lower(platform: str | None, ctx: Any, lhs: Any, rhs: Any, *bias: Any, **params: Any) -> Any:
    """Lowering rule for `conv_p`, `biased_p` and, by `accelerate`, for lax's primitive.

    The best lowering on CPU, XLA's own elsewhere (`platform` None) unless another is asked for.
    The operations of a lowering stand under a scope of its name in the HLO.
    """
    implementation, view_ops = params.pop("implementation", None), params.pop("view_ops", ())
    (lhs_aval, rhs_aval, *_), (out_aval,) = ctx.avals_in, ctx.avals_out
    problem = ConvProblem.of(lhs_aval, apply_views_to_aval(rhs_aval, view_ops), params)
    explicit = private.sharded_by_type((lhs_aval, rhs_aval, out_aval))

    if problem is None or explicit or (platform is None and implementation is None):

        def call(lhs: Any, rhs: Any, *bias: Any) -> Any:
            y = plain_conv_p.bind(lhs, apply_views(rhs, view_ops), **params)
            return _plus(y, _channels(params), *bias)

        return mlir.lower_fun(call, multiple_results=False)(ctx, lhs, rhs, *bias)

    portable = private.partitioned(ctx) or private.exported(ctx)
    platform = platform or private.platform(ctx)
    lowering = dispatch.prefer(problem, implementation, platform, portable)

    def scoped(lhs: Any, rhs: Any, *bias: Any) -> Any:
        strides = strides_of(rhs.shape, view_ops)
        weights = strides and lowering.weights and lowering.weights(problem, strides)
        with jax.named_scope(f"jaxgroups.{lowering.name}"):
            if weights:  # read where they are
                return lowering.apply(problem, lhs, rhs, weights, *bias)
            y = lowering.apply(problem, lhs, apply_views(rhs, view_ops))
            return _plus(y, _channels(params), *bias)

    return mlir.lower_fun(scoped, multiple_results=False)(ctx, lhs, rhs, *bias)


def _evaluated(lhs: Any, rhs: Any, bias: Any = None, *, implementation: str | None, **params: Any):
    """What is bound outside of any trace: compiled, even where ``jax.disable_jit`` is on."""
    with jax.disable_jit(False):
        return _rebind(_Lax(_lax_of_views, _by_value(params)), implementation, lhs, rhs, bias=bias)


biased_p.def_impl(_evaluated)
ad.primitive_jvps[biased_p] = _biased_jvp
batching.primitive_batchers[biased_p] = _biased_batched
conv_p.def_impl(_evaluated)
ad.defbilinear(conv_p, _transpose_lhs, _transpose_rhs)
batching.primitive_batchers[conv_p] = _batched
for ours in (conv_p, biased_p):
    mlir.register_lowering(ours, partial(lower, None))
    mlir.register_lowering(ours, partial(lower, "cpu"), platform="cpu")
