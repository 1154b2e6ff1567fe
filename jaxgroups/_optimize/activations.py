"""Recognises activations among the users of a value."""

from math import inf, isclose
from typing import NamedTuple

from jaxgroups._optimize.channels import number
from jaxgroups._optimize.graph import Graph, Node, Value


class Found(NamedTuple):
    """An activation: its kind and numbers, as in `Epilogue`, its result, and its nodes."""

    kind: str
    alpha: float
    beta: float
    end: Value
    nodes: tuple[Node, ...]


def activation_of(graph: Graph, value: Value) -> Found | None:
    """The activation that is all that the program computes of a value."""
    users = graph.users_of(value)
    if not users or len(users) > 3:
        return None
    if len(users) == 1:
        return _sigmoid(users[0]) or _clip(graph, value) or _hardsigmoid(graph, value)
    return _gated(graph, value, users) or _leaky(graph, value, users)


def _other(node: Node, value: Value) -> Value | None:
    """The other operand of a node of two."""
    if len(node.ins) != 2 or node.ins[0] is node.ins[1]:
        return None
    return node.ins[1] if node.ins[0] is value else node.ins[0]


def _number(node: Node, value: Value) -> float | None:
    other = _other(node, value)
    return None if other is None else number(other)


def _only(graph: Graph, value: Value, *names: str) -> Node | None:
    """The one user of a value, if it has one of these names."""
    users = graph.users_of(value)
    return users[0] if users and len(users) == 1 and users[0].name in names else None


def _sigmoid(node: Node) -> Found | None:
    if node.name != "logistic":
        return None
    return Found("sigmoid", 0.0, 0.0, node.out, (node,))


def _clip(graph: Graph, value: Value) -> Found | None:
    node = _only(graph, value, "max", "min", "clamp")
    if node is None:
        return None
    if node.name == "clamp":
        least, x, most = node.ins
        low, high = number(least), number(most)
        if x is not value or low is None or high is None or low > high:
            return None
        return Found("clip", low, high, node.out, (node,))
    bound = _number(node, value)
    if bound is None:
        return None
    low, high = (bound, inf) if node.name == "max" else (-inf, bound)
    then = _only(graph, node.out, "min" if node.name == "max" else "max")
    second = None if then is None else _number(then, node.out)
    if then is not None and second is not None:
        both = (low, second) if node.name == "max" else (second, high)
        if both[0] <= both[1]:
            return Found("clip", *both, then.out, (node, then))
    return Found("clip", low, high, node.out, (node,))


def _sixth(graph: Graph, value: Value) -> Node | None:
    """The division by six of a value."""
    node = _only(graph, value, "div", "mul")
    by = None if node is None else _number(node, value)
    if node is None or by is None:
        return None
    if node.name == "div":
        return node if by == 6 and node.ins[0] is value else None
    return node if isclose(by, 1 / 6, rel_tol=1e-6) else None


def _shifted(graph: Graph, node: Node, value: Value) -> Found | None:
    """min(6, max(0, x + 3)), which begins with this node."""
    if node.name != "add" or _number(node, value) != 3:
        return None
    found = _clip(graph, node.out)
    if found is None or found[1:3] != (0.0, 6.0):
        return None
    return found._replace(nodes=(node, *found.nodes))


def _hardsigmoid(graph: Graph, value: Value) -> Found | None:
    node = _only(graph, value, "add")
    found = None if node is None else _shifted(graph, node, value)
    sixth = None if found is None else _sixth(graph, found.end)
    if found is None or sixth is None:
        return None
    return Found("hardsigmoid", 0.0, 0.0, sixth.out, (*found.nodes, sixth))


def _gated(graph: Graph, value: Value, users: list[Node]) -> Found | None:
    """silu and hardswish: the value times what is computed of it."""
    if len(users) != 2:
        return None
    for gate, product in (users, users[::-1]):
        if product.name != "mul":
            continue
        other = _other(product, value)
        if gate.name == "logistic" and other is gate.out and _only(graph, gate.out, "mul"):
            return Found("silu", 0.0, 0.0, product.out, (gate, product))
        found = _shifted(graph, gate, value)
        if found is None:
            continue
        sixth = _sixth(graph, found.end)
        if sixth is not None and other is sixth.out and _only(graph, sixth.out, "mul"):
            nodes = (*found.nodes, sixth, product)
            return Found("hardswish", 0.0, 0.0, product.out, nodes)
        sixth = _sixth(graph, product.out)
        if sixth is not None and other is found.end and _only(graph, found.end, "mul"):
            nodes = (*found.nodes, product, sixth)
            return Found("hardswish", 0.0, 0.0, sixth.out, nodes)
    return None


def _leaky(graph: Graph, value: Value, users: list[Node]) -> Found | None:
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
    return Found("leaky", slope, 0.0, choice.out, (test, product, choice))
