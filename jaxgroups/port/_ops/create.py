"""Tensors that the original makes: ranges and constants."""

from collections.abc import Sequence
from typing import Any

from jaxgroups.port import _order as orders
from jaxgroups.port._body import Body, op
from jaxgroups.port._errors import Unsupported
from jaxgroups.port._expr import Expr, Lit
from jaxgroups.port._graph import Node
from jaxgroups.port._ops.elementwise import argument
from jaxgroups.port._parts import dtype_of, joined


@op("aten.arange")
def _arange(b: Body, node: Node) -> None:
    parts = [b.size(n, name="size") for n in node.args]
    dtype = b.whole.graph.values[node.outputs[0]].dtype
    more = ", dtype=float" if dtype.startswith("float") else ""
    b.define(node, Expr(["jnp.arange(", *joined(parts), f"{more})"]))


@op("aten.linspace")
def _linspace(b: Body, node: Node) -> None:
    if _dtype(b, node) or any(b.is_tensor(x) for x in node.args):
        raise Unsupported("other than floats between two numbers")
    parts = [b.size(n, name="value") for n in node.args]
    b.define(node, Expr(["jnp.linspace(", *joined(parts), ")"]))


@op("aten.eye")
def _eye(b: Body, node: Node) -> None:
    parts = [b.size(n) for n in node.args]
    b.define(node, Expr(["jnp.eye(", *joined([*parts, *_dtype(b, node)]), ")"]))


def _dtype(b: Body, node: Node) -> list[str]:
    """The argument ``dtype=``, if it is not the usual one."""
    dtype = b.whole.graph.values[node.outputs[0]].dtype
    return [] if dtype in ("float32", "float64") else [f"dtype={dtype_of(dtype)}"]


@op("aten.meshgrid")
def _meshgrid(b: Body, node: Node) -> None:
    parts = [
        b.read(x) if b.rank(x) else Expr(["jnp.atleast_1d(", b.read(x), ")"]) for x in node.args[0]
    ]
    indexing = argument(node, 1, "indexing", "ij")
    expr = Expr(["jnp.meshgrid(", *joined(parts), f', indexing="{indexing}")'])
    b.define_all(node, expr, orders.natural(len(parts)))


@op("aten.one_hot")
def _one_hot(b: Body, node: Node) -> None:
    count = argument(node, 1, "num_classes", -1)
    if isinstance(count, int) and count < 0:
        raise Unsupported("as many classes as the data have")
    x = node.args[0]
    order = (*b.order(x), b.rank(x))
    expr = ["jax.nn.one_hot(", b.read(x), ", ", b.size(count, [x], "num_classes"), ", dtype=int)"]
    b.define(node, Expr(expr), order)


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
