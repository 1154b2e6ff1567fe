"""Matches activations in the users of a value."""

from math import inf, isclose
from typing import NamedTuple

from jaxgroups._optimize.channels import number
from jaxgroups._optimize.graph import Graph, Node, Value


class Activation(NamedTuple):
    """An activation in the graph.

    Attributes:
      kind, alpha, beta: as in `Epilogue`.
      end: its result.
      nodes: the nodes that compute it.
    """

    kind: str
    alpha: float
    beta: float
    end: Value
    nodes: tuple[Node, ...]


def activation_of(graph: Graph, value: Value) -> Activation | None:
    """The activation that all users of a value belong to; None if there is none."""
    users = graph.users_of(value)
    if not users or len(users) > 3:
        return None
    if len(users) == 1:
        return _sigmoid(users[0]) or _clip(graph, value) or _hardsigmoid(graph, value)
    return _gated(graph, value, users) or _leaky(graph, value, users)


def _other(node: Node, value: Value) -> Value | None:
    """The other operand of a binary node."""
    if len(node.ins) != 2 or node.ins[0] is node.ins[1]:
        return None
    return node.ins[1] if node.ins[0] is value else node.ins[0]


def _number(node: Node, value: Value) -> float | None:
    other = _other(node, value)
    return None if other is None else number(other)


def _only(graph: Graph, value: Value, *names: str) -> Node | None:
    """The only user of a value, if it has one of these names."""
    users = graph.users_of(value)
    return users[0] if users and len(users) == 1 and users[0].name in names else None


def _sigmoid(node: Node) -> Activation | None:
    if node.name != "logistic":
        return None
    return Activation("sigmoid", 0.0, 0.0, node.out, (node,))


def _clip(graph: Graph, value: Value) -> Activation | None:
    node = _only(graph, value, "max", "min", "clamp")
    if node is None:
        return None
    if node.name == "clamp":
        least, x, most = node.ins
        low, high = number(least), number(most)
        if x is not value or low is None or high is None or low > high:
            return None
        return Activation("clip", low, high, node.out, (node,))
    bound = _number(node, value)
    if bound is None:
        return None
    low, high = (bound, inf) if node.name == "max" else (-inf, bound)
    then = _only(graph, node.out, "min" if node.name == "max" else "max")
    second = None if then is None else _number(then, node.out)
    if then is not None and second is not None:
        both = (low, second) if node.name == "max" else (second, high)
        if both[0] <= both[1]:
            return Activation("clip", *both, then.out, (node, then))
    return Activation("clip", low, high, node.out, (node,))


def _sixth(graph: Graph, value: Value) -> Node | None:
    """The division of a value by six."""
    node = _only(graph, value, "div", "mul")
    by = None if node is None else _number(node, value)
    if node is None or by is None:
        return None
    if node.name == "div":
        return node if by == 6 and node.ins[0] is value else None
    return node if isclose(by, 1 / 6, rel_tol=1e-6) else None


def _shifted(graph: Graph, node: Node, value: Value) -> Activation | None:
    """``min(6, max(0, x + 3))`` that begins with this node."""
    if node.name != "add" or _number(node, value) != 3:
        return None
    inner = _clip(graph, node.out)
    if inner is None or inner[1:3] != (0.0, 6.0):
        return None
    return inner._replace(nodes=(node, *inner.nodes))


def _hardsigmoid(graph: Graph, value: Value) -> Activation | None:
    node = _only(graph, value, "add")
    inner = None if node is None else _shifted(graph, node, value)
    sixth = None if inner is None else _sixth(graph, inner.end)
    if inner is None or sixth is None:
        return None
    return Activation("hardsigmoid", 0.0, 0.0, sixth.out, (*inner.nodes, sixth))


def _gated(graph: Graph, value: Value, users: list[Node]) -> Activation | None:
    """silu and hardswish: the value times a function of it."""
    if len(users) != 2:
        return None
    for gate, product in (users, users[::-1]):
        if product.name != "mul":
            continue
        other = _other(product, value)
        if gate.name == "logistic" and other is gate.out and _only(graph, gate.out, "mul"):
            return Activation("silu", 0.0, 0.0, product.out, (gate, product))
        inner = _shifted(graph, gate, value)
        if inner is None:
            continue
        sixth = _sixth(graph, inner.end)
        if sixth is not None and other is sixth.out and _only(graph, sixth.out, "mul"):
            nodes = (*inner.nodes, sixth, product)
            return Activation("hardswish", 0.0, 0.0, product.out, nodes)
        sixth = _sixth(graph, product.out)
        if sixth is not None and other is inner.end and _only(graph, inner.end, "mul"):
            nodes = (*inner.nodes, product, sixth)
            return Activation("hardswish", 0.0, 0.0, sixth.out, nodes)
    return None


def _leaky(graph: Graph, value: Value, users: list[Node]) -> Activation | None:
    named = {node.name: node for node in users}
    test = named.get("ge") or named.get("gt")
    product, choice = named.get("mul"), named.get("select_n")
    if len(users) != 3 or test is None or product is None or choice is None:
        return None
    slope = _number(product, value)
    zero = number(test.ins[1]) if test.ins[0] is value else None
    if slope is None or zero != 0 or choice.ins != [test.out, product.out, value]:
        return None
    if not (_only(graph, test.out, "select_n") and _only(graph, product.out, "select_n")):
        return None
    return Activation("leaky", slope, 0.0, choice.out, (test, product, choice))
