"""The rules of convolutions, one function each, which raises an error or does nothing.

A message is torch 2.13's sentence, then the numbers and a remedy. Texts are made only for an error.
Where torch raises RuntimeError a rule raises ValueError, and TypeError where torch raises
NotImplementedError. No rule is an ``assert``, so all hold under ``python -O``.

The order in which rules run is torch's as well. It is written in two places, because torch has two
orders: `ConvSpec.of` is that of torch's constructors, `from_call` that of its functions.
"""

from collections.abc import Callable

from jaxgroups._spec import arguments, arithmetic, symbolic
from jaxgroups._types import Ints, Pairs

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")
DATA_FORMATS = ("channels_first", "channels_last")

# jax name -> the two names torch's messages use
_DTYPES = {
    "bool": ("bool", "Bool"),
    "uint8": ("unsigned char", "Byte"),
    "int8": ("signed char", "Char"),
    "int16": ("short int", "Short"),
    "int32": ("int", "Int"),
    "int64": ("long int", "Long"),
    "float16": ("c10::Half", "Half"),
    "bfloat16": ("c10::BFloat16", "BFloat16"),
    "float32": ("float", "Float"),
    "float64": ("double", "Double"),
    "complex64": ("c10::complex<float>", "ComplexFloat"),
    "complex128": ("c10::complex<double>", "ComplexDouble"),
}
FLOATS = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")
DTYPES = {False: ("uint8", "int8", "int16", "int32", "int64", *FLOATS), True: ("int64", *FLOATS)}


# --- choices -------------------------------------------------------------------------------------


def padding_string_layer(value: str) -> None:
    if value not in ("same", "valid"):
        raise ValueError(
            f"Invalid padding string {value!r}, should be one of {{'same', 'valid'}}: "
            "lower case, or give the padding in numbers"
        )


def padding_string_call(value: str) -> None:
    if value not in ("same", "valid"):
        raise ValueError(
            f"Invalid padding string: {value!r}: give 'same', 'valid' (lower case) or numbers"
        )


def same_needs_stride_one(stride: Ints) -> None:
    if any(s != 1 for s in stride):
        raise ValueError(
            f"padding='same' is not supported for strided convolutions: got stride={stride}, "
            "use stride 1 or give the padding in numbers"
        )


def padding_mode(value: object) -> None:
    if value not in PADDING_MODES:
        raise ValueError(
            "padding_mode must be one of {'circular', 'reflect', 'replicate', 'zeros'}, "
            f"but got padding_mode='{value}'"
        )


def padding_mode_transposed(value: object, op: str) -> None:
    if value != "zeros":
        raise ValueError(
            f'Only "zeros" padding mode is supported for {arguments.layer_name(op)}: '
            f"got padding_mode={value!r}"
        )


def data_format(value: object) -> None:
    if value not in DATA_FORMATS:
        raise ValueError(
            "data_format must be one of {'channels_first', 'channels_last'}, "
            f"but got data_format={value!r}"
        )


# --- channels and groups -------------------------------------------------------------------------


def groups_positive_layer(groups: int) -> None:
    if groups <= 0:
        raise ValueError(
            f"groups must be a positive integer: got groups={groups}, "
            "1 is the ordinary convolution, in_channels the depthwise one"
        )


def groups_positive_call(groups: int) -> None:
    if groups <= 0:
        raise ValueError(
            f"non-positive groups is not supported: got groups={groups}, "
            "1 is the ordinary convolution, in_channels the depthwise one"
        )


def divisible(name: str, channels: int, groups: int) -> None:
    if channels % groups:
        fitting = ", ".join(map(str, arithmetic.divisors(channels)))
        raise ValueError(
            f"{name} must be divisible by groups: got {name}={channels}, groups={groups}, and "
            f"{channels} / {groups} is not whole; {channels} can be split into {fitting} groups"
        )


def channels_positive(in_channels: int, out_channels: int, weight_shape: Ints) -> None:
    negative = [n for n in weight_shape if n < 0]
    if negative:
        raise ValueError(
            f"Trying to create tensor with negative dimension {negative[0]}: {list(weight_shape)}: "
            "channels and kernel_size must be positive"
        )
    if in_channels == 0 or out_channels == 0:
        raise ValueError(
            f"channels must be positive: got in_channels={in_channels}, "
            f"out_channels={out_channels}; torch builds such a layer, but it computes nothing"
        )


# --- the window ----------------------------------------------------------------------------------


def non_negative(name: str, values: Ints) -> None:
    if any(v < 0 for v in values):
        raise ValueError(
            f"negative {name} is not supported: got {name}={values}; "
            "to crop, slice the array instead"
        )


def stride_positive(stride: Ints) -> None:
    if any(s <= 0 for s in stride):
        raise ValueError(f"non-positive stride is not supported: got stride={stride}, at least 1")


def _flat(values: Ints) -> Ints:
    """Torch computes and shows a 1-D problem as a 2-D one of height 1."""
    return (1, *values) if len(values) == 1 else values


def _named(name: str, values: Ints) -> str:
    """``name_height: 1, name_width: 2``."""
    values = _flat(values)
    axes = ("depth", "height", "width")[-len(values) :]
    return ", ".join(f"{name}_{axis}: {v}" for axis, v in zip(axes, values, strict=True))


def dilation_positive(dilation: Ints, *, transposed: bool) -> None:
    if any(d <= 0 for d in dilation):
        shown = _named("dilation", dilation) if transposed else list(_flat(dilation))
        raise ValueError(
            f"dilation should be greater than zero, but got {shown}: 1 is the dense kernel"
        )


def kernel_positive(kernel_size: Ints) -> None:
    if any(k == 0 for k in kernel_size):
        if len(kernel_size) == 3:
            d, h, w = kernel_size
            shown = f": {d} x {h} x {w} (TxHxW)"
        else:
            shown = " " + _named("kernel", kernel_size).replace(",", "")
        raise ValueError(
            f"kernel size should be greater than zero, but got{shown}: give at least 1 an axis"
        )


def output_padding_small(output_padding: Ints, stride: Ints, dilation: Ints) -> None:
    if any(o >= s and o >= d for o, s, d in zip(output_padding, stride, dilation, strict=True)):
        values = zip(
            ("output_padding", "stride", "dilation"),
            (output_padding, stride, dilation),
            strict=True,
        )
        fill = (0,) if len(stride) == 1 else ()  # torch shows a 1-D output padding as (0, o)
        shown = " ".join(
            _named(name, (*fill, *v) if name == "output_padding" else v) for name, v in values
        ).replace(",", "")
        raise ValueError(
            "output padding must be smaller than either stride or dilation, but got "
            f"{shown}: it only chooses among the output sizes that a stride or dilation leaves open"
        )


# --- arrays: shapes and dtypes, as the caller gave them ------------------------------------------


def rank(ndim: int, shape: Ints, spatial: int, where: str, many: bool, mode: str) -> None:
    """`many`: any number of batch axes (channels_last), else none or one."""
    if ndim == spatial + 1 or ndim == spatial + 2 or (many and ndim > spatial):
        return
    expected = (
        f"Expected {spatial + 1}D (unbatched) or {spatial + 2}D (batched) input to {where}, "
        f"but got input of size: {list(shape)}"
    )
    if mode != "zeros":
        expected = (
            f"Padding size {2 * spatial} is not supported for {ndim}D input tensor.\n" + expected
        )
    raise ValueError(f"{expected}: one axis for channels and {spatial} spatial")


def weight_rank_least(weight_shape: Ints, spatial: int) -> None:
    if len(weight_shape) < 3:
        raise ValueError(
            f"weight should have at least three dimensions: got weight of size "
            f"{list(weight_shape)}, expected {spatial + 2} of them"
        )


def weight_rank(weight_shape: Ints, spatial: int, input_shape: Ints) -> None:
    if len(weight_shape) != spatial + 2:
        n = len(weight_shape)
        raise ValueError(
            f"Expected {n}-dimensional input for {n}-dimensional weight{list(weight_shape)}, "
            f"but got {len(input_shape)}-dimensional input of size {list(input_shape)} instead: "
            f"this function has {spatial} spatial axes, its weight {spatial + 2} dimensions"
        )


def weight_groups(first: int, groups: int, weight_shape: Ints, hint: Callable[[], str]) -> None:
    """`first`: torch's dimension 0 of the weight, out channels (transposed: in channels)."""
    if first < groups:
        raise ValueError(
            f"Given groups={groups}, expected weight to be at least {groups} at dimension 0, "
            f"but got weight of size {list(weight_shape)} instead{hint()}"
        )
    if first % groups:
        raise ValueError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, "
            f"but got weight of size [{list(weight_shape)}] instead: "
            f"{first} / {groups} is not whole{hint()}"
        )


def input_channels(
    got: int,
    expected: int,
    input_shape: Ints,
    weight_shape: Ints,
    groups: int,
    *,
    transposed: bool,
    remedy: Callable[[], str],
) -> None:
    if got != expected:
        what = "transposed=1" if transposed else f"groups={groups}"
        raise ValueError(
            f"Given {what}, weight of size {list(weight_shape)}, expected input"
            f"{list(input_shape)} to have {expected} channels, "
            f"but got {got} channels instead ({remedy()})"
        )


def bias_shape(shape: Ints, out_channels: int, weight_shape: Ints, *, transposed: bool) -> None:
    if shape != (out_channels,):
        given = "transposed=1, weight" if transposed else "weight"
        raise ValueError(
            f"Given {given} of size {list(weight_shape)}, expected bias to be 1-dimensional with "
            f"{out_channels} elements, but got bias of size {list(shape)} instead"
        )


def weight_not_empty(weight_shape: Ints, out_channels: int, spatial: int) -> None:
    if out_channels == 0:
        what = (
            "non-empty 2D or 4D weight tensor expected"
            if spatial < 3
            else "non-empty 5D (n_output_plane x n_input_plane x kernel_depth x kernel_height x "
            "kernel_width) tensor expected for weight"
        )
        raise ValueError(f"{what}, but got: {list(weight_shape)}")


def zero_channels(channels: int, input_shape: Ints) -> None:
    if channels == 0:
        raise ValueError(
            f"zero channel inputs are not supported, but got input shape: {list(input_shape)}: "
            "torch returns an output without channels here and drops the bias"
        )


def zero_spatial(size: Ints, input_shape: Ints) -> None:
    if 0 in size:
        raise ValueError(
            "Only zero batch or zero channel inputs are supported, but got input shape: "
            f"{list(input_shape)}: every spatial axis must have at least one element"
        )


def _by(values: Ints) -> str:
    return "(" + " x ".join(map(str, values)) + ")"


def kernel_fits(size: Ints, pads: Pairs, kernel_size: Ints, dilation: Ints) -> None:
    kernel = tuple(map(arithmetic.dilated, kernel_size, dilation))
    least = tuple(k - lo - hi for k, (lo, hi) in zip(kernel, pads, strict=True))
    if not symbolic.at_least(size, least, "the kernel must not be larger than the padded input"):
        padded = tuple(n + lo + hi for n, (lo, hi) in zip(size, pads, strict=True))
        raise ValueError(
            f"Calculated padded input size per channel: {_by(padded)}. Kernel size: {_by(kernel)}. "
            "Kernel size can't be greater than actual input size: "
            f"input {_by(size)}, kernel_size={kernel_size}, dilation={dilation}; "
            "pad more or dilate less"
        )


def output_positive(size: Ints, output_size: Ints) -> None:
    if not symbolic.at_least(output_size, (1,) * len(size), "the output must not be empty"):
        raise ValueError(
            f"Given input size per channel: {_by(_flat(size))}. Calculated output size per "
            f"channel: {_by(_flat(output_size))}. Output size is too small: "
            "the padding crops all of it away"
        )


def output_size_length(op: str, sizes: Ints, spatial: int, ndim: int) -> None:
    if len(sizes) != spatial:
        raise ValueError(
            f"{arguments.layer_name(op).replace('d', 'D')}: for {ndim}D input, output_size must "
            f"have {spatial} or {ndim} elements (got {len(sizes)}): the spatial sizes, or the "
            "whole shape"
        )


def output_size_range(sizes: Ints, smallest: Ints, stride: Ints, size: Ints) -> None:
    largest = tuple(least + s - 1 for least, s in zip(smallest, stride, strict=True))
    if any(not a <= n <= b for a, n, b in zip(smallest, sizes, largest, strict=True)):
        raise ValueError(
            f"requested an output size of {sizes}, but valid sizes range from {list(smallest)} to "
            f"{list(largest)} (for an input of {list(size)}): stride {stride} leaves these open"
        )


def pad_not_empty(mode: str, example: Ints, input_shape: Ints) -> None:
    """`example`: channels and spatial sizes, of which reflect and replicate need an element."""
    if mode in ("reflect", "replicate") and 0 in example:
        raise ValueError(
            f"Expected {len(example)}D or {len(example) + 1}D (batch mode) tensor with possibly 0 "
            f"batch size and other non-zero dimensions for input, but got: {list(input_shape)}"
        )


def pad_amounts(mode: str, pads: Pairs, size: Ints, axes: Ints, input_shape: Ints) -> None:
    """Torch's limits of ``F.pad``: reflect below the length, circular at most the length."""
    beyond = {"reflect": 1, "circular": 0}.get(mode)
    if beyond is None or symbolic.pad_fits(mode, size, tuple(max(p) + beyond for p in pads)):
        return
    backwards = reversed(list(zip(axes, pads, size, strict=True)))
    for argument, (axis, (lo, hi), n) in zip((4, 6, 8), backwards, strict=False):
        if mode == "reflect" and isinstance(n, int) and max(lo, hi) >= n:
            raise ValueError(
                f"Argument #{argument}: Padding size should be less than the corresponding input "
                f"dimension, but got: padding ({lo}, {hi}) at dimension {axis} of input "
                f"{list(input_shape)}: reflection leaves out the border element, so at most {n - 1}"
            )
        if mode == "circular" and isinstance(n, int) and max(lo, hi) > n:
            raise ValueError(
                "Padding value causes wrapping around more than once.: got padding "
                f"({lo}, {hi}) at dimension {axis} of input {list(input_shape)}, at most {n}"
            )


def same_bias_dtype(dtype: str, bias: str) -> None:
    if dtype != bias:
        raise ValueError(
            f"Input type ({_torch(dtype, 0)}) and bias type ({_torch(bias, 0)}) should be the "
            f"same: got input {dtype}, bias {bias}; convert one with .astype"
        )


def same_weight_dtype(dtype: str, weight: str) -> None:
    if dtype != weight:
        raise ValueError(
            f"expected scalar type {_torch(dtype, 1)} but found {_torch(weight, 1)}: "
            f"got input {dtype}, weight {weight}; convert one with .astype"
        )


def dtype_supported(dtype: str, where: str, *, transposed: bool) -> None:
    if dtype not in DTYPES[transposed]:
        raise TypeError(
            f"\"{where}\" not implemented for '{_torch(dtype, 1)}': "
            f"got {dtype}, torch and jaxgroups take {', '.join(DTYPES[transposed])} here"
        )


def _torch(dtype: str, which: int) -> str:
    return _DTYPES[dtype][which] if dtype in _DTYPES else dtype
