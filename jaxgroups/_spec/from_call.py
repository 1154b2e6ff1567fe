"""From a functional call to its ConvSpec: checks the shapes, dtypes and arguments, each rule once.

The order is that of torch 2.13's C++ (measured, not documented): argument types, bias dtype, input
rank, groups, lengths, signs, then the weight, the channels, the bias, the window, and last the
dtypes. Only shapes and dtype names come in, so the answer is cached: an eager loop checks once.
"""

from functools import lru_cache

from jaxgroups._spec import arguments, checks
from jaxgroups._spec.layout_hints import hint_of_call
from jaxgroups._spec.spec import ConvSpec, padding_pairs
from jaxgroups._types import Ints

Shaped = tuple[Ints, str]  # shape and dtype name


@lru_cache(maxsize=4096)
def spec_of_call(
    op: str,
    x: Shaped,
    weight: Shaped,
    bias: Shaped | None,
    stride: Ints,
    padding: Ints | str,
    output_padding: Ints,
    dilation: Ints,
    groups: int,
    padding_mode: str,
    data_format: str,
    output_size: Ints | None,
) -> ConvSpec:
    """The spec of ``op(x, weight, bias, ...)``, whose arguments are already tuples of ints."""
    rank, transposed = arguments.op_rank(op)
    (shape, dtype), (weight_shape, weight_dtype) = x, weight
    last = data_format == "channels_last"

    # torch checks the bias first, or last where padding is a string or the op is transposed
    bias_first = not transposed and not isinstance(padding, str)
    if bias is not None and bias_first:
        checks.same_bias_dtype(dtype, bias[1])
    checks.rank(len(shape), shape, rank, op, last, padding_mode)
    if isinstance(padding, str):
        checks.padding_string_call(padding)
    checks.weight_rank_least(weight_shape, rank)
    checks.groups_positive_call(groups)
    if padding == "same":
        checks.weight_rank(weight_shape, rank, shape)
    stride = arguments.broadcast("stride", stride, rank)
    if padding == "same":
        checks.same_needs_stride_one(stride)
    if not isinstance(padding, str):
        padding = arguments.broadcast("padding", padding, rank)
    dilation = arguments.broadcast("dilation", dilation, rank)
    output_padding = arguments.broadcast("output_padding", output_padding, rank)
    if not isinstance(padding, str):
        checks.non_negative("padding", padding)
    checks.non_negative("output_padding", output_padding)
    checks.stride_positive(stride)
    if min(dilation) < 0:  # torch checks the sign here, and for zeros below
        checks.dilation_positive(dilation, transposed=transposed)
    if padding != "same":
        checks.weight_rank(weight_shape, rank, shape)

    # torch's dimensions 0 and 1 of the weight; channels_last stores (2.., 1, 0) of it
    if last:
        *kernel, second, first = weight_shape
    else:
        first, second, *kernel = weight_shape

    def hint() -> str:
        return hint_of_call(shape, weight_shape, rank, groups, data_format, transposed)

    checks.weight_groups(first, groups, weight_shape, hint)
    channels = shape[-1] if last else shape[-rank - 1]
    in_channels, out_channels = (first, second * groups) if transposed else (second * groups, first)
    checks.input_channels(
        channels,
        in_channels,
        shape,
        weight_shape,
        groups,
        transposed=transposed,
        remedy=lambda: f"{data_format}, groups={groups}{hint()}",
    )
    if bias is not None:
        checks.bias_shape(bias[0], out_channels, weight_shape, transposed=transposed)
    size = shape[-rank - 1 : -1] if last else shape[-rank:]
    pads = padding_pairs(padding, rank, tuple(kernel), dilation)
    checks.pad_not_empty(padding_mode, (channels, *size), shape)
    checks.zero_channels(channels, shape)
    if not transposed:
        checks.kernel_fits(size, pads, tuple(kernel), dilation)
    checks.zero_spatial(size, shape)
    checks.kernel_positive(tuple(kernel))
    checks.dilation_positive(dilation, transposed=transposed)
    if transposed and output_size is None:
        checks.output_padding_small(output_padding, stride, dilation)
    checks.weight_not_empty(weight_shape, out_channels, rank)

    spec = ConvSpec._unchecked(
        in_channels=in_channels,
        out_channels=out_channels,
        kernel_size=tuple(kernel),
        stride=stride,
        padding=pads,
        dilation=dilation,
        output_padding=output_padding,
        groups=groups,
        transposed=transposed,
        padding_mode=padding_mode,
        bias=bias is not None,
        batch=shape[: -rank - 1],
        size=size,
        dtype=dtype,
        data_format=data_format,
    )
    if output_size is not None:
        sizes = output_size[spec.spatial] if len(output_size) == len(shape) else output_size
        spec = spec._with(output_padding=spec._reaching(sizes, shape))
    axes = tuple(range(len(shape)))[spec.spatial]
    checks.pad_amounts(padding_mode, pads, size, axes, shape)
    if transposed:
        checks.output_positive(size, spec.output_size)
    checks.dtype_supported(dtype, op, transposed=transposed)
    checks.same_weight_dtype(dtype, weight_dtype)
    if bias is not None and not bias_first:
        checks.same_bias_dtype(dtype, bias[1])
    return spec
