"""Replaces two reductions for which XLA's CPU compiler writes slow loops.

The maximum over windows becomes a maximum of slices, and the sum over all spatial axes of an array
with its channels last a product with ones.
"""

from math import prod
from typing import Any

import jax
import jax.numpy as jnp

from jaxgroups._functional.feature_map import FeatureMap
from jaxgroups._functional.spatial_sum import spatial_sum
from jaxgroups._functional.window import Window
from jaxgroups._optimize.graph import Graph, Node

_MOST_TAPS = 25  # each is an operation of the program


def replace_reductions(graph: Graph) -> None:
    """Change how the graph computes these reductions, in place."""
    if jax.default_backend() != "cpu":
        return
    for node in graph.nodes:
        if node.name not in ("reduce_window_max", "reduce_sum") or node.call is not None:
            continue
        sizes = (*node.ins[0].shape, *node.out.shape)
        if not all(isinstance(size, int) and size > 0 for size in sizes):
            continue
        if node.name == "reduce_sum" and _spatial(node):
            node.run = _spatial_sum(node)
        elif node.name == "reduce_window_max" and _few_taps(node):
            node.run = _largest(node)


def _spatial(node: Node) -> bool:
    """Whether a sum leaves one batch axis and the last axis, the channels."""
    aval = node.ins[0].aval
    return (
        aval.ndim > 2
        and tuple(node.params["axes"]) == tuple(range(1, aval.ndim - 1))
        and aval.dtype in (jnp.float32, jnp.float64)
        and node.params.get("out_sharding") is None
    )


def _spatial_sum(node: Node) -> Any:
    axes, shape = tuple(node.params["axes"]), node.out.shape
    return lambda x: [spatial_sum(FeatureMap(x, axes, x.ndim - 1)).reshape(shape)]


def _few_taps(node: Node) -> bool:
    params = node.params
    return (
        1 < prod(params["window_dimensions"]) <= _MOST_TAPS
        and set(params["base_dilation"]) == {1}
        and jnp.issubdtype(node.out.aval.dtype, jnp.floating)
    )


def _largest(node: Node) -> Any:
    params, outputs, original = node.params, node.out.shape, node.run
    window = Window(
        "optimize",
        params["window_dimensions"],
        params["window_strides"],
        tuple(low for low, _ in params["padding"]),
        params["window_dilation"],
        False,
    )

    @jax.custom_jvp
    def largest(x: jax.Array) -> jax.Array:
        image = FeatureMap(x, tuple(range(x.ndim)), x.ndim - 1)
        first, *rest = window.slices(image, outputs, -jnp.inf)
        for value in rest:
            first = jnp.maximum(first, value)
        return first

    @largest.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        return jax.jvp(lambda x: original(x)[0], primals, tangents)

    return lambda x: [largest(x)]
