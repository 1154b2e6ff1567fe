"""A layer in torch's words: as ``repr`` of torch's module prints it, and as a constructor call."""

from jaxgroups._spec import arguments
from jaxgroups._spec.spec import ConvSpec
from jaxgroups._types import Ints


def torch_repr(spec: ConvSpec, padding: Ints | str, in_channels: int | None) -> str:
    """What torch prints of its layer; `in_channels` is None where a linen layer leaves it open."""
    zeros, ones = (0,) * spec.rank, (1,) * spec.rank
    values = {
        "kernel_size": spec.kernel_size,
        "stride": spec.stride,
        "padding": None if padding == zeros else padding,
        "dilation": None if spec.dilation == ones else spec.dilation,
        "output_padding": None if spec.output_padding == zeros else spec.output_padding,
    }
    return _layer(spec, in_channels, values, spec.padding_mode)


def constructor(spec: ConvSpec) -> str:
    """The constructor call: defaults left out, one int where all axes have the same."""
    uneven = any(low != high for low, high in spec.padding)
    padding = spec.padding if uneven else tuple(low for low, _ in spec.padding)
    axes_of = {
        "kernel_size": (spec.kernel_size, None),
        "stride": (spec.stride, 1),
        "padding": (padding, 0),
        "output_padding": (spec.output_padding, 0),
        "dilation": (spec.dilation, 1),
    }
    values = {
        name: (axes[0] if len(set(axes)) == 1 else axes)
        for name, (axes, default) in axes_of.items()
        if any(value != default for value in axes)
    }
    return _layer(spec, spec.in_channels, values, f'"{spec.padding_mode}"')


def _layer(spec: ConvSpec, in_channels: int | None, values: dict[str, object], mode: str) -> str:
    parts = [str(in_channels), str(spec.out_channels)]
    parts += [f"{name}={value}" for name, value in values.items() if value is not None]
    if spec.groups != 1:
        parts.append(f"groups={spec.groups}")
    if not spec.bias:
        parts.append("bias=False")
    if spec.padding_mode != "zeros":
        parts.append(f"padding_mode={mode}")
    return f"{arguments.layer_name(spec.op)}({', '.join(parts)})"
