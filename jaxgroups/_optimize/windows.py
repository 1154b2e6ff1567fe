"""Replaces the maximum over windows by maxima of slices, which XLA's CPU compiler vectorizes."""

from math import prod
from typing import Any

import jax
import jax.numpy as jnp

from jaxgroups._functional.feature_map import FeatureMap
from jaxgroups._functional.window import Window
from jaxgroups._optimize.graph import Graph, Node

_MOST_TAPS = 25  # each is an operation of the program


def as_slices(graph: Graph) -> None:
    """Change how the graph computes maxima over windows, in place."""
    if jax.default_backend() != "cpu":
        return
    for node in graph.nodes:
        if node.name == "reduce_window_max" and node.call is None and _replaceable(node):
            node.run = _run(node)


def _replaceable(node: Node) -> bool:
    params, aval = node.params, node.ins[0].aval
    return (
        all(isinstance(size, int) and size > 0 for size in (*aval.shape, *node.out.shape))
        and 1 < prod(params["window_dimensions"]) <= _MOST_TAPS
        and set(params["base_dilation"]) == {1}
        and jnp.issubdtype(aval.dtype, jnp.floating)
    )


def _run(node: Node) -> Any:
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
