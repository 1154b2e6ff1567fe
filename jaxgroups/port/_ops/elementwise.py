"""Operations element by element: any order of axes, the same for all operands."""

from typing import Any

from jaxgroups.port import _order as orders
from jaxgroups.port._body import Body, op
from jaxgroups.port._errors import Unsupported
from jaxgroups.port._expr import Expr, Lit, Self
from jaxgroups.port._graph import Node, Ref, refs
from jaxgroups.port._layers import made
from jaxgroups.port._parts import dtype_of, fill

# by operation: the expression, where {0} is the tensor
_UNARY = {
    "aten.relu": "nnx.relu({0})",
    "aten.relu6": "nnx.relu6({0})",
    "aten.sigmoid": "nnx.sigmoid({0})",
    "aten.tanh": "jnp.tanh({0})",
    "aten.silu": "nnx.silu({0})",
    "aten.hardswish": "nnx.hard_swish({0})",
    "aten.hardsigmoid": "nnx.hard_sigmoid({0})",
    "aten.selu": "nnx.selu({0})",
    "aten.mish": "jax.nn.mish({0})",
    "aten.log_sigmoid": "nnx.log_sigmoid({0})",
    "aten.exp": "jnp.exp({0})",
    "aten.log": "jnp.log({0})",
    "aten.log1p": "jnp.log1p({0})",
    "aten.sqrt": "jnp.sqrt({0})",
    "aten.rsqrt": "jax.lax.rsqrt({0})",
    "aten.sin": "jnp.sin({0})",
    "aten.cos": "jnp.cos({0})",
    "aten.erf": "jax.scipy.special.erf({0})",
    "aten.square": "jnp.square({0})",
    "aten.reciprocal": "jnp.reciprocal({0})",
    "aten.sign": "jnp.sign({0})",
    "aten.floor": "jnp.floor({0})",
    "aten.ceil": "jnp.ceil({0})",
    "aten.round": "jnp.round({0})",
    "aten.logical_not": "jnp.logical_not({0})",
    "aten.bitwise_not": "~{0}",
    "aten.isnan": "jnp.isnan({0})",
    "aten.isinf": "jnp.isinf({0})",
    "aten.isfinite": "jnp.isfinite({0})",
    "aten.trunc": "jnp.trunc({0})",
    "aten.frac": "{0} - jnp.trunc({0})",
    "aten.expm1": "jnp.expm1({0})",
    "aten.exp2": "jnp.exp2({0})",
    "aten.log2": "jnp.log2({0})",
    "aten.log10": "jnp.log10({0})",
    "aten.erfc": "jax.scipy.special.erfc({0})",
    "aten.tan": "jnp.tan({0})",
    "aten.asin": "jnp.arcsin({0})",
    "aten.acos": "jnp.arccos({0})",
    "aten.atan": "jnp.arctan({0})",
    "aten.sinh": "jnp.sinh({0})",
    "aten.cosh": "jnp.cosh({0})",
    "aten.asinh": "jnp.arcsinh({0})",
    "aten.acosh": "jnp.arccosh({0})",
    "aten.atanh": "jnp.arctanh({0})",
    "aten.neg": "-{0}",
}
_BINARY = {
    "aten.mul": "{0} * {1}",
    "aten.div": "{0} / {1}",
    "aten.true_divide": "{0} / {1}",
    "aten.maximum": "jnp.maximum({0}, {1})",
    "aten.minimum": "jnp.minimum({0}, {1})",
    "aten.pow": "{0} ** {1}",
    "aten.remainder": "{0} % {1}",
    "aten.fmod": "jnp.fmod({0}, {1})",
    "aten.floor_divide": "{0} // {1}",
    "aten.atan2": "jnp.arctan2({0}, {1})",
    "aten.eq": "{0} == {1}",
    "aten.ne": "{0} != {1}",
    "aten.lt": "{0} < {1}",
    "aten.le": "{0} <= {1}",
    "aten.gt": "{0} > {1}",
    "aten.ge": "{0} >= {1}",
    "aten.logical_and": "jnp.logical_and({0}, {1})",
    "aten.logical_or": "jnp.logical_or({0}, {1})",
    "aten.bitwise_and": "{0} & {1}",
    "aten.bitwise_or": "{0} | {1}",
    "aten.bitwise_xor": "{0} ^ {1}",
    "aten.__xor__": "{0} ^ {1}",
    "aten.__and__": "{0} & {1}",
    "aten.__or__": "{0} | {1}",
}


def apply(b: Body, node: Node, template: str, operands: list[Any]) -> None:
    """The expression of operands that broadcast; numbers are literals."""
    tensors = [x for x in operands if b.is_tensor(x)]
    if not tensors:
        raise Unsupported("no tensor among its operands")
    order = b.common(tensors)
    parts = [
        b.aligned(x, order) if b.is_tensor(x) else b.size(x, tensors, "value") for x in operands
    ]
    atom = template.endswith(")") and not template.startswith(("{", "(", "-"))
    b.define(node, Expr(fill(template, parts), atom), order)
    if tensors[0].number in b.whole.permuted:
        b.whole.permuted[node.outputs[0]] = b.whole.permuted[tensors[0].number]


def argument(node: Node, place: int, name: str, default: Any = None) -> Any:
    """An argument given by position or by name."""
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


@op(*_UNARY)
def _unary(b: Body, node: Node) -> None:
    if node.args[1:] or node.kwargs:
        raise Unsupported(f"arguments besides the tensor: {[*node.args[1:]]} {node.kwargs}")
    apply(b, node, _UNARY[node.op], [node.args[0]])


@op("aten.abs")
def _abs(b: Body, node: Node) -> None:
    """The derivative of ``jnp.abs`` at 0 is 1, torch's is 0."""
    real = not b.value(node.args[0]).dtype.startswith("complex")
    apply(b, node, "{0} * jnp.sign({0})" if real else "jnp.abs({0})", [node.args[0]])


@op(*_BINARY)
def _binary(b: Body, node: Node) -> None:
    if node.kwargs.get("rounding_mode") is not None:
        floor = node.kwargs["rounding_mode"] == "floor"
        if not floor and not b.whole.graph.values[node.outputs[0]].dtype.startswith("float"):
            raise Unsupported("a division of integers that truncates")
        text = "{0} // {1}" if floor else "jnp.trunc({0} / {1})"
        apply(b, node, text, list(node.args[:2]))
        return
    if node.op == "aten.pow" and node.args[1] == 0.5:  # torch computes it as a root
        apply(b, node, "jnp.sqrt({0})", [node.args[0]])
        return
    apply(b, node, _BINARY[node.op], list(node.args[:2]))


@op("aten.softshrink")
def _softshrink(b: Body, node: Node) -> None:
    bound = argument(node, 1, "lambd", 0.5)
    more = [] if bound == 0.5 else [bound]
    apply(b, node, f"jg.softshrink({{0}}{', {1}' if more else ''})", [node.args[0], *more])


@op("aten.threshold")
def _threshold(b: Body, node: Node) -> None:
    apply(b, node, "jnp.where({0} > {1}, {0}, {2})", list(node.args[:3]))


@op("aten.hardshrink")
def _hardshrink(b: Body, node: Node) -> None:
    least = argument(node, 1, "lambd", 0.5)
    apply(b, node, "jnp.where(jnp.abs({0}) > {1}, {0}, 0)", [node.args[0], least])


@op("aten.add", "aten.sub", "aten.rsub")
def _sum(b: Body, node: Node) -> None:
    left, right = node.args[:2]
    scale = argument(node, 2, "alpha", 1)
    if node.op == "aten.rsub":
        left, right = right, left
    sign = "+" if node.op == "aten.add" else "-"
    if scale == 1:
        apply(b, node, f"{{0}} {sign} {{1}}", [left, right])
    else:
        apply(b, node, f"{{0}} {sign} {{2}} * {{1}}", [left, right, scale])


@op("aten.leaky_relu")
def _leaky_relu(b: Body, node: Node) -> None:
    slope = argument(node, 1, "negative_slope", 0.01)
    if slope == 0.01:
        apply(b, node, "jg.leaky_relu({0})", [node.args[0]])
    else:
        apply(b, node, "jg.leaky_relu({0}, {1})", [node.args[0], slope])


@op("aten.elu", "aten.celu")
def _elu(b: Body, node: Node) -> None:
    alpha = argument(node, 1, "alpha", 1)
    if argument(node, 2, "scale", 1) != 1 or argument(node, 3, "input_scale", 1) != 1:
        raise Unsupported("elu with a scale")
    name = node.op.removeprefix("aten.")
    if alpha == 1:
        apply(b, node, f"nnx.{name}({{0}})", [node.args[0]])
    else:
        apply(b, node, f"nnx.{name}({{0}}, {{1}})", [node.args[0], alpha])


@op("aten.gelu")
def _gelu(b: Body, node: Node) -> None:
    exact = node.kwargs.get("approximate", "none") == "none"
    apply(b, node, f"nnx.gelu({{0}}, approximate={not exact})", [node.args[0]])


@op("aten.softplus")
def _softplus(b: Body, node: Node) -> None:
    beta, threshold = argument(node, 1, "beta", 1), argument(node, 2, "threshold", 20)
    if beta != 1:
        soft = "nnx.softplus({2} * {0}) / {2}"
        text = f"jnp.where({{2}} * {{0}} > {{1}}, {{0}}, {soft})"
        apply(b, node, text, [node.args[0], threshold, beta])
        return
    apply(b, node, "jnp.where({0} > {1}, {0}, nnx.softplus({0}))", [node.args[0], threshold])


@op("aten.hardtanh", "aten.clamp", "aten.clip", "aten.clamp_min", "aten.clamp_max")
def _clip(b: Body, node: Node) -> None:
    # their derivatives at the bounds differ from those of jnp.clip, jnp.minimum and jnp.maximum
    if node.op == "aten.hardtanh":
        low, high = argument(node, 1, "min_val", -1.0), argument(node, 2, "max_val", 1.0)
        if (low, high) == (0, 6):
            apply(b, node, "nnx.relu6({0})", [node.args[0]])
        elif (low, high) == (-1, 1):
            apply(b, node, "jg.hardtanh({0})", [node.args[0]])
        else:
            apply(b, node, "jg.hardtanh({0}, {1}, {2})", [node.args[0], low, high])
        return
    low, high = argument(node, 1, "min"), argument(node, 2, "max")
    if node.op == "aten.clamp_max":
        low, high = None, low if low is not None else high
    if low is None:
        apply(b, node, "jg.clamp({0}, max={1})", [node.args[0], high])
    elif high is None:
        apply(b, node, "jg.clamp({0}, {1})", [node.args[0], low])
    else:
        apply(b, node, "jg.clamp({0}, {1}, {2})", [node.args[0], low, high])


@op("aten.where")
def _where(b: Body, node: Node) -> None:
    if len(node.args) != 3:
        raise Unsupported("where without values has a shape that depends on data")
    apply(b, node, "jnp.where({0}, {1}, {2})", list(node.args))


@op("aten.masked_fill")
def _masked_fill(b: Body, node: Node) -> None:
    x, mask, value = node.args
    apply(b, node, "jnp.where({1}, {2}, {0})", [x, mask, value])


@op("aten.addcmul")
def _addcmul(b: Body, node: Node) -> None:
    if node.kwargs.get("value", 1) != 1:
        raise Unsupported("addcmul with a value")
    apply(b, node, "{0} + {1} * {2}", list(node.args[:3]))


@op("aten.lerp")
def _lerp(b: Body, node: Node) -> None:
    apply(b, node, "{0} + {2} * ({1} - {0})", list(node.args[:3]))


@op(
    "aten.contiguous",
    "aten.alias",
    "aten.lift_fresh_copy",
    "aten.detach_",
    "aten.clone",
    "aten.lift_fresh",
)
def _same(b: Body, node: Node) -> None:
    b.same(node, node.args[0])


@op("aten.detach")
def _detach(b: Body, node: Node) -> None:
    if _has_gradient(b, node.args[0], set()):
        apply(b, node, "jax.lax.stop_gradient({0})", [node.args[0]])
    else:
        b.same(node, node.args[0])


def _has_gradient(b: Body, x: Any, seen: set[int]) -> bool:
    """Whether a value depends on an input or a parameter."""
    value = b.value(x)
    if value.constant is not None or value.buffer or not value.dtype.startswith("float"):
        return False
    maker = b.whole.makers.get(x.number)
    if maker is None or x.number in seen:
        return maker is None
    seen.add(x.number)
    return any(_has_gradient(b, Ref(n), seen) for n in refs([list(maker.args), maker.kwargs]))


@op("aten.dropout", "aten.feature_dropout")
def _dropout(b: Body, node: Node) -> None:
    if node.args[2]:
        raise Unsupported("dropout in evaluation mode is random")
    if not node.kwargs.get("drops"):
        b.same(node, node.args[0])
        return
    make = made("nnx.Dropout", ("rate", node.args[1]), rngs=True)
    order = b.order(node.args[0])
    if node.op == "aten.feature_dropout":
        order = orders.channels_last(len(order))
        axes = tuple(range(1 - len(order), -1))
        make.arguments.append(("broadcast_dims", Lit(axes, "broadcast_dims")))
    path = b.new_child("dropout", make)
    b.define(node, Expr([Self(path), "(", b.read(node.args[0], order), ")"]), order)


@op("aten.to", "aten._to_copy", "aten.type_as", "prims.convert_element_type")
def _to(b: Body, node: Node) -> None:
    x, after = b.value(node.args[0]), b.whole.graph.values[node.outputs[0]]
    if x.dtype == after.dtype:
        b.same(node, node.args[0])
        return
    order = b.order(node.args[0])
    if after.dtype.startswith("float") and x.dtype.startswith("float"):
        raise Unsupported(f"a cast from {x.dtype} to {after.dtype}")
    dtype = "float" if after.dtype in ("float32", "float64") else dtype_of(after.dtype)
    b.define(node, Expr([b.read(node.args[0]), f".astype({dtype})"]), order)


@op("aten.zeros_like", "aten.ones_like", "aten.full_like")
def _like(b: Body, node: Node) -> None:
    name = node.op.removeprefix("aten.")
    more = [", ", Lit(node.args[1], "value")] if name == "full_like" else []
    b.define(node, Expr([f"jnp.{name}(", b.read(node.args[0]), *more, ")"]), b.order(node.args[0]))
