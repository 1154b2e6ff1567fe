"""Functions on feature maps, channels last: convolutions, pools, norms, resizes, pads."""

from collections.abc import Sequence
from typing import Any

from jaxgroups.port import _order as orders
from jaxgroups.port._body import Body, op
from jaxgroups.port._errors import Unsupported
from jaxgroups.port._expr import Expr, Lit, Named
from jaxgroups.port._graph import Node, Ref, Size
from jaxgroups.port._layers import short
from jaxgroups.port._ops.elementwise import argument
from jaxgroups.port._parts import joined

_LAST = 'data_format="channels_last"'


def call(
    b: Body,
    node: Node,
    function: str,
    given: Sequence[Any],
    settings: Sequence[tuple[str, Any, Any]],
    last: bool = True,
    first: bool = False,
) -> None:
    """A function of jaxgroups on a feature map; settings that are the default are left out.

    Args:
      given: parts of the expression, first.
      settings: names, values and defaults.
      last: whether the function takes ``data_format``.
      first: whether the function returns the first of the operation's results alone.
    """
    parts = list(given)
    for name, given_value, default in settings:
        value = constant(b, given_value)
        if isinstance(value, Expr):
            parts.append(Expr([f"{name}=", value]))
        else:
            parts.append(Named(Lit(short(value), name, short(default))))
    if last:
        parts.append(_LAST)
    order = orders.channels_last(len(b.shape(node.outputs[0])))
    expr = Expr([f"{function}(", *_commas(parts), ")"])
    if len(node.outputs) > 1 and not first:
        b.define_all(node, expr, order)
    else:
        b.define(node, expr, order)


def constant(b: Body, value: Any) -> Any:
    """A setting, an integer or several: as numbers, or an expression if it depends on the input."""
    if isinstance(value, Ref):
        size = b.value(value).size
        return b.size(value) if isinstance(size, Size) else size
    if not isinstance(value, list | tuple):
        return value
    found = [constant(b, one) for one in value]
    if any(isinstance(one, Expr) for one in found):
        parts = [one if isinstance(one, Expr) else Expr([repr(one)]) for one in found]
        return Expr(["(", *joined(parts), ",)" if len(parts) == 1 else ")"])
    return type(value)(found)


def _commas(parts: Sequence[Any]) -> list[Any]:
    """The arguments; a `Named` brings its own comma."""
    found: list[Any] = []
    for part in parts:
        found += [part] if isinstance(part, Named) or not found else [", ", part]
    return found


def image(b: Body, x: Ref) -> Any:
    """A feature map, channels last."""
    return b.read(x, orders.channels_last(b.rank(x)))


def whole(b: Body, x: Any) -> Any:
    """A weight in torch's order, or None."""
    return "None" if x is None else b.read(x, orders.natural(b.rank(x)))


def kernel(b: Body, x: Ref) -> Any:
    """The weight of a convolution as the functions take it with channels last."""
    return b.read(x, (*range(2, b.rank(x)), 1, 0))


@op("aten.conv1d", "aten.conv2d", "aten.conv3d")
def _conv(b: Body, node: Node) -> None:
    x, weight = node.args[:2]
    bias = argument(node, 2, "bias")
    name = node.op.removeprefix("aten.")
    given = [image(b, x), kernel(b, weight)] + ([] if bias is None else [whole(b, bias)])
    padding = argument(node, 4, "padding", 0)
    call(b, node, f"jg.{name}", given, [
        ("stride", argument(node, 3, "stride", 1), 1),
        ("padding", padding, 0),
        ("dilation", argument(node, 5, "dilation", 1), 1),
        ("groups", argument(node, 6, "groups", 1), 1),
    ])  # fmt: skip


@op("aten.conv_transpose1d", "aten.conv_transpose2d", "aten.conv_transpose3d")
def _conv_transpose(b: Body, node: Node) -> None:
    x, weight = node.args[:2]
    bias = argument(node, 2, "bias")
    name = node.op.removeprefix("aten.")
    given = [image(b, x), kernel(b, weight)] + ([] if bias is None else [whole(b, bias)])
    call(b, node, f"jg.{name}", given, [
        ("stride", argument(node, 3, "stride", 1), 1),
        ("padding", argument(node, 4, "padding", 0), 0),
        ("output_padding", argument(node, 5, "output_padding", 0), 0),
        ("groups", argument(node, 6, "groups", 1), 1),
        ("dilation", argument(node, 7, "dilation", 1), 1),
    ])  # fmt: skip


@op(*(f"aten.max_pool{rank}d{more}" for rank in (1, 2, 3) for more in ("", "_with_indices")))
def _max_pool(b: Body, node: Node) -> None:
    name = node.op.removeprefix("aten.").removesuffix("_with_indices")
    x, kernel = node.args[:2]
    stride = argument(node, 2, "stride") or kernel
    call(b, node, f"jg.{name}", [image(b, x), Lit(short(kernel), "kernel_size")], [
        ("stride", stride, kernel),
        ("padding", argument(node, 3, "padding", 0), 0),
        ("dilation", argument(node, 4, "dilation", 1), 1),
        ("ceil_mode", argument(node, 5, "ceil_mode", False), False),
        ("return_indices", len(node.outputs) > 1, False),
    ])  # fmt: skip


@op("aten.avg_pool1d", "aten.avg_pool2d", "aten.avg_pool3d")
def _avg_pool(b: Body, node: Node) -> None:
    x, kernel = node.args[:2]
    if any(isinstance(n, Ref) for n in kernel):
        _whole_average(b, node, x, kernel)
        return
    stride = argument(node, 2, "stride") or kernel
    name = node.op.removeprefix("aten.")
    call(b, node, f"jg.{name}", [image(b, x), Lit(short(kernel), "kernel_size")], [
        ("stride", stride, kernel),
        ("padding", argument(node, 3, "padding", 0), 0),
        ("ceil_mode", argument(node, 4, "ceil_mode", False), False),
        ("count_include_pad", argument(node, 5, "count_include_pad", True), True),
        ("divisor_override", argument(node, 6, "divisor_override"), None),
    ])  # fmt: skip


def _whole_average(b: Body, node: Node, x: Ref, kernel: Sequence[Any]) -> None:
    """A window as large as the map, whose size depends on the input."""
    spatial = b.shape(x.number)[-len(kernel) :]
    given = [b.value(n).size if isinstance(n, Ref) else n for n in kernel]
    if list(spatial) != given:
        raise Unsupported("a window whose size depends on the input")
    _mean(b, node, x, len(kernel))


def _mean(b: Body, node: Node, x: Ref, rank: int) -> None:
    """The mean over the spatial axes."""
    dims = range(b.rank(x) - rank, b.rank(x))
    axes = tuple(sorted(b.axis(x, dim) for dim in dims))
    text = str(axes[0]) if len(axes) == 1 else str(axes)
    b.define(node, Expr([b.read(x), f".mean({text}, keepdims=True)"]), b.order(x))


@op(*(f"aten.adaptive_{kind}_pool{rank}d" for kind in ("avg", "max") for rank in (1, 2, 3)))
def _adaptive(b: Body, node: Node) -> None:
    x, size = node.args[:2]
    size = [size] if isinstance(size, int) else list(size)
    name = node.op.removeprefix("aten.")
    if "avg" in name and all(n == 1 for n in size):
        _mean(b, node, x, len(size))
        return
    sizes = [b.size(n, [x], "output_size") for n in size]
    fixed = all(isinstance(n, Lit) for n in sizes)
    wanted = Lit(short(size), "output_size") if fixed else Expr(["(", *joined(sizes), ",)"])
    used = len(node.outputs) > 1 and b.whole.is_used(node.outputs[1])
    indices = [("return_indices", used, False)] if "max" in name else []
    call(b, node, f"jg.{name}", [image(b, x), wanted], indices, first=not used)


@op(
    *(f"aten.upsample_{kind}" for kind in ("nearest1d", "nearest2d", "nearest3d", "linear1d",
      "bilinear2d", "trilinear3d", "bicubic2d")),
    *(f"aten._upsample_nearest_exact{rank}d" for rank in (1, 2, 3)),
    "aten._upsample_bilinear2d_aa", "aten._upsample_bicubic2d_aa",
)  # fmt: skip
def _upsample(b: Body, node: Node) -> None:
    x, size = node.args[:2]
    name = node.op.removeprefix("aten.").lstrip("_").removeprefix("upsample_")
    antialias = name.endswith("_aa")
    mode = name.removesuffix("_aa").rstrip("d").rstrip("123").replace("_", "-")
    corners = None if mode.startswith("nearest") else bool(node.args[2])
    factors = node.args[-1] if isinstance(node.args[-1], list | tuple) else None
    if node.variant != "vec":
        raise Unsupported(f"the variant {node.variant}")
    if size is not None:
        sizes = [b.size(n, [x], "size") for n in size]
        fixed = all(isinstance(n, Lit) for n in sizes)
        value: Any = Lit(short([n.value for n in sizes]), "size") if fixed else Expr(
            ["(", *joined(sizes), ",)" if len(sizes) == 1 else ")"]
        )  # fmt: skip
        how = ("size", value)
    else:
        whole = [int(f) if float(f).is_integer() else f for f in factors or ()]
        how = ("scale_factor", Lit(short(whole), "scale_factor"))
    parts = [image(b, x), Expr([f"{how[0]}=", how[1]])]
    call(b, node, "jg.interpolate", parts, [
        ("mode", mode, "nearest"),
        ("align_corners", corners or None, None),
        ("antialias", antialias, False),
    ])  # fmt: skip


@op("aten.pad", "aten.constant_pad_nd")
def _pad(b: Body, node: Node) -> None:
    x, pads = node.args[:2]
    if node.op == "aten.pad":
        mode, value = argument(node, 2, "mode", "constant"), argument(node, 3, "value")
    else:
        mode, value = "constant", argument(node, 2, "value")
    if mode == "constant":
        order = b.order(x)
        widths: list[Any] = [Expr(["(0, 0)"])] * len(order)
        for i in range(0, len(pads), 2):
            place = b.axis(x, -1 - i // 2)
            ends = [b.size(n, [x], "padding") for n in pads[i : i + 2]]
            widths[place] = Expr(["(", *joined(ends), ")"])
        more = [", constant_values=", Lit(value, "value")] if value else []
        if any(isinstance(n, int) and n < 0 for n in pads):
            raise Unsupported("padding that crops")
        b.define(
            node, Expr(["jnp.pad(", b.read(x), ", (", *joined(widths), ")", *more, ")"]), order
        )
        return
    parts = [image(b, x), Lit(tuple(pads), "padding")]
    call(b, node, "jg.pad", parts, [("mode", mode, "constant")])


@op(*(f"aten.{kind}_pad{rank}d" for kind in ("reflection", "replication") for rank in (1, 2, 3)))
def _named_pad(b: Body, node: Node) -> None:
    mode = {"reflection": "reflect", "replication": "replicate"}[
        node.op.removeprefix("aten.").partition("_")[0]
    ]
    parts = [image(b, node.args[0]), Lit(tuple(node.args[1]), "padding")]
    call(b, node, "jg.pad", parts, [("mode", mode, "constant")])


@op("aten.pixel_shuffle", "aten.pixel_unshuffle", "aten.channel_shuffle")
def _shuffle(b: Body, node: Node) -> None:
    name = node.op.removeprefix("aten.")
    call(b, node, f"jg.{name}", [image(b, node.args[0]), Lit(node.args[1], "factor")], [])


@op("aten.im2col")
def _unfold(b: Body, node: Node) -> None:
    x, size, dilation, padding, stride = node.args
    call(b, node, "jg.unfold", [image(b, x), Lit(short(size), "kernel_size")], [
        ("dilation", dilation, 1), ("padding", padding, 0), ("stride", stride, 1),
    ])  # fmt: skip


@op("aten.col2im")
def _fold(b: Body, node: Node) -> None:
    x, output, size, dilation, padding, stride = node.args
    sizes = Expr(["(", *joined([b.size(n, [x], "output_size") for n in output]), ")"])
    call(b, node, "jg.fold", [image(b, x), sizes, Lit(short(size), "kernel_size")], [
        ("dilation", dilation, 1), ("padding", padding, 0), ("stride", stride, 1),
    ])  # fmt: skip


@op("jaxgroups_port.local_response_norm")
def _local_response_norm(b: Body, node: Node) -> None:
    x, size, alpha, beta, k = node.args
    call(b, node, "jg.local_response_norm", [image(b, x), Lit(size, "size")], [
        ("alpha", alpha, 1e-4), ("beta", beta, 0.75), ("k", k, 1.0),
    ])  # fmt: skip


@op("aten.prelu")
def _prelu(b: Body, node: Node) -> None:
    x, weight = node.args
    call(b, node, "jg.prelu", [image(b, x), whole(b, weight)], [])


@op("aten.layer_norm")
def _layer_norm(b: Body, node: Node) -> None:
    x, shape = node.args[:2]
    weight, bias = argument(node, 2, "weight"), argument(node, 3, "bias")
    order = b.order(x)
    if len(shape) > 1 or order[-1] != len(order) - 1:
        order = orders.natural(len(order))
    parts = [b.read(x, order), Lit(tuple(shape), "normalized_shape"), whole(b, weight),
             whole(b, bias)]  # fmt: skip
    expr = Expr(
        [
            "jg.layer_norm(",
            *joined([*parts, Expr(["eps=", Lit(argument(node, 4, "eps", 1e-5), "eps")])]),
            ")",
        ]
    )
    b.define(node, expr, order)


@op("aten.group_norm")
def _group_norm(b: Body, node: Node) -> None:
    x, groups = node.args[:2]
    weight, bias = argument(node, 2, "weight"), argument(node, 3, "bias")
    parts = [image(b, x), Lit(groups, "num_groups"), whole(b, weight), whole(b, bias)]
    call(b, node, "jg.group_norm", parts, [("eps", argument(node, 4, "eps", 1e-5), 1e-5)])


@op("aten.instance_norm")
def _instance_norm(b: Body, node: Node) -> None:
    x, weight, bias, mean, _, uses, _, eps = node.args[:8]
    if mean is not None or not uses:
        raise Unsupported("a functional instance norm with running statistics")
    parts = [image(b, x), "None", "None", whole(b, weight), whole(b, bias)]
    call(b, node, "jg.instance_norm", parts, [("eps", eps, 1e-5)])


@op("aten.batch_norm")
def _batch_norm(b: Body, node: Node) -> None:
    raise Unsupported("a functional batch norm: use a layer, torch.nn.BatchNorm2d")


@op("aten.grid_sampler")
def _grid_sample(b: Body, node: Node) -> None:
    x, grid, mode, padding, corners = node.args
    modes, paddings = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")
    parts = [image(b, x), b.read(grid, orders.natural(b.rank(grid)))]
    call(b, node, "jg.grid_sample", parts, [
        ("mode", modes[mode], "bilinear"),
        ("padding_mode", paddings[padding], "zeros"),
        ("align_corners", corners, None),
    ])  # fmt: skip


@op("aten.affine_grid_generator")
def _affine_grid(b: Body, node: Node) -> None:
    theta, size, corners = node.args
    sizes = [b.size(n, [theta], "size") for n in size]
    expr = ["jg.affine_grid(", b.read(theta), ", (", *joined(sizes), f"), align_corners={corners})"]
    b.define(node, Expr(expr))


@op("aten.max_unpool2d", "aten.max_unpool3d")
def _max_unpool(b: Body, node: Node) -> None:
    raise Unsupported("a functional max_unpool: use a layer, torch.nn.MaxUnpool2d")


__all__ = ["call", "image"]
