"""Rearrangements of an array, as a value: which of JAX's primitives, in order.

The gradients of a convolution mirror its weights and exchange their channels within groups; a
transposed convolution does so itself. As a parameter of the primitive such view_ops reach the
lowering, which may read the weights where they are (`_strides`) in place of a copy.
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
    """What an equation of a jaxpr does, if it is a view_op and no more."""
    if eqn.primitive not in (lax.transpose_p, lax.rev_p, lax.reshape_p):
        return None
    return ViewOp(eqn.primitive, tuple(sorted(eqn.params.items())))


def apply_views(array: Any, view_ops: ViewOps) -> Any:
    """The array after all view_ops."""
    for primitive, params in view_ops:
        array = primitive.bind(array, **dict(params))
    return array


def apply_views_to_aval(aval: Any, view_ops: ViewOps) -> Any:
    """The type of the array after all view_ops."""
    for primitive, params in view_ops:
        aval, _ = primitive.abstract_eval(aval, **dict(params))
    return aval


def strides_of(shape: tuple[int, ...], view_ops: ViewOps) -> Strides | None:
    """Where the elements after all view_ops are in the array before; None if not in steps."""
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
