"""Replaces matrix products with a constant matrix by convolutions of kernel size 1.

A product ``y[m, n] = sum_k x[m, k] w[k, n]`` is a convolution with `m` along its only spatial axis,
`k` as input channels and `n` as output channels. So the kernels compute it, with packed weights,
and what follows it is folded and fused as after any convolution.
"""

from math import prod
from typing import Any

import jax
from jax import lax

from jaxgroups._lowerings import dispatch
from jaxgroups._optimize.graph import Graph, Node, inlined
from jaxgroups._problem.problem import ConvProblem
from jaxgroups._problem.xla_conv import LAX_P

_DTYPES = ("float32", "float64")
_DIMENSIONS = ("NHC", "HIO", "NHC")


def as_convolutions(graph: Graph) -> dict[Node, Node]:
    """Replace products in place, if the kernels compute the convolutions.

    Returns the product of each new convolution.
    """
    if jax.default_backend() != "cpu":
        return {}
    products: dict[Node, Node] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        new = _replacement(node)
        nodes += new or [node]
        products |= {n: node for n in new or () if n.name == LAX_P.name}
    graph.nodes = nodes
    graph.drop_unused()
    return products


def _replacement(node: Node) -> list[Node] | None:
    """Nodes that compute the result of a product by a convolution; None for any other node."""
    if node.name != "dot_general" or node.call is not None:
        return None
    lhs, rhs = node.ins
    contracted, batch = node.params["dimension_numbers"]
    if lhs.fixed == rhs.fixed or any(batch) or len(contracted[0]) != 1:
        return None
    dtypes = {str(value.aval.dtype) for value in (lhs, rhs, node.out)}
    if len(dtypes) > 1 or dtypes.isdisjoint(_DTYPES) or node.params.get("out_sharding"):
        return None
    matrix, x = (lhs, rhs) if lhs.fixed else (rhs, lhs)
    if len(matrix.shape) != 2 or not all(isinstance(n, int) and n > 0 for n in x.shape):
        return None
    of_matrix, of_x = (axis for (axis,) in (contracted if lhs.fixed else contracted[::-1]))
    others = [size for axis, size in enumerate(x.shape) if axis != of_x]
    outputs = matrix.shape[1 - of_matrix]
    if outputs == 0:
        return None

    def convolved(x: Any, matrix: Any) -> Any:
        pixels = lax.reshape(_axis_moved(x, of_x, x.ndim - 1), (1, prod(others), x.shape[of_x]))
        kernel = matrix if of_matrix == 0 else matrix.T
        y = lax.conv_general_dilated(
            pixels, kernel[None], (1,), "VALID",
            dimension_numbers=_DIMENSIONS, precision=node.params["precision"],
        )  # fmt: skip
        y = lax.reshape(y, (*others, outputs))
        return _axis_moved(y, len(others), 0) if matrix_first else y

    matrix_first = lhs.fixed
    closed = jax.make_jaxpr(convolved)(x.aval, matrix.aval)
    nodes = inlined(closed, [x, matrix], node.out)
    return nodes if all(map(_has_kernel, nodes)) else None


def _axis_moved(array: Any, axis: int, to: int) -> Any:
    """The array with one axis at another place; no operation if it is there."""
    order = [i for i in range(array.ndim) if i != axis]
    order.insert(to, axis)
    return array if order == sorted(order) else lax.transpose(array, order)


def _has_kernel(node: Node) -> bool:
    """False for a convolution that the kernels do not compute."""
    if node.name != LAX_P.name:
        return True
    lhs, rhs = node.ins
    problem = ConvProblem.of(lhs.aval, rhs.aval, node.params)
    if problem is None:
        return False
    return dispatch.prefer(problem, None, "cpu", False, packed=True).lowering.fuses
