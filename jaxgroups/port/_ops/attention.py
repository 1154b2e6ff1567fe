"""Matrix products and attention: named axes, so that no operand has to be transposed first."""

from typing import Any

from jaxgroups.port import _order as orders
from jaxgroups.port._body import Body, op
from jaxgroups.port._errors import Unsupported
from jaxgroups.port._expr import Expr, Lit
from jaxgroups.port._graph import Call, Node, Ref, refs
from jaxgroups.port._layers import Layer, layer, made
from jaxgroups.port._ops.elementwise import apply, argument
from jaxgroups.port._parts import joined


@op("aten.matmul", "aten.bmm", "aten.mm")
def _matmul(b: Body, node: Node) -> None:
    x, y = node.args[:2]
    if b.rank(x) < 2 or b.rank(y) < 2:
        parts = [b.read(v, orders.natural(b.rank(v))) for v in (x, y)]
        b.define(node, Expr([parts[0], " @ ", parts[1]], atom=False))
        return
    straight = all(b.order(v) == orders.natural(b.rank(v)) for v in (x, y))
    if straight or b.rank(x) != b.rank(y):
        parts = [b.read(v, orders.natural(b.rank(v))) for v in (x, y)]
        b.define(node, Expr([parts[0], " @ ", parts[1]], atom=False))
        return
    shapes = [b.value(v).shape for v in (x, y)]
    if any(p != q for p, q in zip(shapes[0][:-2], shapes[1][:-2], strict=True)):  # type: ignore[index]
        parts = [b.read(v, orders.natural(b.rank(v))) for v in (x, y)]
        b.define(node, Expr([parts[0], " @ ", parts[1]], atom=False))
        return
    rank = b.rank(x)
    batch = "abcdefgh"[: rank - 2]
    left, right, out = batch + "mk", batch + "kn", batch + "mn"
    texts = ["".join(t[axis] for axis in b.order(v)) for t, v in ((left, x), (right, y))]
    # rows of the right operand that lie together, as heads do in attention, stay together
    lies = texts[1].replace("k", "m") if texts[1].endswith("n") else out
    formula = f'"{texts[0]},{texts[1]}->{lies}"'
    order = tuple(out.index(letter) for letter in lies)
    b.define(node, Expr([f"jnp.einsum({formula}, ", b.read(x), ", ", b.read(y), ")"]), order)


@op("aten.baddbmm", "aten.addmm")
def _addmm(b: Body, node: Node) -> None:
    if node.kwargs.get("beta", 1) != 1 or node.kwargs.get("alpha", 1) != 1:
        raise Unsupported("a scaled sum with a matrix product")
    apply(b, node, "{0} + {1} @ {2}", list(node.args[:3]))


@op("aten.linear")
def _linear(b: Body, node: Node) -> None:
    x, weight = node.args[:2]
    bias = argument(node, 2, "bias")
    order = b.order(x)
    if order[-1] != len(order) - 1:
        order = orders.natural(len(order))
    parts = [b.read(x, order), " @ ", b.read(weight), ".T"]
    parts += [] if bias is None else [" + ", b.read(bias)]
    b.define(node, Expr(parts, atom=False), order)


@op("aten.bilinear")
def _bilinear(b: Body, node: Node) -> None:
    given = [x for x in node.args if x is not None]
    held = [b.read(x, orders.natural(b.rank(x))) for x in given]
    b.define(node, Expr(["jg.bilinear(", *joined(held), ")"]))


@op("aten.embedding")
def _embedding(b: Body, node: Node) -> None:
    weight, index = node.args[:2]
    if argument(node, 2, "padding_idx", -1) >= 0 or argument(node, 3, "scale_grad_by_freq"):
        raise Unsupported("a functional embedding with gradients of its own: padding_idx")
    held = [b.read(weight, orders.natural(2)), b.read(index)]
    inner = b.order(index)
    b.define(node, Expr(["jnp.take(", *joined(held), ", axis=0)"]), (*inner, len(inner)))


@op("aten.einsum")
def _einsum(b: Body, node: Node) -> None:
    formula, operands = node.args[:2]
    formula = formula.replace(" ", "")
    if "..." in formula or "->" not in formula:
        raise Unsupported(f"the formula {formula}")
    left, out = formula.split("->")
    texts = [
        "".join(one[axis] for axis in b.order(x))
        for one, x in zip(left.split(","), operands, strict=True)
    ]
    held = joined([b.read(x) for x in operands])
    b.define(node, Expr([f'jnp.einsum("{",".join(texts)}->{out}", ', *held, ")"]))


@op("aten.scaled_dot_product_attention")
def _attention(b: Body, node: Node) -> None:
    query, key, value = node.args[:3]
    mask, dropout = argument(node, 3, "attn_mask"), argument(node, 4, "dropout_p", 0.0)
    causal, scale = argument(node, 5, "is_causal", False), node.kwargs.get("scale")
    if dropout:
        raise Unsupported("dropout in evaluation mode is random")
    if b.rank(query) != 4 or node.kwargs.get("enable_gqa"):
        raise Unsupported("attention of other than four axes")
    order = (0, 2, 1, 3)
    parts: list[Any] = [b.read(x, order) for x in (query, key, value)]
    if isinstance(mask, Ref):
        name = "mask" if b.value(mask).dtype == "bool" else "bias"
        rank = b.rank(mask)
        held = b.aligned(mask, orders.natural(4)) if rank < 4 else b.read(mask, orders.natural(4))
        parts.append(Expr([f"{name}=", held]))
    if causal:
        parts.append("is_causal=True")
    if scale is not None:
        parts.append(Expr(["scale=", Lit(scale, "scale")]))
    b.define(node, Expr(["jax.nn.dot_product_attention(", *joined(parts), ")"]), order)


@layer("torch.nn.modules.activation.MultiheadAttention")
def _multi_head_attention(m: Any) -> Layer:
    problem = ""
    if not m._qkv_same_embed_dim:
        problem = "keys or values of another size than the queries"
    elif m.bias_k is not None or m.add_zero_attn:
        problem = "add_bias_kv or add_zero_attn"
    make = made(
        "nnx.MultiHeadAttention",
        ("num_heads", m.num_heads),
        ("in_features", m.embed_dim),
        rngs=True,
        use_bias=(m.in_proj_bias is not None, True),
        dropout_rate=(m.dropout, 0.0),
        broadcast_dropout=(not m.dropout, True),
        deterministic=(False if m.dropout else None, None),
        decode=(False, None),
    )
    return Layer(make, "natural", problem, _attend)


def _attend(b: Body, call: Call, layer: Layer) -> None:
    """``self.attn(query, key, value, mask=mask)``, whose mask says what is seen."""
    _, *weights = refs(call.output)
    if any(b.whole.users.get(n) or n in {*refs(b.whole.graph.root.output)} for n in weights):
        raise Unsupported("the attention weights as a result: need_weights=False")
    query, key, value = (call.inputs[name] for name in ("query", "key", "value"))
    rank = b.rank(query)
    first = b.whole.graph.modules[call.path].batch_first or rank == 2
    order = orders.natural(rank) if first else (1, 0, 2)
    given = [query, key, value]
    while len(given) > 1 and given[-1] == given[-2]:
        given.pop()
    parts: list[Any] = [b.read(x, order) for x in given]
    seen = []
    for name, index in (("attn_mask", ""), ("key_padding_mask", "[:, None, None]")):
        mask = call.inputs.get(name)
        if mask is None:
            continue
        if b.value(mask).dtype != "bool" or b.rank(mask) != 2 or rank != 3:
            raise Unsupported(f"an {name} that is no boolean matrix")
        seen.append(Expr(["~", b.read(mask, (0, 1)), index]))
    if seen:
        parts.append(Expr(["mask=", *joined(seen, " & ")]))
    b.called(call, layer.make, parts, order)
