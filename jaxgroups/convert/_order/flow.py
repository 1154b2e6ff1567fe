"""Follow axes through a jaxpr, from a model's inputs and parameters to its outputs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jax.extend import core

from jaxgroups.convert._order import axes
from jaxgroups.convert._order.axes import Dim, factors, fresh, mark, unify

CONSTANT, PARAMETER, DATA = range(3)  # what an array depends on


@dataclass
class Traced:
    """An array of the program: its axes, and whether it depends on parameters or inputs."""

    dims: list[Dim]
    of: int = CONSTANT


Handler = Callable[[list[Traced], dict[str, Any], list[tuple[int, ...]]], list[list[Dim]]]
_HANDLERS: dict[str, Handler] = {}
_CONVOLUTIONS = (
    "conv_general_dilated",
    "jaxgroups_conv",
    "jaxgroups_conv_bias",
    "jaxgroups_conv_fused",
    "conv",
)


def follow(closed: Any, arguments: Sequence[Traced]) -> list[Traced]:
    """The results of a closed jaxpr on these arguments; facts are added to the axes of both."""
    jaxpr = getattr(closed, "jaxpr", closed)
    known: dict[Any, Traced] = {v: _new(v.aval.shape) for v in jaxpr.constvars}
    known.update(zip(jaxpr.invars, arguments, strict=True))

    def read(atom: Any) -> Traced:
        if isinstance(atom, core.Literal):
            return _new(getattr(atom.aval, "shape", ()))
        return known[atom]

    for eqn in jaxpr.eqns:
        known.update(zip(eqn.outvars, _equation(eqn, list(map(read, eqn.invars))), strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _new(shape: Sequence[int], of: int = CONSTANT) -> Traced:
    return Traced([fresh(int(n)) for n in shape], of)


def _equation(eqn: Any, ins: list[Traced]) -> list[Traced]:
    name, params = eqn.primitive.name, eqn.params
    shapes = [tuple(getattr(v.aval, "shape", ())) for v in eqn.outvars]
    if name in ("scan", "while", "cond"):
        return {"scan": _scan, "while": _while, "cond": _cond}[name](ins, params, shapes)
    inner = _inner(params)
    if inner is not None and len(getattr(inner, "jaxpr", inner).invars) == len(ins):
        return follow(inner, ins)
    of = max((t.of for t in ins), default=CONSTANT)
    handler = _HANDLERS.get(name) or _other
    return [Traced(dims, of) for dims in handler(ins, params, shapes)]


def _inner(params: dict[str, Any]) -> Any:
    """The jaxpr that an equation calls, as for `jit`, `remat` or `custom_jvp`; None for others."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if hasattr(params.get(name), "eqns") or hasattr(params.get(name), "jaxpr"):
            return params[name]
    return None


def _scan(ins: list[Traced], params: dict[str, Any], shapes: list) -> list[Traced]:
    consts, carries = params["num_consts"], params["num_carry"]
    head, rows = ins[: consts + carries], ins[consts + carries :]
    outs = follow(params["jaxpr"], [*head, *(Traced(t.dims[1:], t.of) for t in rows)])
    for before, after in zip(head[consts:], outs, strict=False):
        _pair(before.dims, after.dims)
    length = [fresh(params["length"])]
    return [*outs[:carries], *(Traced(length + t.dims, t.of) for t in outs[carries:])]


def _while(ins: list[Traced], params: dict[str, Any], shapes: list) -> list[Traced]:
    first = params["cond_nconsts"]
    start = first + params["body_nconsts"]
    outs = follow(params["body_jaxpr"], ins[first:])
    for before, after in zip(ins[start:], outs, strict=True):
        _pair(before.dims, after.dims)
    return outs


def _cond(ins: list[Traced], params: dict[str, Any], shapes: list) -> list[Traced]:
    outs, *others = [follow(branch, ins[1:]) for branch in params["branches"]]
    for other in others:
        for one, two in zip(outs, other, strict=True):
            _pair(one.dims, two.dims)
    return outs


def _pair(one: list[Dim], other: list[Dim]) -> None:
    for a, b in zip(one, other, strict=True):
        if axes.size_of(factors(a)) == axes.size_of(factors(b)):
            unify(a, b)


# --- single operations ----------------------------------------------------------------------------


def _handles(*names: str) -> Callable[[Handler], Handler]:
    def add(handler: Handler) -> Handler:
        _HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return add


def _other(ins: list[Traced], params: dict[str, Any], shapes: list) -> list[list[Dim]]:
    """An elementwise operation, or one of which only the sizes of its axes are used."""
    arrays = [t for t in ins if t.dims]
    return [_like(arrays, shape) for shape in shapes]


def _like(arrays: list[Traced], shape: tuple[int, ...]) -> list[Dim]:
    same = [t.dims for t in arrays if _broadcasts(t.dims, shape)]
    if len(same) < len(arrays) or not same:
        ranked = [t.dims for t in arrays if len(t.dims) == len(shape)]
        return _resized(ranked[0], shape) if ranked else [fresh(n) for n in shape]
    dims: list[Dim] = []
    for axis, size in enumerate(shape):
        found = [d[axis] for d in same if axes.size_of(factors(d[axis])) == size]
        for other in found[1:]:
            unify(found[0], other)
        dims.append(found[0] if found else fresh(size))
    return dims


def _broadcasts(dims: list[Dim], shape: tuple[int, ...]) -> bool:
    sizes = [axes.size_of(factors(dim)) for dim in dims]
    return len(sizes) == len(shape) and all(a in (1, b) for a, b in zip(sizes, shape, strict=True))


def _resized(dims: list[Dim], shape: tuple[int, ...]) -> list[Dim]:
    """Axes of unchanged size are the same; the others keep the traits that their factors share."""
    pairs = zip(dims, shape, strict=True)
    return [d if axes.size_of(factors(d)) == n else fresh(n, axes.common(d)) for d, n in pairs]


@_handles("reshape")
def _reshape(ins: list[Traced], params: dict[str, Any], shapes: list) -> list[list[Dim]]:
    return [axes.reshape(ins[0].dims, params["new_sizes"])]


@_handles("transpose")
def _transpose(ins: list[Traced], params: dict[str, Any], shapes: list) -> list[list[Dim]]:
    return [[ins[0].dims[axis] for axis in params["permutation"]]]


@_handles("rev")
def _rev(ins: list[Traced], params: dict[str, Any], shapes: list) -> list[list[Dim]]:
    return [ins[0].dims]


@_handles("squeeze")
def _squeeze(ins: list[Traced], params: dict[str, Any], shapes: list) -> list[list[Dim]]:
    return [[d for axis, d in enumerate(ins[0].dims) if axis not in params["dimensions"]]]


@_handles("broadcast_in_dim")
def _broadcast(ins: list[Traced], params: dict[str, Any], shapes: list) -> list[list[Dim]]:
    dims = [fresh(n) for n in shapes[0]]
    for dim, axis in zip(ins[0].dims, params["broadcast_dimensions"], strict=True):
        if axes.size_of(factors(dim)) == shapes[0][axis]:
            dims[axis] = dim
    return [dims]


@_handles(
    *(f"reduce_{kind}" for kind in ("sum", "max", "min", "prod", "and", "or", "xor")),
    *("argmax", "argmin"),
)
def _reduce(ins: list[Traced], params: dict[str, Any], shapes: list) -> list[list[Dim]]:
    return [[d for axis, d in enumerate(ins[0].dims) if axis not in params["axes"]]]


@_handles("concatenate")
def _concatenate(ins: list[Traced], params: dict[str, Any], shapes: list) -> list[list[Dim]]:
    where = params["dimension"]
    dims = _like([Traced(_without(t.dims, where)) for t in ins], _without(shapes[0], where))
    pieces = tuple(t.dims[where] for t in ins)
    traits = [axes.common(piece) for piece in pieces]
    joined = fresh(shapes[0][where], set.intersection(*traits) if all(traits) else ())
    for factor in joined:
        factor.segments = pieces
    dims.insert(where, joined)
    return [dims]


def _without(values: Any, where: int) -> Any:
    return [*values[:where], *values[where + 1 :]]


@_handles("dot_general")
def _dot(ins: list[Traced], params: dict[str, Any], shapes: list) -> list[list[Dim]]:
    contracted, batched = params["dimension_numbers"]
    for pairs in (contracted, batched):
        for one, other in zip(*pairs, strict=True):
            unify(ins[0].dims[one], ins[1].dims[other])
    free = [
        [d for axis, d in enumerate(t.dims) if axis not in (*contracted[side], *batched[side])]
        for side, t in enumerate(ins)
    ]
    for side in (0, 1):
        mine, other = ins[side], ins[1 - side]
        if mine.of == PARAMETER and other.of == DATA:
            rest = factors(f for d in free[1 - side] for f in d)
            if any(axes.BATCH not in f.traits for f in rest):
                for dim in free[side]:  # torch's Linear works on the last axis
                    mark(dim, axes.LAST)
        elif mine.of == CONSTANT:  # as in a resize
            kept = axes.common(f for axis in contracted[side] for f in mine.dims[axis])
            for dim in free[side]:
                mark(dim, *kept)
    return [[ins[0].dims[axis] for axis in batched[0]] + free[0] + free[1]]


@_handles(*_CONVOLUTIONS)
def _convolution(ins: list[Traced], params: dict[str, Any], shapes: list) -> list[list[Dim]]:
    numbers = params["dimension_numbers"]
    x, kernel = ins[0].dims, ins[1]
    for view in params.get("view_ops", ()):
        (dims,) = _HANDLERS[view.primitive.name]([kernel], dict(view.params), [])
        kernel = Traced(dims, kernel.of)
    (batch, feature, *spatial), (outputs, inputs, *_) = numbers.lhs_spec, numbers.rhs_spec
    groups = params["feature_group_count"], params["batch_group_count"]
    if groups == (1, 1):
        unify(x[feature], kernel.dims[inputs])
    mark(x[batch], axes.BATCH)
    mark(x[feature], axes.CHANNEL)
    for axis in spatial:
        mark(x[axis], axes.SPATIAL)
    for axis in (outputs, inputs):
        mark(kernel.dims[axis], axes.CHANNEL)
    dims = [fresh(n, {axes.SPATIAL}) for n in shapes[0]]
    dims[numbers.out_spec[0]] = x[batch] if groups[1] == 1 else fresh(shapes[0][0], {axes.BATCH})
    dims[numbers.out_spec[1]] = kernel.dims[outputs]
    if len(ins) > 2:
        unify(ins[2].dims[0], kernel.dims[outputs])
    return [dims]


@_handles("jaxgroups_rearranged")
def _rearranged(ins: list[Traced], params: dict[str, Any], shapes: list) -> list[list[Dim]]:
    """Channels stay channels and positions stay positions, in torch's order."""
    dims, shape = ins[0].dims, shapes[0]
    before, after = len(dims) - params["inner"], len(shape) - params["inner_out"]
    for axis in range(before, len(dims)):
        is_channel = axis - len(dims) == params["channel"]
        mark(dims[axis], axes.CHANNEL if is_channel else axes.SPATIAL)
    made = dims[:before]
    for axis in range(after, len(shape)):
        is_channel = axis - len(shape) == params["channel_out"]
        made.append(fresh(shape[axis], {axes.CHANNEL if is_channel else axes.SPATIAL}))
    return [made]


@_handles("jaxgroups_any_width")
def _any_width(ins: list[Traced], params: dict[str, Any], shapes: list) -> list[list[Dim]]:
    """An axis of another length, as if the input had another number of positions (see `probe`)."""
    dims = list(ins[0].dims)
    dims[params["axis"]] = _widened(factors(dims[params["axis"]]), params["size"])
    return [dims]


def _widened(found: Dim, size: int) -> Dim:
    """The axis with another number of positions; in a concatenation, only its one flat piece."""
    if len(found) == 1 and found[0].segments:
        pieces = list(found[0].segments)
        flat = [k for k, piece in enumerate(pieces) if len(factors(piece)) > 1]
        rest = size - axes.size_of(found) + axes.size_of(factors(pieces[flat[0]])) if flat else 0
        if len(flat) == 1 and rest > 0:
            pieces[flat[0]] = _widened(factors(pieces[flat[0]]), rest)
            (joined,) = fresh(size)
            joined.segments = tuple(pieces)
            return (joined,)
    kind = axes.SPATIAL if any(axes.SPATIAL in f.traits for f in found) else axes.END
    rest = tuple(f for f in found if kind not in f.traits)
    if len(found) < 2 or len(rest) in (0, len(found)):
        return fresh(size, axes.common(found))
    first, last = found[: len(rest)] == rest, found[len(found) - len(rest) :] == rest
    channels = axes.size_of(rest)
    if kind == axes.END and size % channels:  # an image whose size is not known
        channels = next((n for n in range(2, size) if size % n == 0), size)
        rest = fresh(channels, axes.common(rest))
    if size % channels:
        return fresh(size, axes.common(found))
    positions = fresh(size // channels, {kind})
    if first:
        return (*rest, *positions)
    return (*positions, *rest) if last else fresh(size, {axes.MIXED})
