"""A traced program as a flat list of nodes, with the users of every value.

Inner jaxprs of jit, remat and of functions with custom derivatives are inlined. A function with
custom derivatives of which nothing is rewritten is called as a whole, and keeps its derivatives.
Loops and branches are single nodes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import jax
from jax.extend import core

_PLAIN_CALLS = ("jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint")
_CUSTOM_CALLS = ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")
_MOST_CONSTANT = 1 << 16  # elements up to which a constant may be larger than its operands


@dataclass(eq=False)
class Value:
    """A value of the program.

    Attributes:
      aval: its abstract value.
      node: the node that computes it; None for an input or a constant.
      fixed: whether it does not depend on any input.
      array: the array of a constant, or of a fixed value that was computed; None if not known.
    """

    aval: Any
    node: "Node | None" = None
    fixed: bool = False
    array: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.aval.shape


@dataclass(eq=False)
class Call:
    """An inlined function with custom derivatives: the node of its call, and the inlined nodes."""

    node: "Node"
    members: "list[Node]" = field(default_factory=list)


@dataclass(eq=False)
class Node:
    """An operation.

    Attributes:
      name, params: of its primitive.
      run: ``run(*arrays)`` returns the results, one for each of `outs`.
      ins, outs: its operands and results.
      effects: whether it has side effects.
      call: the outermost inlined call that it belongs to.
    """

    name: str
    params: dict[str, Any]
    run: Callable[..., list[Any]]
    ins: list[Value]
    outs: list[Value]
    effects: bool = False
    call: Call | None = None

    @property
    def out(self) -> Value:
        """The only result."""
        return self.outs[0]


@dataclass(eq=False)
class Graph:
    """A program, with the nodes in an order in which they can be computed."""

    inputs: list[Value]
    nodes: list[Node]
    outputs: list[Value]
    users: dict[Value, list[Node]] = field(default_factory=dict)

    def drop_unused(self) -> None:
        """Remove nodes that no result needs, and rebuild the lists of users."""
        needed, kept = set(self.outputs), []
        for node in reversed(self.nodes):
            if node.effects or not needed.isdisjoint(node.outs):
                needed.update(node.ins)
                kept.append(node)
        self.nodes = kept[::-1]
        self.users = {}
        for node in self.nodes:
            for value in dict.fromkeys(node.ins):
                self.users.setdefault(value, []).append(node)

    def users_of(self, value: Value) -> list[Node] | None:
        """The nodes that read a value; None if it is also a result of the program."""
        return None if value in self.outputs else self.users.get(value, [])


def graph_of(closed: Any) -> Graph:
    """The graph of a closed jaxpr."""
    inputs = [Value(v.aval) for v in closed.jaxpr.invars]
    nodes: list[Node] = []
    consts = [_constant(array) for array in closed.consts]
    outputs = _inline(closed.jaxpr, consts, inputs, nodes, None)
    graph = Graph(inputs, nodes, outputs)
    graph.drop_unused()
    return graph


def inlined(closed: Any, ins: list[Value], out: Value) -> list[Node]:
    """The nodes of a closed jaxpr without constants that compute `out` from `ins`."""
    nodes: list[Node] = []
    (result,) = _inline(closed.jaxpr, (), ins, nodes, None)
    last = result.node
    if last is None:
        raise ValueError("the result of the jaxpr is one of its operands")
    last.outs = [out]
    out.node = last
    return nodes


def _constant(array: Any) -> Value:
    return Value(jax.typeof(array), None, True, array)


def _inline(
    jaxpr: Any, consts: Iterable[Value], ins: Iterable[Value], nodes: list[Node], call: Call | None
) -> list[Value]:
    """Append the nodes of a jaxpr to `nodes`; returns its results."""
    known: dict[Any, Value] = dict(zip(jaxpr.constvars, consts, strict=True))
    known.update(zip(jaxpr.invars, ins, strict=True))

    def read(atom: Any) -> Value:
        if isinstance(atom, core.Literal):
            return Value(atom.aval, None, True, atom.val)
        return known[atom]

    for eqn in jaxpr.eqns:
        values = [read(atom) for atom in eqn.invars]
        inner = _inner(eqn)
        if inner is None:
            node = _node(eqn, values, call)
            nodes.append(node)
            known.update(zip(eqn.outvars, node.outs, strict=True))
            continue
        within = call
        if eqn.primitive.name in _CUSTOM_CALLS and call is None:
            within = Call(_node(eqn, values, None))
        first = len(nodes)
        inner_consts = [_constant(array) for array in getattr(inner, "consts", ())]
        body = getattr(inner, "jaxpr", inner)
        outs = _inline(body, inner_consts, values, nodes, within)
        if within is not None and within is not call:
            within.members = nodes[first:]
            within.node.outs = outs
        known.update(zip(eqn.outvars, outs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _inner(eqn: Any) -> Any:
    """The jaxpr to inline; None where the equation is a node."""
    name, params = eqn.primitive.name, eqn.params
    if name not in (*_PLAIN_CALLS, *_CUSTOM_CALLS) or eqn.effects:
        return None
    shardings = (*params.get("in_shardings", ()), *params.get("out_shardings", ()))
    if any(type(sharding).__name__ != "UnspecifiedValue" for sharding in shardings):
        return None
    return next((params[k] for k in ("jaxpr", "call_jaxpr", "fun_jaxpr") if k in params), None)


def _node(eqn: Any, ins: list[Value], call: Call | None) -> Node:
    primitive, params = eqn.primitive, eqn.params

    def run(*arrays: Any) -> list[Any]:
        given = primitive.get_bind_params(params)
        subfunctions, rest = given if isinstance(given, tuple) else ((), given)
        outs = primitive.bind(*subfunctions, *arrays, **rest)
        return list(outs) if primitive.multiple_results else [outs]

    fixed = not eqn.effects and all(value.fixed for value in ins)
    node = Node(primitive.name, params, run, ins, [], bool(eqn.effects), call)
    node.outs = [Value(v.aval, node, fixed) for v in eqn.outvars]
    return node


def constant(value: Value) -> Any:
    """The array of a fixed value; None for other values, and for arrays that are too large."""
    if value.array is not None or value.node is None or not value.fixed:
        return value.array
    node = value.node
    given = sum(prod(v.shape) for v in node.ins)
    if sum(prod(v.shape) for v in node.outs) > max(2 * given, _MOST_CONSTANT):
        return None
    arrays = [constant(v) for v in node.ins]
    if any(array is None for array in arrays):
        return None
    for out, array in zip(node.outs, node.run(*arrays), strict=True):
        out.array = array
    return value.array
