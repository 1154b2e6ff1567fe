"""Sums over the rows of a matrix, one for each channel: what normalization needs of a batch.

Of arrays ``(I, M, C)``, over M:

* `moments`: the mean and the biased variance of x, ``(I, C)`` each.
* `sums`: ``sum(a)`` and ``sum(a * (b - shift))``, ``(I, C)`` each, with `shift` of ``(I, C)``.
* `affine`: ``u + v * (b - shift)``, an array like b, with u, v and `shift` of ``(I, C)``.

The derivative of `moments` is `sums` of the tangent and x, with the mean as `shift`. The transpose
of `sums` in a is `affine`, and that of `affine` in u and v is `sums`. So a normalization and its
gradient read the batch once each for their sums.

On CPU, `moments` and `sums` are calls of a C++ kernel, which adds up in float64, in programs of one
device that are not exported. Everywhere else they are operations of XLA: it reads the array once
for each sum, and twice for a variance.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import jet
from jax.extend import core
from jax.interpreters import ad, batching, mlir

from jaxgroups import _native as native
from jaxgroups._op import primitive
from jaxgroups._problem import jax_private as private
from jaxgroups._types import Ints

FEW = 1 << 12  # numbers; of fewer, the call of a kernel takes longer than XLA's own sums
DTYPES = ("float32", "float64")

moments_p = core.Primitive("jaxgroups_channel_moments")
sums_p = core.Primitive("jaxgroups_channel_sums")
affine_p = core.Primitive("jaxgroups_channel_affine")
moments_p.multiple_results = sums_p.multiple_results = True


def takes(*operands: jax.Array) -> bool:
    """Whether the primitives take an array ``(..., C)``, the first operand, and the others.

    They do not where types name mesh axes: their own rules for types know none.
    """
    x = operands[0]
    if x.dtype.name not in DTYPES or 0 in x.shape:
        return False
    mesh = jax.sharding.get_abstract_mesh()
    types_name_axes = mesh.manual_axes or mesh.explicit_axes
    return all(map(primitive.ordinary, operands)) and not types_name_axes


def moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance over the middle axis of ``(I, M, C)``: ``(I, C)`` each."""
    mean, var = moments_p.bind(x)
    return mean, var


def sums(a: jax.Array, b: jax.Array, shift: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The sums of `a` and of ``a * (b - shift)`` over the middle axis: ``(I, C)`` each."""
    first, second = sums_p.bind(a, b, shift)
    return first, second


def affine(u: jax.Array, v: jax.Array, b: jax.Array, shift: jax.Array) -> jax.Array:
    """``u + v * (b - shift)``, of numbers ``(I, C)`` and an array ``(I, M, C)``."""
    return affine_p.bind(u, v, b, shift)


# --- as operations of JAX -------------------------------------------------------------------------


def moments_over(x: jax.Array, axes: Ints) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance over any axes, which stay with size 1.

    A number near the mean is subtracted before the sum, so that the mean keeps its digits where it
    is large: the first one, or the mean itself where a device may not have the first one. The array
    is read twice in any case.
    """
    if 0 in [x.shape[axis] for axis in axes]:
        start = jnp.zeros((1,) * x.ndim, x.dtype)
    elif private.sharded_by_type(jax.typeof(x)):
        start = jnp.mean(x, axes, keepdims=True)
    else:
        start = x[tuple(slice(0, 1) if i in axes else slice(None) for i in range(x.ndim))]
    start = lax.stop_gradient(jnp.where(jnp.isfinite(start), start, jnp.zeros_like(start)))
    mean = start + jnp.mean(x - start, axes, keepdims=True)
    return mean, jnp.mean(lax.square(x - mean), axes, keepdims=True)


def _composed_moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    if x.shape[0] == 1:  # XLA's CPU compiler needs up to 20 times as long with this axis
        mean, var = moments_over(x[0], (0,))
        return mean, var
    mean, var = moments_over(x, (1,))
    return mean[:, 0], var[:, 0]


def _composed_sums(a: jax.Array, b: jax.Array, shift: jax.Array) -> tuple[jax.Array, jax.Array]:
    if a.shape[0] == 1:
        a, b = a[0], b[0]
        return jnp.sum(a, 0)[None], jnp.sum(a * (b - shift), 0)[None]
    return jnp.sum(a, 1), jnp.sum(a * (b - shift[:, None]), 1)


def _composed_affine(u: jax.Array, v: jax.Array, b: jax.Array, shift: jax.Array) -> jax.Array:
    return u[:, None] + v[:, None] * (b - shift[:, None])


# --- rules ----------------------------------------------------------------------------------------


def _vectors(x: Any) -> Any:
    return x.update(shape=(x.shape[0], x.shape[2]), weak_type=False)


moments_p.def_abstract_eval(lambda x: (_vectors(x), _vectors(x)))
sums_p.def_abstract_eval(lambda a, b, shift: (_vectors(a), _vectors(a)))
affine_p.def_abstract_eval(lambda u, v, b, shift: b.update(weak_type=False))


def _moments_jvp(primals: Any, tangents: Any) -> Any:
    (x,), (dx,) = primals, tangents
    mean, var = moments_p.bind(x)
    count = jnp.asarray(x.shape[1], x.dtype)
    first, second = sums_p.bind(dx, x, mean)
    return [mean, var], [first / count, 2 * second / count]


def _linear_jvp(ours: Any, composed: Callable, linear: int, primals: Any, tangents: Any):
    """Of an operation that is linear in its first operands together."""
    if all(isinstance(tangent, ad.Zero) for tangent in tangents[linear:]):
        given = [ad.instantiate_zeros(tangent) for tangent in tangents[:linear]]
        rest = primals[linear:]
        return ours.bind(*primals), ours.bind(*given, *rest)
    given = [ad.instantiate_zeros(tangent) for tangent in tangents]
    y, dy = jax.jvp(composed, list(primals), given)
    return (list(y), list(dy)) if ours.multiple_results else (y, dy)


def _sums_transpose(cts: Any, a: Any, b: Any, shift: Any) -> Any:
    u, v = map(ad.instantiate_zeros, cts)
    return [affine_p.bind(u, v, b, shift), None, None]


def _affine_transpose(ct: Any, u: Any, v: Any, b: Any, shift: Any) -> Any:
    found = sums_p.bind(ct, b, shift)
    of = [
        n if ad.is_undefined_primal(given) else None for n, given in zip(found, (u, v), strict=True)
    ]
    return [*of, None, None]


def _batched(ours: Any, composed: Callable, operands: Any, axes: Any) -> Any:
    """One more axis is more instances; an operand without it is not repeated, but left to XLA."""
    if None in axes:
        result = jax.vmap(composed, axes)(*operands)
    else:
        moved = [jnp.moveaxis(x, axis, 0) for x, axis in zip(operands, axes, strict=True)]
        joined = [x.reshape(-1, *x.shape[2:]) for x in moved]
        found = ours.bind(*joined)
        split = partial(jax.tree.map, lambda y: y.reshape(*moved[0].shape[:2], *y.shape[1:]))
        result = split(found)
    if not ours.multiple_results:
        return result, 0
    return list(result), [0] * len(result)


def _series(ours: Any, composed: Callable, primals: Any, terms: Any) -> Any:
    """The rule for Taylor series."""
    y, series = jet.jet(composed, primals, terms)
    return (list(y), list(series)) if ours.multiple_results else (y, series)


def _lower(target: str, composed: Callable, ctx: Any, *operands: Any) -> Any:
    """The kernel, where the program is for one device and its sizes are known."""
    shape = ctx.avals_in[0].shape
    known = all(isinstance(n, int) for n in shape)
    size = shape[0] * shape[1] * shape[2] if known else 0
    if size < FEW or private.partitioned(ctx) or private.exported(ctx) or native.status().missing:
        return mlir.lower_fun(composed, multiple_results=True)(ctx, *operands)
    results = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in ctx.avals_out]

    def call(*operands: Any) -> Any:
        with jax.named_scope("jaxgroups.native"):
            return jax.ffi.ffi_call(target, results)(*operands)

    return mlir.lower_fun(call, multiple_results=True)(ctx, *operands)


_COMPOSED = ((moments_p, _composed_moments), (sums_p, _composed_sums), (affine_p, _composed_affine))
_TARGETS = {moments_p: native.CHANNEL_MOMENTS, sums_p: native.CHANNEL_SUMS}
for ours, composed in _COMPOSED:
    ours.def_impl(partial(primitive.evaluate, ours))
    batching.primitive_batchers[ours] = partial(_batched, ours, composed)
    jet.jet_rules[ours] = partial(_series, ours, composed)
    private.check_for_nans(ours)
    lowered = mlir.lower_fun(composed, multiple_results=ours.multiple_results)
    mlir.register_lowering(ours, lowered)
    if ours in _TARGETS:
        kernel = partial(_lower, _TARGETS[ours], composed)
        mlir.register_lowering(ours, kernel, platform="cpu")
ad.primitive_jvps[moments_p] = _moments_jvp
ad.primitive_jvps[sums_p] = partial(_linear_jvp, sums_p, _composed_sums, 1)
ad.primitive_jvps[affine_p] = partial(_linear_jvp, affine_p, _composed_affine, 2)
ad.primitive_transposes[sums_p] = _sums_transpose
ad.primitive_transposes[affine_p] = _affine_transpose
