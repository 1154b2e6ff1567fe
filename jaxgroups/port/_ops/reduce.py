"""Reductions and what runs along one axis: the axis is mapped, the order stays."""

from typing import Any

from jaxgroups.port import _order as orders
from jaxgroups.port._body import Body, op
from jaxgroups.port._errors import Unsupported
from jaxgroups.port._expr import Expr
from jaxgroups.port._graph import Node, Ref
from jaxgroups.port._ops.elementwise import argument
from jaxgroups.port._order import Order

_REDUCED = {
    "aten.sum": "sum",
    "aten.mean": "mean",
    "aten.amax": "max",
    "aten.amin": "min",
    "aten.prod": "prod",
    "aten.any": "any",
    "aten.all": "all",
}


def _axes(b: Body, x: Ref, dims: Any) -> tuple[str, list[int]]:
    """The text of the axis argument, and torch's axes."""
    rank = b.rank(x)
    if dims is None or dims == []:
        return "", list(range(rank))
    dims = [dims] if isinstance(dims, int) else list(dims)
    places = sorted(b.axis(x, dim) for dim in dims)
    places = [-1 if p == rank - 1 and len(places) == 1 else p for p in places]
    return str(places[0]) if len(places) == 1 else str(tuple(places)), dims


def _method(b: Body, node: Node, name: str, dims: Any, keep: bool, more: str = "") -> None:
    x = node.args[0]
    text, axes = _axes(b, x, dims)
    order = b.order(x) if keep else orders.without(b.order(x), axes)
    inner = ", ".join(part for part in (text, more, "keepdims=True" if keep else "") if part)
    b.define(node, Expr([b.read(x), f".{name}({inner})"]), order)


@op(*_REDUCED)
def _reduce(b: Body, node: Node) -> None:
    if node.kwargs.get("dtype") is not None:
        raise Unsupported("a reduction in another dtype")
    keep = argument(node, 2, "keepdim", False)
    _method(b, node, _REDUCED[node.op], argument(node, 1, "dim"), keep)


@op("aten.var", "aten.std")
def _var(b: Body, node: Node) -> None:
    name, x = node.op.removeprefix("aten."), node.args[0]
    dims, keep = argument(node, 1, "dim"), node.kwargs.get("keepdim", False)
    if isinstance(dims, bool):  # var(x, unbiased)
        dims, correction = None, int(dims)
    elif len(node.args) > 2 and isinstance(node.args[2], bool):
        correction = int(node.args[2])
        keep = argument(node, 3, "keepdim", keep)
    else:
        correction = node.kwargs.get("correction", 1)
        correction = 1 if correction is None else correction
    if name == "var":
        _method(b, node, name, dims, keep, f"ddof={correction}" if correction else "")
        return
    text, axes = _axes(b, x, dims)
    order = b.order(x) if keep else orders.without(b.order(x), axes)
    more = [f"dim={text}"] if text else []
    more += [f"correction={correction}"] if correction != 1 else []
    more += ["keepdim=True"] if keep else []
    _called(b, node, "jg.std", more, order)  # jnp.std has NaN as the gradient of equal numbers


@op("aten.max", "aten.min")
def _max(b: Body, node: Node) -> None:
    name = node.op.removeprefix("aten.")
    if len(node.args) == 1:
        _method(b, node, name, None, False)
        return
    if isinstance(node.args[1], Ref):
        from jaxgroups.port._ops.elementwise import apply

        apply(b, node, f"jnp.{name}imum({{0}}, {{1}})", list(node.args[:2]))
        return
    dim, keep = node.args[1], argument(node, 2, "keepdim", False)
    x = node.args[0]
    text, axes = _axes(b, x, dim)
    more = ", keepdims=True" if keep else ""
    order = b.order(x) if keep else orders.without(b.order(x), axes)
    place = [b.read(x), f".arg{name}({text}{more})"]
    if "float" in b.value(x).dtype:
        # torch's derivative is that of one of several equal values, JAX's is spread over them
        first = [b.read(x), f".arg{name}({text}, keepdims=True)"]
        values = ["jnp.take_along_axis(", b.read(x), ", ", *first, f", {text})"]
        values += [] if keep else [f".squeeze({text})"]
    else:
        values = [b.read(x), f".{name}({text}{more})"]
    if b.whole.is_used(node.outputs[1]):
        b.define_all(node, Expr([*values, ", ", *place], atom=False), order)
    else:
        b.define(node, Expr(values), order)


@op("aten.argmax", "aten.argmin")
def _argmax(b: Body, node: Node) -> None:
    dim = argument(node, 1, "dim")
    if dim is None:
        raise Unsupported("the place in the flattened tensor")
    _method(b, node, node.op.removeprefix("aten."), dim, argument(node, 2, "keepdim", False))


@op("aten.softmax", "aten.log_softmax", "aten._softmax", "aten._log_softmax")
def _softmax(b: Body, node: Node) -> None:
    name = node.op.removeprefix("aten.").lstrip("_")
    x, dim = node.args[:2]
    text, _ = _axes(b, x, dim)
    more = "" if text == "-1" else f", axis={text}"
    b.define(node, Expr([f"nnx.{name}(", b.read(x), f"{more})"]), b.order(x))


@op("aten.logsumexp")
def _logsumexp(b: Body, node: Node) -> None:
    x, keep = node.args[0], argument(node, 2, "keepdim", False)
    text, axes = _axes(b, x, node.args[1])
    order = b.order(x) if keep else orders.without(b.order(x), axes)
    more = ", keepdims=True" if keep else ""
    b.define(node, Expr(["nnx.logsumexp(", b.read(x), f", axis={text}{more})"]), order)


@op("aten.cumsum", "aten.cumprod")
def _cumulative(b: Body, node: Node) -> None:
    x, dim = node.args[:2]
    name = node.op.removeprefix("aten.")
    b.define(node, Expr([b.read(x), f".{name}({b.axis(x, dim)})"]), b.order(x))


@op("aten.norm", "aten.linalg_vector_norm", "aten.linalg_norm")
def _norm(b: Body, node: Node) -> None:
    if node.kwargs.get("dtype") is not None:
        raise Unsupported("a norm in another dtype")
    x, kind = node.args[0], argument(node, 1, "p" if node.op == "aten.norm" else "ord")
    dims, keep = argument(node, 2, "dim"), argument(node, 3, "keepdim", False)
    text, axes = _axes(b, x, dims)
    if node.op == "aten.linalg_norm" and kind is not None and len(axes) > 1:
        raise Unsupported("the norm of a matrix")
    order = b.order(x) if keep else orders.without(b.order(x), axes)
    more = [] if kind in (2, None) else [_norm_kind(kind)]
    more += [f"dim={text}"] if text else []
    more += ["keepdim=True"] if keep else []
    _called(b, node, "jg.vector_norm", more, order)


def _called(b: Body, node: Node, function: str, more: list[str], order: Order) -> None:
    """A function of the first operand; `more` are its other arguments, as text."""
    rest = "".join(f", {part}" for part in more)
    b.define(node, Expr([f"{function}(", b.read(node.args[0]), f"{rest})"]), order)


@op("aten.glu")
def _glu(b: Body, node: Node) -> None:
    x, dim = node.args[0], argument(node, 1, "dim", -1)
    b.define(node, Expr(["nnx.glu(", b.read(x), f", axis={b.axis(x, dim)})"]), b.order(x))


@op("aten.topk", "aten.sort")
def _topk(b: Body, node: Node) -> None:
    raise Unsupported("the order of equal values differs between torch and JAX")


def _norm_kind(kind: float) -> str:
    """The kind of a vector norm in the source."""
    if kind in (float("inf"), float("-inf")):
        return "jnp.inf" if kind > 0 else "-jnp.inf"
    return repr(kind)
