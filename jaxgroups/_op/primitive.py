"""The primitive: lax's convolution in all its rules, lowered on CPU by our chooser.

``lax.conv_general_dilated`` is closed under its own transformations: its jvp, both transposes and
its vmap are convolutions again. So no rule is written here. Each is lax's, re-bound: a function
that calls lax is traced to a jaxpr, and the jaxpr is evaluated with `conv_p` in place of lax's
primitive. Shapes, dtypes, shardings and the errors about them are lax's too.

`conv_p` has two parameters more than lax's. ``implementation`` is the name of a lowering, or None
for the best. ``view_ops`` are rearrangements of the right operand that come before the convolution.
lax's gradients begin with such rearrangements; as a parameter they let a lowering read the weights
in the original array.

`biased_p` is `conv_p` plus a bias, one number for each channel of the result, from which a kernel
starts its sums. Only the forward result uses it: its JVP and batching rules fall back to `conv_p`
plus an addition.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core
from jax.interpreters import ad, batching, mlir

from jaxgroups._lowerings import dispatch
from jaxgroups._lowerings.views import weights_of
from jaxgroups._op import lowered, partition, registries
from jaxgroups._problem import jax_private as private
from jaxgroups._problem.problem import ConvProblem, accumulation_dtype, widened
from jaxgroups._problem.view_ops import (
    ViewOps,
    apply_views,
    apply_views_to_aval,
    strides_of,
    view_op_of,
)
from jaxgroups._problem.xla_conv import LAX_P, plain_conv_p
from jaxgroups._types import Ints

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
    """A function that calls lax, compared by value, so that JAX caches what it traces."""

    function: Callable
    params: tuple[tuple[str, Any], ...]
    aval: Any = None

    def __call__(self, *operands: Any) -> Any:
        extra = () if self.aval is None else (self.aval,)
        return self.function(*operands, *extra, **_from_key(self.params))


# an eager call runs the jitted function again; inside another jit it leaves no trace of itself
@partial(jax.jit, static_argnums=(0, 1), inline=True)
def _rebind(called: _Lax, implementation: str | None, *operands: Any, bias: Any = None) -> Any:
    """``called(*operands)`` with every convolution of lax's bound as ours, plus the bias if any."""
    closed = jax.make_jaxpr(called)(*operands)
    known: dict[Any, Any] = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
    known.update(zip(closed.jaxpr.invars, operands, strict=True))
    origins: dict[Any, tuple[Any, ViewOps]] = {}  # of a view: the array before, and the view ops

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
            outs = _bind(lhs, rhs, bias, implementation, view_ops, eqn.params)
        else:
            params = eqn.primitive.get_bind_params(eqn.params)
            outs = eqn.primitive.bind(*map(read, eqn.invars), **params)
        outs = outs if eqn.primitive.multiple_results else [outs]
        known.update(zip(eqn.outvars, outs, strict=True))
    return read(closed.jaxpr.outvars[0])


def _bind(
    lhs: Any,
    rhs: Any,
    bias: Any | None,
    implementation: str | None,
    view_ops: ViewOps,
    params: dict[str, Any],
) -> Any:
    """`conv_p`, or `biased_p` where there is a bias; `params` are those of lax's primitive."""
    ours = {"implementation": implementation, "view_ops": view_ops, **params}
    return bind_given(lhs, rhs, bias, ours)


def bind_given(lhs: Any, rhs: Any, bias: Any | None, params: dict[str, Any]) -> Any:
    """`conv_p`, or `biased_p` where there is a bias, of its own parameters."""
    registries.enter_loaded()
    if bias is None:
        return conv_p.bind(lhs, rhs, **params)
    return biased_p.bind(lhs, rhs, bias, **params)


def _by_value(params: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Parameters as a key. A dtype becomes its name, because NumPy's float64 dtype equals None."""
    named = ((k, v.name if isinstance(v, np.dtype) else v) for k, v in params.items())
    return tuple(sorted(named))


def _from_key(key: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """The inverse of `_by_value`."""
    params = dict(key)
    if isinstance(params.get("preferred_element_type"), str):
        params["preferred_element_type"] = jnp.dtype(params["preferred_element_type"])
    return params


def bind(lhs: Any, rhs: Any, implementation: str | None = None, **params: Any) -> jax.Array:
    """``lax.conv_general_dilated(lhs, rhs, **params)`` as `conv_p`; params must be hashable."""
    return _rebind(_Lax(lax.conv_general_dilated, _by_value(params)), implementation, lhs, rhs)


def compute(
    problem: ConvProblem,
    lhs: Any,
    rhs: Any,
    implementation: str | None,
    kernel: Callable[[Any], Any] | None = None,
    bias: Any | None = None,
) -> jax.Array:
    """The result of a problem.

    Args:
      lhs: the left operand.
      rhs: the right operand, or what ``kernel`` makes it of.
      implementation: the name of a lowering, None for the best.
      kernel: a hashable function of rearrangements that returns the right operand.
      bias: (channels,), of the dtype of the result.

    Raises:
      ValueError: an `implementation` that does not support the problem.
    """
    if implementation is not None:
        dispatch.choose(problem, implementation)
    view_ops = view_ops_of(kernel, rhs.shape, rhs.dtype.name) if kernel else ()
    if view_ops is not None and ordinary(lhs) and ordinary(rhs) and ordinary(bias):
        params = lax_parameters(problem, *private.settings_of_lax())
        return _bind(lhs, rhs, bias, implementation, view_ops, params)
    called = _Lax(_convolve, _by_value({**problem.parameters, "kernel": kernel}))
    if ordinary(bias):
        return _rebind(called, implementation, lhs, rhs, bias=bias)
    called = _Lax(_convolve, _by_value({**problem.widened.parameters, "kernel": kernel}))
    y = _rebind(called, implementation, lhs, rhs)
    return _plus(y, problem.dimension_numbers[2][1], bias).astype(problem.result)


def ordinary(operand: Any | None) -> bool:
    """Whether lax binds an operand as it is: its type has no mesh axes."""
    if operand is None:
        return True
    aval = jax.typeof(operand)
    return not private.varies_over_devices(aval) and not private.sharded_by_type(aval)


@lru_cache(maxsize=4096)
def lax_parameters(problem: ConvProblem, *settings: Any) -> dict[str, Any]:
    """What lax's function makes of a problem's parameters; `settings`: those that it reads."""
    shapes = (problem.lhs_shape, problem.rhs_shape)
    operands = (jax.ShapeDtypeStruct(shape, problem.dtype) for shape in shapes)
    closed = jax.make_jaxpr(partial(lax.conv_general_dilated, **problem.parameters))(*operands)
    return next(eqn.params for eqn in closed.jaxpr.eqns if eqn.primitive is LAX_P)


@lru_cache(maxsize=4096)
def view_ops_of(kernel: Callable[[Any], Any], shape: Ints, dtype: str) -> ViewOps | None:
    """The view ops that `kernel` consists of; None if it does something else as well."""
    jaxpr = jax.make_jaxpr(kernel)(jax.ShapeDtypeStruct(shape, dtype)).jaxpr
    found = tuple(map(view_op_of, jaxpr.eqns))
    return None if None in found else found  # pyright: ignore[reportReturnType]


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


def _batched(
    operands: Any, axes: Any, *, implementation: str | None, bias: Any | None = None, **params: Any
):
    called = _Lax(_mapped, _by_value(params), tuple(axes))
    return _rebind(called, implementation, *operands, bias=bias), 0


def _broadcast_bias(bias: Any, shape: tuple[int, ...], axis: int) -> Any:
    """A bias broadcast to a result, along its channel axis."""
    return lax.broadcast_in_dim(bias, shape, (axis,))


def _plus(y: Any, axis: int, bias: Any | None) -> Any:
    """A result plus the bias, if there is one, in the dtype of the result."""
    return y if bias is None else y + _broadcast_bias(bias.astype(y.dtype), y.shape, axis)


def _channel_axis(params: dict[str, Any]) -> int:
    """The channel axis of the result."""
    return params["dimension_numbers"].out_spec[1]


def _wide(dtype: Any) -> Any:
    """The dtype that sums of `dtype` are kept in."""
    return jnp.dtype(accumulation_dtype(jnp.dtype(dtype).name))


def _biased_jvp(primals: Any, tangents: Any, **params: Any) -> Any:
    """Each term of the tangent has the dtype of the result, and so do the transposes."""
    (lhs, rhs, _), (d_lhs, d_rhs, d_bias) = primals, tangents
    y = biased_p.bind(*primals, **params)
    terms = []
    if not isinstance(d_lhs, ad.Zero):
        terms.append(conv_p.bind(d_lhs, rhs, **params))
    if not isinstance(d_rhs, ad.Zero):
        terms.append(conv_p.bind(lhs, d_rhs, **params))
    if not isinstance(d_bias, ad.Zero):
        wide = d_bias.astype(_wide(y.dtype))  # so that its transpose adds up in that dtype
        terms.append(_broadcast_bias(wide, y.shape, _channel_axis(params)).astype(y.dtype))
    return y, sum(terms[1:], terms[0])


def _biased_batched(operands: Any, axes: Any, **params: Any):
    (lhs, rhs, bias), (*both, axis) = operands, axes
    if both[1] is None and axis is None and params["batch_group_count"] == 1:
        # lax merges the mapped axis with the batch, so it stays one convolution with a bias
        return _batched((lhs, rhs), both, bias=bias, **params)
    wide = widened(params, bias.dtype)
    if any(of is not None for of in both):
        y, _ = _batched((lhs, rhs), both, **wide)
    else:
        y = lax.broadcast(conv_p.bind(lhs, rhs, **wide), (bias.shape[axis],))
    if axis is None:
        return _plus(y, _channel_axis(params) + 1, bias).astype(bias.dtype), 0
    broadcast = partial(_broadcast_bias, shape=y.shape[1:], axis=_channel_axis(params))
    return (y + jax.vmap(broadcast, axis)(bias.astype(y.dtype))).astype(bias.dtype), 0


def lower(
    platform: str | None, ctx: Any, lhs: Any, rhs: Any, bias: Any | None = None, **params: Any
) -> Any:
    """Lowering rule for `conv_p`, `biased_p` and, by `accelerate`, for lax's primitive.

    On CPU the lowering is the named one or the best. Elsewhere (`platform` None) it is XLA's own
    unless one is named. Its operations are in a scope of its name in the HLO. In a program for
    several devices the choice is made for the part of a device, when XLA splits the program.
    """
    implementation, view_ops = params.pop("implementation", None), params.pop("view_ops", ())
    (lhs_aval, rhs_aval, *_), (out_aval,) = ctx.avals_in, ctx.avals_out
    problem = ConvProblem.of(lhs_aval, apply_views_to_aval(rhs_aval, view_ops), params)
    sharded = any(map(private.sharded_by_type, (lhs_aval, rhs_aval, out_aval)))
    operands = (lhs, rhs) if bias is None else (lhs, rhs, bias)
    here = platform or private.platform(ctx)

    if platform == "cpu" and private.splittable(ctx) and partition.takes(problem, out_aval.shape):
        of_part = {**params, "implementation": implementation, "out_sharding": None}
        key = partition.key_of(partition.Part(_compute_part, _by_value(of_part)))

        def split(lhs: Any, rhs: Any, *bias: Any) -> Any:
            rhs = apply_views(rhs, view_ops)
            return partition.split_p.bind(lhs, rhs, *bias, key=key, **params)

        return mlir.lower_fun(split, multiple_results=False)(ctx, *operands)

    if problem is None or sharded or (platform is None and implementation is None):
        lowered.note(ctx, here, implementation, problem)

        # Other platforms keep their sums in float32, and have fast instructions for 16-bit results.
        wide = here == "cpu" or bias is not None
        of_xla = widened(params, out_aval.dtype) if wide else params

        def by_xla(lhs: Any, rhs: Any, bias: Any | None = None) -> Any:
            y = plain_conv_p.bind(lhs, apply_views(rhs, view_ops), **of_xla)
            return _plus(y, _channel_axis(params), bias).astype(out_aval.dtype)

        return mlir.lower_fun(by_xla, multiple_results=False)(ctx, *operands)

    portable = private.partitioned(ctx) or private.exported(ctx)
    choice = dispatch.prefer(problem, implementation, here, portable)
    lowering, view, _ = choice
    lowered.note(ctx, here, implementation, problem, choice)
    strides = strides_of(rhs_aval.shape, view_ops) if lowering.reads_views else None
    weights = strides and weights_of(problem, view, strides)

    def scoped(lhs: Any, rhs: Any, bias: Any | None = None) -> Any:
        with jax.named_scope(f"jaxgroups.{lowering.name}"):
            if weights:
                return lowering.apply(problem, view, lhs, rhs, weights, bias)
            rhs = apply_views(rhs, view_ops)
            if bias is None:
                return lowering.apply(problem, view, lhs, rhs)
            y = lowering.apply(problem.widened, view and view.widened, lhs, rhs)
            return _plus(y, _channel_axis(params), bias).astype(out_aval.dtype)

    return mlir.lower_fun(scoped, multiple_results=False)(ctx, *operands)


def _compute_part(lhs: Any, rhs: Any, bias: Any, params: dict[str, Any]) -> Any:
    """What a device computes of its parts of the operands."""
    return _bind(lhs, rhs, bias, params["implementation"], (), params)


@lru_cache(maxsize=4096)
def _compiled(primitive: Any, key: tuple[tuple[str, Any], ...]) -> Callable[..., jax.Array]:
    return jax.jit(partial(primitive.bind, **_from_key(key)))


def evaluate(primitive: Any, *operands: Any, **params: Any) -> jax.Array:
    """A primitive outside of any trace: compiled, also under ``jax.disable_jit``."""
    with jax.disable_jit(False):
        return _compiled(primitive, _by_value(params))(*operands)


for ours in (conv_p, biased_p):
    ours.def_impl(partial(evaluate, ours))
    mlir.register_lowering(ours, partial(lower, None))
    mlir.register_lowering(ours, partial(lower, "cpu"), platform="cpu")
ad.defbilinear(conv_p, _transpose_lhs, _transpose_rhs)
batching.primitive_batchers[conv_p] = _batched
ad.primitive_jvps[biased_p] = _biased_jvp
batching.primitive_batchers[biased_p] = _biased_batched
registries.register(conv_p, biased_p, lambda y, params, bias: _plus(y, _channel_axis(params), bias))
