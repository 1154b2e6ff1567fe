"""Tensors that the original makes: ranges and constants."""

from collections.abc import Sequence
from typing import Any

from jaxgroups.port._body import Body, op
from jaxgroups.port._expr import Expr, Lit
from jaxgroups.port._graph import Node
from jaxgroups.port._parts import dtype_of, joined


@op("aten.arange")
def _arange(b: Body, node: Node) -> None:
    parts = [b.size(n, name="size") for n in node.args]
    dtype = b.whole.graph.values[node.outputs[0]].dtype
    more = ", dtype=float" if dtype.startswith("float") else ""
    b.define(node, Expr(["jnp.arange(", *joined(parts), f"{more})"]))


@op("aten.zeros", "aten.ones", "aten.full")
def _filled(b: Body, node: Node) -> None:
    value = node.args[1] if node.op == "aten.full" else None
    after = b.whole.graph.values[node.outputs[0]]
    dtype = [] if after.dtype.startswith("float") else [dtype_of(after.dtype)]
    _constant(b, node, node.args[0], value, dtype)


@op("aten.new_zeros", "aten.new_ones", "aten.new_full")
def _new_filled(b: Body, node: Node) -> None:
    x, after = node.args[0], b.whole.graph.values[node.outputs[0]]
    value = node.args[2] if node.op == "aten.new_full" else None
    same = b.value(x).dtype == after.dtype
    dtype = Expr([b.read(x), ".dtype"]) if same else dtype_of(after.dtype)
    _constant(b, node, node.args[1], value, [dtype], [x])


def _constant(
    b: Body, node: Node, shape: Any, value: Any, dtype: list[Any], near: Sequence[Any] = ()
) -> None:
    """``jnp.zeros(shape, dtype)``."""
    name = node.op.removeprefix("aten.").removeprefix("new_")
    sizes = [b.size(n, near) for n in shape]
    held = Expr(["(", *joined(sizes), ",)" if len(sizes) == 1 else ")"])
    parts = [held, *([] if value is None else [Lit(value, "value")]), *dtype]
    if isinstance(dtype[0] if dtype else None, str):
        parts[-1] = f"dtype={dtype[0]}"
    b.define(node, Expr([f"jnp.{name}(", *joined(parts), ")"]))
