"""Flax nnx layers with torch's arguments: Conv1d, Conv2d, Conv3d, ConvTranspose1d, 2d, 3d."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.lax import PrecisionLike
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from jaxgroups import _layers as layers
from jaxgroups._spec import arguments, layer_text
from jaxgroups._spec.spec import ConvSpec
from jaxgroups._types import IntOrInts, Ints
from jaxgroups.nnx import _parameters as parameters
from jaxgroups.nnx._base import TorchLayer


class Layer(TorchLayer):
    """Base class of the six convolutions.

    Attributes:
      spec: the `ConvSpec` of the layer.
      kernel: the ``nnx.Param`` of the weights, torch's weight transposed.
      bias: the ``nnx.Param`` of the bias, or None.
    """

    op: ClassVar[str]
    spec: ConvSpec

    def _build(
        self,
        spec: ConvSpec,
        padding: IntOrInts | str,
        rngs: nnx.Rngs,
        *,
        dtype: DTypeLike | None,
        param_dtype: DTypeLike,
        precision: PrecisionLike,
        preferred_element_type: DTypeLike | None,
        implementation: str | None,
        kernel_init: Initializer | None,
        bias_init: Initializer | None,
        kernel_metadata: Mapping[str, Any] | None,
        bias_metadata: Mapping[str, Any] | None,
    ) -> None:
        parameters.check_rngs(arguments.layer_name(self.op), rngs)
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
            parameters.value(self.bias),
            dtype=self.dtype,
            output_size=output_size,
            precision=self.precision,
            preferred_element_type=self.preferred_element_type,
            implementation=self.implementation,
        )

    @property
    def in_channels(self) -> int:
        """Channels of the input."""
        return self.spec.in_channels

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return self.spec.out_channels

    @property
    def kernel_size(self) -> Ints:
        """Size of the kernel, one int an axis."""
        return self.spec.kernel_size

    @property
    def stride(self) -> Ints:
        """Stride of the window, one int an axis."""
        return self.spec.stride

    @property
    def dilation(self) -> Ints:
        """Distance between elements of the kernel, one int an axis."""
        return self.spec.dilation

    @property
    def output_padding(self) -> Ints:
        """Size added to one side of a transposed convolution's output, one int an axis."""
        return self.spec.output_padding

    @property
    def groups(self) -> int:
        """Number of groups of channels."""
        return self.spec.groups

    @property
    def padding_mode(self) -> str:
        """``zeros``, ``reflect``, ``replicate`` or ``circular``."""
        return self.spec.padding_mode

    def _repr_text(self) -> str:
        return layer_text.torch_repr(self.spec, self.padding, self.in_channels)


class _Conv(Layer):
    @parameters.checked
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
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        precision: PrecisionLike = None,
        preferred_element_type: DTypeLike | None = None,
        implementation: str | None = None,
        kernel_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        kernel_metadata: Mapping[str, Any] | None = None,
        bias_metadata: Mapping[str, Any] | None = None,
        rngs: nnx.Rngs,
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
        self._build(
            spec,
            padding,
            rngs,
            dtype=dtype,
            param_dtype=param_dtype,
            precision=precision,
            preferred_element_type=preferred_element_type,
            implementation=implementation,
            kernel_init=kernel_init,
            bias_init=bias_init,
            kernel_metadata=kernel_metadata,
            bias_metadata=bias_metadata,
        )

    def __call__(self, x: Any) -> jax.Array:
        """``(*batch, *spatial, in_channels)`` -> ``(*batch, *spatial_out, out_channels)``."""
        return self._forward(x)


class _ConvTranspose(Layer):
    @parameters.checked
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
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        precision: PrecisionLike = None,
        preferred_element_type: DTypeLike | None = None,
        implementation: str | None = None,
        kernel_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        kernel_metadata: Mapping[str, Any] | None = None,
        bias_metadata: Mapping[str, Any] | None = None,
        rngs: nnx.Rngs,
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
        self._build(
            spec,
            padding,
            rngs,
            dtype=dtype,
            param_dtype=param_dtype,
            precision=precision,
            preferred_element_type=preferred_element_type,
            implementation=implementation,
            kernel_init=kernel_init,
            bias_init=bias_init,
            kernel_metadata=kernel_metadata,
            bias_metadata=bias_metadata,
        )

    def __call__(self, x: Any, output_size: Iterable[int] | None = None) -> jax.Array:
        """``(*batch, *spatial, in_channels)`` -> ``(*batch, *spatial_out, out_channels)``.

        Args:
          x: the input.
          output_size: the spatial sizes or the whole shape of the output, instead of the layer's
            `output_padding`.
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
