"""Operations on shapes: permuting is free, splitting is free, merging may move."""

from collections.abc import Sequence
from typing import Any

from jaxgroups.port import _order as orders
from jaxgroups.port._body import Body, op
from jaxgroups.port._errors import Unsupported
from jaxgroups.port._expr import Expr, Lit
from jaxgroups.port._graph import Call, Node, Ref, distinct_sizes, hint, refs
from jaxgroups.port._layers import layer_of
from jaxgroups.port._ops.elementwise import argument
from jaxgroups.port._parts import joined


@op("aten.permute", "aten.transpose", "aten.t", "aten.movedim", "aten.swapaxes", "aten.numpy_T",
    "aten.adjoint", "aten.mT")  # fmt: skip
def _permute(b: Body, node: Node) -> None:
    x = node.args[0]
    axes = _permuted(node, b.rank(x))
    b.same(node, x, tuple(axes.index(axis) for axis in b.order(x)))


def _permuted(node: Node, rank: int) -> list[int]:
    """By axis of the result, the axis of the operand."""
    axes = list(range(rank))
    if node.op == "aten.permute":
        axes = [axis % rank for axis in node.args[1]]
    elif node.op == "aten.movedim":
        source, target = node.args[1:3]
        sources = [s % rank for s in ([source] if isinstance(source, int) else source)]
        targets = [t % rank for t in ([target] if isinstance(target, int) else target)]
        rest = iter([axis for axis in axes if axis not in sources])
        axes = [sources[targets.index(i)] if i in targets else next(rest) for i in range(rank)]
    elif node.op in ("aten.t", "aten.numpy_T"):
        axes.reverse()
    else:
        i, j = node.args[1:3] if len(node.args) > 2 else (-2, -1)
        axes[i % rank], axes[j % rank] = axes[j % rank], axes[i % rank]
    return axes


@op("aten.view", "aten.reshape", "aten._unsafe_view", "aten.unflatten", "aten.flatten",
    "aten.view_as", "aten.reshape_as")  # fmt: skip
def _reshape(b: Body, node: Node) -> None:
    x = node.args[0]
    before, after = b.shape(x.number), b.shape(node.outputs[0])
    if before == after:
        b.same(node, x)
        return
    dropped = _dropped(before, after)
    if dropped:  # fails where an axis is not 1, which a reshape would not
        places = sorted(b.axis(x, axis) for axis in dropped)
        text = str(places[0]) if len(places) == 1 else str(tuple(places))
        expr = Expr([b.read(x), f".squeeze({text})"])
        b.define(node, expr, orders.without(b.order(x), dropped))
        return
    sizes, result = distinct_sizes(before, after)
    planned = orders.reshape(b.order(x), sizes, result)
    why = ""
    merged = tuple(a for a in range(len(sizes)) if a not in planned.same.values())
    if (
        planned.before != b.order(x)
        and b.order(x)[-len(merged) :] == (*merged[1:], merged[0])
        and planned.axes[-1] == len(result) - 1
        and len(planned.same) == len(result) - 1
        and _only_linear(b, node.outputs[0])
    ):
        # the weight's rows are permuted when they are loaded
        b.whole.permuted[node.outputs[0]] = tuple(hint(before[a]) for a in merged)
        planned = orders.Reshape(b.order(x), planned.axes, planned.same)
        why = "flattened as (H, W, C): load_torch permutes the weights that read it"
    dims = _dims(b, node, x, planned)
    source = b.read(x, planned.before)
    b.define(node, Expr([source, ".reshape(", *joined(dims), ")"]), planned.axes, why)


def _dropped(before: Sequence[Any], after: Sequence[Any]) -> list[int]:
    """The axes of size 1 without which the first shape is the second; empty if there are none."""
    gone: list[int] = []
    j = 0
    for axis, n in enumerate(before):
        if j < len(after) and n == after[j]:
            j += 1
        elif hint(n) == 1:  # a size of the input that the result does not have must be 1
            gone.append(axis)
        else:
            return []
    return gone if j == len(after) else []


@op("aten.unsqueeze", "aten.squeeze")
def _unit_axes(b: Body, node: Node) -> None:
    x = node.args[0]
    before, after = b.shape(x.number), b.shape(node.outputs[0])
    if before == after:
        b.same(node, x)
    elif node.op == "aten.unsqueeze":
        new = node.args[1] % len(after)
        order = orders.with_axis(b.order(x), new)
        place = order.index(new)
        index = "..., None" if place == len(order) - 1 else ", ".join([":"] * place + ["None"])
        b.define(node, Expr([b.read(x), f"[{index}]"]), order)
    else:
        dims = argument(node, 1, "dim", list(range(len(before))))
        dims = [dims] if isinstance(dims, int) else dims
        gone = [d for d in dims if before[d] == 1]
        places = sorted(b.axis(x, d) for d in gone)
        text = str(places[0]) if len(places) == 1 else str(tuple(places))
        expr = Expr([b.read(x), f".squeeze({text})"])
        b.define(node, expr, orders.without(b.order(x), gone))


def _dims(b: Body, node: Node, x: Ref, planned: orders.Reshape) -> list[Any]:
    """The sizes of the result as it lies in memory."""
    before, after = b.shape(x.number), b.shape(node.outputs[0])
    given: dict[int, Any] = {}
    if node.op in ("aten.view", "aten.reshape", "aten._unsafe_view"):
        given = dict(enumerate(node.args[1]))
    like = node.args[1] if node.op in ("aten.view_as", "aten.reshape_as") else None
    dims: list[Any] = []
    unknown = []
    for axis in planned.axes:
        n = after[axis]
        if axis in planned.same and not isinstance(before[planned.same[axis]], int):
            dims.append(b.dim(x, planned.same[axis]))
        elif isinstance(n, int):
            dims.append(Lit(n, "size"))
        elif isinstance(given.get(axis), Ref):
            dims.append(b.size(given[axis], [x]))
        elif like is not None:
            dims.append(b.dim(like, axis))
        else:
            unknown.append(len(dims))
            dims.append(Lit(-1, "size"))
    if len(unknown) > 1:
        raise Unsupported("a reshape with several sizes that are not given")
    # a size of the original's own -1 may follow from the others
    minus = [i for i, axis in enumerate(planned.axes) if given.get(axis) == -1]
    if not unknown and len(minus) == 1:
        dims[minus[0]] = Expr(["-1"])
    elif not unknown and node.op == "aten.flatten":
        merged = [i for i, axis in enumerate(planned.axes) if axis not in planned.same]
        if len(merged) == 1:
            dims[merged[0]] = Expr(["-1"])
    return [Expr(["-1"]) if isinstance(d, Lit) and d.value == -1 else d for d in dims]


def _only_linear(b: Body, number: int, depth: int = 0) -> bool:
    """Whether a flattened value is read only by linear layers, through elementwise operations."""
    users = b.whole.users.get(number, [])
    if not users or depth > 20 or number in _outputs(b):
        return False
    for user in users:
        if isinstance(user, Call):
            layer = layer_of(b.whole.graph.modules[user.path])
            if layer is None:
                continue  # what is in it, uses the value itself
            if layer.make.target == "nnx.Linear":
                continue
            after = list(refs(user.output))
            if layer.make.target not in ("nnx.Dropout", "jnn.BatchNorm1d") or not after:
                return False
            if not _only_linear(b, after[0], depth + 1):
                return False
        elif user.op in _PASSES:
            if not _only_linear(b, user.outputs[0], depth + 1):
                return False
        else:
            return False
    return True


_PASSES = {
    "aten.relu", "aten.dropout", "aten.relu6", "aten.hardtanh", "aten.silu", "aten.gelu",
    "aten.tanh", "aten.sigmoid", "aten.leaky_relu", "aten.elu", "aten.hardswish",
    "aten.contiguous", "aten.clone",
}  # fmt: skip


def _outputs(b: Body) -> set[int]:
    return {*refs(b.whole.graph.root.output)}


@op("aten.cat", "aten.concat", "aten.concatenate")
def _cat(b: Body, node: Node) -> None:
    tensors = [x for x in node.args[0] if b.value(x).shape != (0,)]
    order = b.common(tensors)
    axis = orders.place(order, argument(node, 1, "dim", 0))
    parts = [b.read(x, order) for x in tensors]
    b.define(
        node, Expr(["jnp.concatenate([", *joined(parts), f"], axis={_end(axis, order)})"]), order
    )


def _end(axis: int, order: orders.Order) -> int:
    """The last axis as -1."""
    return -1 if axis == len(order) - 1 else axis


@op("aten.stack")
def _stack(b: Body, node: Node) -> None:
    order = b.common(node.args[0])
    dim = argument(node, 1, "dim", 0) % (len(order) + 1)
    usual = orders.with_axis(order, dim).index(dim)
    shifted = [axis + (axis >= dim) for axis in order]
    for place in (usual, *range(len(order), -1, -1)):
        axes = (*shifted[:place], dim, *shifted[place:])
        if _merges_freely(b, node.outputs[0], axes):
            break
    else:
        axes = (*shifted[:usual], dim, *shifted[usual:])
    parts = [b.read(x, order) for x in node.args[0]]
    axis = _end(axes.index(dim), axes)
    b.define(node, Expr(["jnp.stack([", *joined(parts), f"], axis={axis})"]), axes)


def _merges_freely(b: Body, number: int, order: orders.Order) -> bool:
    """Whether the reshapes that a value reaches by permutations move nothing from this order."""
    free = True
    for user in b.whole.users.get(number, []):
        shape = b.whole.graph.values[number].shape
        if isinstance(user, Call) or shape is None or len(user.outputs) != 1:
            continue
        after = b.whole.graph.values[user.outputs[0]].shape
        if user.op in ("aten.contiguous", "aten.clone"):
            free &= _merges_freely(b, user.outputs[0], order)
        elif user.op in ("aten.permute", "aten.transpose"):
            axes = _permuted(user, len(order))
            inner = tuple(axes.index(axis) for axis in order)
            free &= _merges_freely(b, user.outputs[0], inner)
        elif user.op in ("aten.view", "aten.reshape", "aten.flatten") and after is not None:
            plan = orders.reshape(order, *distinct_sizes(shape, after))
            free &= plan.before == order
    return free


@op("aten.chunk", "aten.split", "aten.split_with_sizes", "aten.unsafe_chunk", "aten.tensor_split")
def _split(b: Body, node: Node) -> None:
    x = node.args[0]
    dim = argument(node, 2, "dim", 0)
    order, axis = b.order(x), b.axis(x, dim)
    shapes = [b.whole.graph.values[n].shape for n in node.outputs]
    sizes = [s[dim] for s in shapes if s is not None]
    if len({*map(repr, sizes)}) > 1 and any(not isinstance(n, int) for n in sizes):
        raise Unsupported("a split into sizes that depend on the input")
    if len({*map(repr, sizes)}) == 1:
        where: Any = Lit(len(sizes), "parts")
    else:
        ends = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
        where = Lit(ends, "ends")
    expr = Expr(["jnp.split(", b.read(x), ", ", where, f", axis={_end(axis, order)})"])
    b.define_all(node, expr, order)


@op("aten.unbind")
def _unbind(b: Body, node: Node) -> None:
    x = node.args[0]
    dim = argument(node, 1, "dim", 0)
    order, axis = b.order(x), b.axis(x, dim)
    rest = orders.without(order, [dim])
    b.define_all(node, Expr(["jnp.unstack(", b.read(x), f", axis={axis})"]), rest)


def _index(places: dict[int, Any], rank: int) -> list[Any]:
    """``[:, 2:4]`` with the given parts at places in memory."""
    last = max(places)
    return joined([places.get(i, ":") for i in range(last + 1)])


@op("aten.slice")
def _slice(b: Body, node: Node) -> None:
    x, dim, start, end, step = (*node.args, *([None] * 5))[:5]
    dim, step = dim or 0, 1 if step is None else step
    stop = None if isinstance(end, int) and end > 2**31 else end
    if not start and stop is None and step == 1:
        b.same(node, x)
        return
    first = [] if not start else [b.size(start, [x], "start")]
    last = [] if stop is None else [b.size(stop, [x], "stop")]
    by = [] if step == 1 else [":", b.size(step, [x], "step")]
    part = Expr([*first, ":", *last, *by])
    order = b.order(x)
    inner = _index({b.axis(x, dim): part}, len(order))
    b.define(node, Expr([b.read(x), "[", *inner, "]"]), order)


@op("aten.select")
def _select(b: Body, node: Node) -> None:
    x, dim, i = node.args
    order = b.order(x)
    inner = _index({b.axis(x, dim): b.size(i, [x], "index")}, len(order))
    b.define(node, Expr([b.read(x), "[", *inner, "]"]), orders.without(order, [dim]))


@op("aten.index_select")
def _index_select(b: Body, node: Node) -> None:
    x, dim, index = node.args
    order = b.order(x)
    axis = b.axis(x, dim)
    b.define(node, Expr(["jnp.take(", b.read(x), ", ", b.read(index), f", axis={axis})"]), order)


@op("aten.index")
def _index_by(b: Body, node: Node) -> None:
    x, indices = node.args
    given = [i for i, one in enumerate(indices) if one is not None]
    natural = orders.natural(b.rank(x))
    if len(given) > 1 and given != list(range(given[0], given[0] + len(given))):
        raise Unsupported("indexing by tensors on axes that are not neighbours")
    parts = [":" if one is None else b.read(one, orders.natural(b.rank(one))) for one in indices]
    b.define(node, Expr([b.read(x, natural), "[", *joined(parts), "]"]))


@op("aten.gather")
def _gather(b: Body, node: Node) -> None:
    x, dim, index = node.args[:3]
    order = b.order(x)
    expr = [b.read(x), ", ", b.read(index, order), f", axis={b.axis(x, dim)}"]
    b.define(node, Expr(["jnp.take_along_axis(", *expr, ")"]), order)


@op("aten.expand", "aten.expand_as")
def _expand(b: Body, node: Node) -> None:
    x = node.args[0]
    before, after = b.shape(x.number), b.shape(node.outputs[0])
    if before == after:
        b.same(node, x)
        return
    rank = len(after)
    near = [x]
    order = b.order(x) if b.rank(x) == rank else orders.natural(rank)
    if node.op == "aten.expand_as":
        near.append(node.args[1])
        order = b.order(node.args[1])
    asked = node.args[1] if node.op == "aten.expand" else None
    dims = []
    for axis in order:
        inner = axis - (rank - b.rank(x))
        n = after[axis]
        if isinstance(n, int):
            dims.append(Lit(n, "size"))
        elif inner >= 0 and before[inner] == n:
            dims.append(b.dim(x, inner))
        elif asked is not None and isinstance(asked[axis], Ref):
            dims.append(b.size(asked[axis], near))
        elif asked is None:
            dims.append(b.dim(node.args[1], axis))
        else:
            raise Unsupported("an expanded size that is not given")
    held = b.aligned(x, order)
    b.define(node, Expr(["jnp.broadcast_to(", held, ", (", *joined(dims), "))"]), order)
