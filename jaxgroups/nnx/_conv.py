"""Flax nnx layers with torch's arguments: Conv1d, Conv2d, Conv3d, ConvTranspose1d, 2d, 3d."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx import reprlib

from jaxgroups import _layers as layers
from jaxgroups._spec.spec import ConvSpec
from jaxgroups._types import IntOrInts


class Layer(nnx.Module):
    """Parameters and call of every layer below; subclasses say the operation."""

    op: ClassVar[str]
    spec: ConvSpec

    def _build(
        self,
        spec: ConvSpec,
        padding: IntOrInts | str,
        rngs: nnx.Rngs,
        *,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        precision: Any = None,
        preferred_element_type: Any = None,
        implementation: str | None = None,
        kernel_init: Any = None,
        bias_init: Any = None,
        kernel_metadata: Mapping[str, Any] | None = None,
        bias_metadata: Mapping[str, Any] | None = None,
    ) -> None:
        layers.check_settings(param_dtype, implementation)
        self.spec = spec
        self.padding = layers.shown_padding(spec, padding)
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.precision = precision
        self.preferred_element_type = preferred_element_type
        self.implementation = implementation
        default = layers.torch_uniform(layers.fan_in(spec))
        kernel = (kernel_init or default)(rngs.params(), spec.weight_shape, param_dtype)
        self.kernel = nnx.Param(kernel, **(kernel_metadata or {}))
        self.bias: nnx.Param | None = nnx.data(None)
        if spec.bias:
            value = (bias_init or default)(rngs.params(), (spec.out_channels,), param_dtype)
            self.bias = nnx.Param(value, **(bias_metadata or {}))

    def _forward(self, x: Any, output_size: Iterable[int] | None = None) -> jax.Array:
        return layers.call(
            self.spec,
            x,
            self.kernel[...],
            None if self.bias is None else self.bias[...],
            dtype=self.dtype,
            output_size=output_size,
            precision=self.precision,
            preferred_element_type=self.preferred_element_type,
            implementation=self.implementation,
        )

    in_channels = property(lambda self: self.spec.in_channels)
    out_channels = property(lambda self: self.spec.out_channels)
    kernel_size = property(lambda self: self.spec.kernel_size)
    stride = property(lambda self: self.spec.stride)
    dilation = property(lambda self: self.spec.dilation)
    output_padding = property(lambda self: self.spec.output_padding)
    groups = property(lambda self: self.spec.groups)
    padding_mode = property(lambda self: self.spec.padding_mode)

    def __nnx_repr__(self):
        # nnx prints a module through this hook, alone as well as inside another module
        text = layers.text(self.spec, self.padding, self.in_channels)
        yield reprlib.Object(type=text, start="", end="", empty_repr="")


class _Conv(Layer):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrInts,
        stride: IntOrInts = 1,
        padding: IntOrInts | str = 0,
        dilation: IntOrInts = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        rngs: nnx.Rngs,
        **settings: Any,
    ) -> None:
        spec = layers.layer_spec(
            self.op,
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=bias,
            padding_mode=padding_mode,
        )
        self._build(spec, padding, rngs, **settings)

    def __call__(self, x: Any) -> jax.Array:
        """``(*batch, *spatial, in_channels)`` -> ``(*batch, *spatial_out, out_channels)``."""
        return self._forward(x)


class _ConvTranspose(Layer):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrInts,
        stride: IntOrInts = 1,
        padding: IntOrInts = 0,
        output_padding: IntOrInts = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: IntOrInts = 1,
        padding_mode: str = "zeros",
        *,
        rngs: nnx.Rngs,
        **settings: Any,
    ) -> None:
        spec = layers.layer_spec(
            self.op,
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            output_padding=output_padding,
            groups=groups,
            bias=bias,
            dilation=dilation,
            padding_mode=padding_mode,
        )
        self._build(spec, padding, rngs, **settings)

    def __call__(self, x: Any, output_size: Iterable[int] | None = None) -> jax.Array:
        """``(*batch, *spatial, in_channels)`` -> ``(*batch, *spatial_out, out_channels)``.

        `output_size` chooses the spatial output sizes that the stride leaves open.
        """
        return self._forward(x, output_size)


class Conv1d(_Conv):
    op = "conv1d"
    __doc__ = layers.doc(op, "nnx")


class Conv2d(_Conv):
    op = "conv2d"
    __doc__ = layers.doc(op, "nnx")


class Conv3d(_Conv):
    op = "conv3d"
    __doc__ = layers.doc(op, "nnx")


class ConvTranspose1d(_ConvTranspose):
    op = "conv_transpose1d"
    __doc__ = layers.doc(op, "nnx")


class ConvTranspose2d(_ConvTranspose):
    op = "conv_transpose2d"
    __doc__ = layers.doc(op, "nnx")


class ConvTranspose3d(_ConvTranspose):
    op = "conv_transpose3d"
    __doc__ = layers.doc(op, "nnx")
