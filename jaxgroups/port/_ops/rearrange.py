"""Elements repeated, reversed, shifted, or left out of a triangle."""

from jaxgroups.port import _order as orders
from jaxgroups.port._body import Body, op
from jaxgroups.port._errors import Unsupported
from jaxgroups.port._expr import Expr
from jaxgroups.port._graph import Node
from jaxgroups.port._ops.elementwise import argument
from jaxgroups.port._parts import joined


@op("aten.repeat")
def _repeat(b: Body, node: Node) -> None:
    x, counts = node.args
    order = b.order(x)
    if len(counts) != b.rank(x):  # new axes come first
        order = orders.natural(len(counts))
        x = b.read(x, orders.natural(b.rank(x)))
    else:
        x = b.read(x)
    parts = [b.size(counts[axis], [node.args[0]], "repeats") for axis in order]
    b.define(node, Expr(["jnp.tile(", x, ", (", *joined(parts), "))"]), order)


@op("aten.flip")
def _flip(b: Body, node: Node) -> None:
    x, dims = node.args
    axes = tuple(b.axis(x, dim) for dim in dims)
    held = axes[0] if len(axes) == 1 else axes
    b.define(node, Expr(["jnp.flip(", b.read(x), f", axis={held})"]), b.order(x))


@op("aten.roll")
def _roll(b: Body, node: Node) -> None:
    x, shifts = node.args[:2]
    dims = argument(node, 2, "dims")
    if not dims:
        raise Unsupported("roll of the flattened tensor")
    axes = tuple(b.axis(x, dim) for dim in dims)
    parts = [b.size(n, [x], "shift") for n in shifts]
    comma = "," if len(parts) == 1 else ""
    b.define(
        node,
        Expr(["jnp.roll(", b.read(x), ", (", *joined(parts), f"{comma}), axis={axes})"]),
        b.order(x),
    )


@op("aten.repeat_interleave")
def _repeat_interleave(b: Body, node: Node) -> None:
    x, count, dim = node.args[0], node.args[1], argument(node, 2, "dim")
    if not isinstance(count, int) or dim is None:
        raise Unsupported("repeats that depend on data, or without an axis")
    text = f", {count}, axis={b.axis(x, dim)})"
    b.define(node, Expr(["jnp.repeat(", b.read(x), text]), b.order(x))


@op("aten.tril", "aten.triu")
def _triangle(b: Body, node: Node) -> None:
    x, diagonal = node.args[0], argument(node, 1, "diagonal", 0)
    order = orders.natural(b.rank(x))
    more = f", {diagonal}" if diagonal else ""
    name = node.op.removeprefix("aten.")
    b.define(node, Expr([f"jnp.{name}(", b.read(x, order), f"{more})"]), order)
