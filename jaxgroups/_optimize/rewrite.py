"""Replaces each convolution and its chain by one node."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgroups._lowerings import dispatch
from jaxgroups._lowerings import native as kernels
from jaxgroups._lowerings.views import Forward
from jaxgroups._op import fused, primitive
from jaxgroups._optimize.chain import CONVOLUTIONS, Chain, chain_of
from jaxgroups._optimize.graph import Call, Graph, Node, Value
from jaxgroups._optimize.products import as_convolutions
from jaxgroups._optimize.reductions import replace_reductions


class Rewritten(NamedTuple):
    """The result for one convolution.

    Attributes:
      node: the convolution, or the matrix product, in the program.
      chain: what replaced it; None where it was not changed.
      reason: why it was not changed.
      packed: bytes of its packed weights.
    """

    node: Node
    chain: Chain | None
    reason: str
    packed: int


def rewrite(graph: Graph) -> list[Rewritten]:
    """Rewrite every convolution, and every product with a constant matrix, in place."""
    replace_reductions(graph)
    products = as_convolutions(graph)
    done: list[Rewritten] = []
    position = {node: i for i, node in enumerate(graph.nodes)}
    replaced: dict[Node, Node | None] = {}  # by another node, or removed
    for node in list(graph.nodes):
        if node.name not in CONVOLUTIONS:
            continue
        chain = chain_of(graph, node)
        if isinstance(chain, str):
            done.append(Rewritten(products.get(node, node), None, chain, 0))
            continue
        members = [node, *chain.members]
        new, packed = _node(chain)
        for member in members:
            replaced[member] = None
            for value in dict.fromkeys(member.ins):
                graph.users[value].remove(member)
        replaced[max(members, key=position.__getitem__)] = new
        for value in dict.fromkeys(new.ins):
            graph.users.setdefault(value, []).append(new)
        done.append(Rewritten(products.get(node, node), chain, "", packed))
    graph.nodes = _rebuilt(graph.nodes, replaced)
    graph.drop_unused()
    return done


def _rebuilt(nodes: list[Node], replaced: dict[Node, Node | None]) -> list[Node]:
    """The nodes after the replacements; an inlined call without any becomes one node again."""
    result: list[Node] = []
    called: set[Call] = set()
    for node in nodes:
        if node in replaced:
            new = replaced[node]
            result += [] if new is None else [new]
        elif node.call is None or any(member in replaced for member in node.call.members):
            result.append(node)
        elif node.call not in called:
            called.add(node.call)
            result.append(node.call.node)
    return result


def _node(chain: Chain) -> tuple[Node, int]:
    """The one node of a chain, and the bytes of its packed weights."""
    dtype = chain.problem.dtype
    lhs, rhs = chain.node.ins[:2]
    view_ops = chain.node.params.get("view_ops", ())
    if chain.weights is not None and (chain.scaled or view_ops):
        rhs, view_ops = _constant(chain.weights.astype(dtype)), ()
    bias = chain.free_bias if chain.bias is None else _constant(chain.bias.astype(dtype))
    packed = None if chain.weights is None else _packed(chain, chain.weights.astype(dtype))
    layout = 0 if packed is None else packed[1]
    others = [bias, chain.residual, None if packed is None else _constant(packed[0])]
    params = {**chain.params, "implementation": chain.implementation, "view_ops": view_ops}
    epilogue, path, before = chain.epilogue, chain.path, chain.before_residual
    present = [other is not None for other in others]

    def run(lhs: Any, rhs: Any, *rest: Any) -> list[Any]:
        arrays = iter(rest)
        bias, residual, packed = (next(arrays) if given else None for given in present)
        if residual is not None and before is not None:
            residual = before.undo(residual)
        if not epilogue and not layout:
            y = primitive.bind_given(lhs, rhs, bias, params)
        else:
            y = fused.bind(
                lhs, rhs, bias, residual, epilogue, packed=packed, layout=layout, **params
            )
        return [path.apply(y)]

    ins = [lhs, rhs, *(other for other in others if other is not None)]
    new = Node("jaxgroups_optimized", {}, run, ins, [chain.end])
    chain.end.node = new
    return new, 0 if packed is None else packed[0].nbytes


def _constant(array: np.ndarray) -> Value:
    on_device = jnp.asarray(array)
    return Value(jax.typeof(on_device), None, True, on_device)


def _packed(chain: Chain, weights: np.ndarray) -> tuple[np.ndarray, int] | None:
    """The packed weights and their layout, if the kernels compute the convolution; else None."""
    if jax.default_backend() != "cpu":
        return None
    problem = chain.problem
    lowering, view, _ = dispatch.prefer(problem, chain.implementation, "cpu", False, packed=True)
    if not lowering.fuses or not isinstance(view, Forward):
        return None
    o, i, *window = problem.dimension_numbers[1]
    return kernels.pack(view, weights.transpose(*window, i, o))
