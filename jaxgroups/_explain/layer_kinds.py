"""The spec of one call of a layer, of jaxgroups or of Flax, from its settings and its input.

Layers are recognized by the names of their classes, so that this module does not import Flax.
Linear layers have no spec: they are matrix products, which count in the sums of a model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import isfunction
from math import ceil, prod
from typing import Any

from jax import lax

from jaxgroups._spec import arithmetic
from jaxgroups._spec.spec import ConvSpec
from jaxgroups._types import Pairs, Shape

KINDS = {
    "jaxgroups.nnx.Layer": "ours",
    "jaxgroups.linen.Layer": "ours",
    "jaxgroups.nnx.FeatureLayer": "feature",
    "flax.nnx.Conv": "conv",
    "flax.linen.Conv": "conv",
    "flax.nnx.ConvTranspose": "conv_transpose",
    "flax.linen.ConvTranspose": "conv_transpose",
    "flax.nnx.Linear": "linear",
    "flax.linen.Dense": "linear",
}


@dataclass(frozen=True)
class Linear:
    """A matrix product: vectors of `in_channels` become as many of `out_channels`."""

    in_channels: int
    out_channels: int
    batch: Shape
    bias: bool
    dtype: str

    @property
    def rows(self) -> int:
        """Number of vectors."""
        return prod(self.batch)

    @property
    def output_shape(self) -> Shape:
        return (*self.batch, self.out_channels)

    @property
    def parameters(self) -> int:
        return self.in_channels * self.out_channels + (self.out_channels if self.bias else 0)

    @property
    def macs(self) -> int:
        return self.rows * self.in_channels * self.out_channels


def kind(layer: Any) -> str | None:
    """The kind of a layer or of its base class; None for any other object."""
    for cls in type(layer).__mro__:
        package, *_, module = f"{cls.__module__}.{cls.__name__}".split(".")
        inside = cls.__module__.split(".")
        where = "nnx" if "nnx" in inside else "linen" if "linen" in inside else ""
        found = KINDS.get(f"{package}.{where}.{module}")
        if found:
            return found
    return None


def layer_name(layer: Any) -> str:
    """``Conv2d`` for a layer of jaxgroups, ``flax.nnx.Conv`` for one of Flax, or a function."""
    if isfunction(layer):
        return layer.__name__
    cls = type(layer)
    parts = cls.__module__.split(".")
    return f"flax.{parts[1]}.{cls.__name__}" if parts[0] == "flax" else cls.__name__


def spec_of_call(
    layer: Any, shape: tuple[int, ...], dtype: str, output_size: Any = None
) -> ConvSpec | Linear | None:
    """The spec of a layer with this input; None where torch has no such convolution."""
    which = kind(layer)
    if which == "ours":
        # a linen layer may learn its channels from the input
        spec = layer.spec_for(shape[-1]) if layer.in_channels is None else layer.spec
        if output_size is not None and spec.transposed:
            spec = spec.with_output_size(output_size, shape)
        return spec.with_input(shape, dtype)
    if which == "linear":
        bias = bool(layer.use_bias)
        out = getattr(layer, "features", None) or layer.out_features
        return Linear(shape[-1], out, shape[:-1], bias, dtype)
    try:
        return _flax_conv(layer, shape, dtype, transposed=which == "conv_transpose")
    except ValueError:  # dilated inputs or negative padding, which torch does not have
        return None


def _flax_conv(layer: Any, shape: tuple[int, ...], dtype: str, *, transposed: bool) -> ConvSpec:
    kernel = _ints(layer.kernel_size, 1)
    rank = len(kernel)
    stride, dilation = _ints(layer.strides, rank), _ints(layer.kernel_dilation, rank)
    if any(d != 1 for d in _ints(getattr(layer, "input_dilation", 1), rank)):
        raise ValueError("dilated inputs")
    out_channels = getattr(layer, "features", None) or layer.out_features
    size = shape[-rank - 1 : -1]
    mode, output_padding = "zeros", (0,) * rank
    if transposed:
        pads, output_padding = _transposed_padding(layer.padding, kernel, stride, dilation)
    else:
        pads, mode = _padding(layer.padding, size, kernel, stride, dilation)
    return ConvSpec(
        in_channels=shape[-1],
        out_channels=out_channels,
        kernel_size=kernel,
        stride=stride,
        padding=pads,
        dilation=dilation,
        output_padding=output_padding,
        groups=getattr(layer, "feature_group_count", 1),
        transposed=transposed,
        padding_mode=mode,
        bias=bool(layer.use_bias),
        batch=shape[: -rank - 1],
        size=size,
        dtype=dtype,
        data_format="channels_last",
    )


def _ints(value: int | Sequence[int] | None, rank: int) -> tuple[int, ...]:
    return (
        (1 if value is None else value,) * rank if not isinstance(value, Sequence) else tuple(value)
    )


def _pairs(padding: Any, rank: int) -> Pairs:
    if isinstance(padding, int):
        return ((padding, padding),) * rank
    return tuple((p, p) if isinstance(p, int) else (p[0], p[1]) for p in padding)


def _padding(padding: Any, size: Any, kernel: Any, stride: Any, dilation: Any) -> tuple[Pairs, str]:
    """Flax's padding as pairs, and torch's padding_mode."""
    reach = [arithmetic.dilated(k, d) for k, d in zip(kernel, dilation, strict=True)]
    if padding in ("CIRCULAR", "REFLECT"):
        return tuple(((k - 1) // 2, k // 2) for k in reach), padding.lower()
    if padding == "CAUSAL":
        return ((reach[0] - 1, 0),), "zeros"
    if isinstance(padding, str):
        return tuple(lax.padtype_to_pads(size, reach, stride, padding)), "zeros"
    return _pairs(padding, len(kernel)), "zeros"


def _transposed_padding(
    padding: Any, kernel: Any, stride: Any, dilation: Any
) -> tuple[Pairs, tuple[int, ...]]:
    """Flax pads the dilated input; torch crops the output by ``d (k - 1) - pad``."""
    reach = [arithmetic.dilated(k, d) for k, d in zip(kernel, dilation, strict=True)]
    if padding == "SAME":
        pads = []
        for k, s in zip(reach, stride, strict=True):
            total = k + s - 2
            low = k - 1 if s > k - 1 else ceil(total / 2)
            pads.append((low, total - low))
    elif padding == "VALID":
        pads = [(k - 1, max(k - 1, s - 1)) for k, s in zip(reach, stride, strict=True)]
    elif isinstance(padding, str):
        raise ValueError(f"torch has no transposed convolution with {padding} padding")
    else:
        pads = _pairs(padding, len(kernel))
    crops, extra = [], []
    for k, (low, high) in zip(reach, pads, strict=True):
        crops.append((k - 1 - low, max(k - 1 - high, 0)))
        extra.append(max(high - k + 1, 0))
    return tuple(crops), tuple(extra)
