"""The texts of a picture: layer, kind, shapes, formula. One wording for every renderer."""

from math import prod

import numpy as np

from jaxgroups._spec import arithmetic
from jaxgroups._spec.spec import ConvSpec

AXES = {1: ("L",), 2: ("H", "W"), 3: ("D", "H", "W")}


def kind(spec: ConvSpec) -> str:
    """``groups=`` and what such a convolution is called."""
    text = f"groups={spec.groups}"
    if spec.groups == 1:
        return f"{text}: the ordinary {'transposed ' if spec.transposed else ''}convolution"
    if not spec.depthwise:
        return text
    multiplier = spec.out_channels // spec.groups
    return f"{text}: depthwise" + (f", channel multiplier {multiplier}" if multiplier > 1 else "")


def rule(spec: ConvSpec) -> str:
    """Which channels meet, in one sentence."""
    if spec.transposed:
        who, verb, one, all_ = "input channel", "writes", "output channel", spec.out_channels
    else:
        who, verb, one, all_ = "filter", "reads", "input channel", spec.in_channels
    share = all_ // spec.groups
    if share == all_ > 1:
        return f"every {who} {verb} all {all_} {one}s"
    if all_ == 1:
        return f"every {who} {verb} the one {one}"
    return f"every {who} {verb} {share} of the {all_} {one}s"


def kernel(spec: ConvSpec) -> str:
    """``3 × 3``; of one axis ``3``."""
    return " × ".join(map(str, spec.kernel_size))


def shapes(spec: ConvSpec) -> str:
    """Input and output, with letters where the input is unknown."""
    if spec.size is not None:
        return f"input {spec.input_shape} → output {spec.output_shape}"

    def of(channels: int, prime: str) -> str:
        axes = [f"{axis}{prime}" for axis in AXES[spec.rank]]
        last = spec.data_format == "channels_last"
        parts = ["N", *axes, str(channels)] if last else ["N", str(channels), *axes]
        return f"({', '.join(parts)})"

    return f"input {of(spec.in_channels, '')} → output {of(spec.out_channels, '′')}"


def window(spec: ConvSpec) -> str:
    """Stride, padding and dilation in words; "" where all are the plain ones."""
    parts = []
    if any(s != 1 for s in spec.stride):
        what = "inputs are written" if spec.transposed else "windows start"
        parts.append(f"{what} {_by_axis(spec.stride)} apart")
    if any(pair != (0, 0) for pair in spec.padding):
        pads = _by_axis(tuple(lo if lo == hi else f"{lo}:{hi}" for lo, hi in spec.padding))
        with_ = "zeros" if spec.padding_mode == "zeros" else f"its own values ({spec.padding_mode})"
        cropped, padded = f"{pads} cropped off the output", f"input padded by {pads} with {with_}"
        parts.append(cropped if spec.transposed else padded)
    if any(d != 1 for d in spec.dilation):
        span = _by_axis(tuple(map(arithmetic.dilated, spec.kernel_size, spec.dilation)), whole=True)
        parts.append(f"kernel elements {_by_axis(spec.dilation)} apart, over {span}")
    if any(spec.output_padding):
        parts.append(f"{_by_axis(spec.output_padding)} more at the end of the output")
    return "; ".join(parts)


def _by_axis(values: tuple[int | str, ...], *, whole: bool = False) -> str:
    """``2`` where all axes have it, else ``2 × 1``; with `whole` always of every axis."""
    equal = len(set(values)) == 1 and not whole
    return " × ".join(map(str, values[:1] if equal else values))


def sums(spec: ConvSpec, bias: np.ndarray | None) -> str:
    """The heading above what each filter makes of ones: a bias is in it, or is told to be apart."""
    return "ones give" if bias is not None or not spec.bias else "ones give, + bias"


def weight(spec: ConvSpec) -> str:
    """The weight's shape in torch, and the kernel's of the Flax layers."""
    first, second, *axes = spec.torch_weight_shape
    return f"weight {(first, second, *axes)}, as a Flax kernel {(*axes, second, first)}"


def formula(spec: ConvSpec) -> str:
    """The count of the weights in letters and in numbers."""
    k = spec.kernel_size
    power = f"k{'¹²³'[spec.rank - 1]}" if spec.rank > 1 else "k"
    square = len(set(k)) == 1
    letters = power if square else " × ".join(f"k{'₁₂₃'[i]}" for i in range(spec.rank))
    digits = f"{k[0]}{'¹²³'[spec.rank - 1] if spec.rank > 1 else ''}" if square else kernel(spec)
    return (
        f"in / groups × out × {letters} = "
        f"{spec.in_channels} / {spec.groups} × {spec.out_channels} × {digits} = {spec.weights:,}"
    )


def count(spec: ConvSpec) -> str:
    """All parameters, and the share of what the ordinary convolution holds."""
    text = plural(spec.weights, "weight")
    if spec.groups > 1:
        text += f", 1/{spec.groups} of the {spec.weights * spec.groups:,} of groups=1"
    if spec.bias:
        text += f", and {plural(spec.out_channels, 'bias')}: {spec.parameters:,} parameters"
    return text


def plural(number: int, one: str) -> str:
    """``1 kernel``, ``2 kernels``, ``2 biases``."""
    ending = "" if number == 1 else "es" if one.endswith("s") else "s"
    return f"{number:,} {one}{ending}"


def stack(spec: ConvSpec) -> str:
    """What one filter holds."""
    return f"{plural(prod(spec.torch_weight_shape[1:2]), 'kernel')} of {kernel(spec)} each"
