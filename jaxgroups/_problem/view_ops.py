"""View ops: rearrangements of an array as a value, a sequence of JAX primitives.

The gradients of a convolution mirror its weights and exchange the channels within groups, and so
does a transposed convolution. The view ops are a parameter of our primitive. So a lowering knows
them and can read the weights in the original array, by `strides`, instead of copying them.
"""

from typing import Any, NamedTuple

from jax import lax

from jaxgroups._problem.strides import Strides


class ViewOp(NamedTuple):
    """One of the primitives transpose, rev and reshape, with its parameters."""

    primitive: Any
    params: tuple[tuple[str, Any], ...]


ViewOps = tuple[ViewOp, ...]


def view_op_of(eqn: Any) -> ViewOp | None:
    """The view op of an equation of a jaxpr; None if its primitive is not one of the three."""
    if eqn.primitive not in (lax.transpose_p, lax.rev_p, lax.reshape_p):
        return None
    return ViewOp(eqn.primitive, tuple(sorted(eqn.params.items())))


def apply_views(array: Any, view_ops: ViewOps) -> Any:
    """The array after the view ops."""
    for primitive, params in view_ops:
        array = primitive.bind(array, **dict(params))
    return array


def apply_views_to_aval(aval: Any, view_ops: ViewOps) -> Any:
    """The type of the array after the view ops."""
    for primitive, params in view_ops:
        aval, _ = primitive.abstract_eval(aval, **dict(params))
    return aval


def strides_of(shape: tuple[int, ...], view_ops: ViewOps) -> Strides | None:
    """Strides, in the array before the view ops, of the array after; None if there are none."""
    strides: Strides | None = Strides.of(shape)
    for primitive, items in view_ops:
        if strides is None:
            break
        params = dict(items)
        if primitive is lax.rev_p:
            strides = strides.reverse(params["dimensions"])
        elif primitive is lax.transpose_p:
            strides = strides.transpose(params["permutation"])
        else:
            order = params["dimensions"]
            strides = strides if order is None else strides.transpose(order)
            strides = strides.reshape(params["new_sizes"])
    return strides
