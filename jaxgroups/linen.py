"""Flax linen layers with torch's arguments, in_channels taken from the input.

``Conv2d(out_channels, kernel_size, ...)`` is torch's ``LazyConv2d``; parameters are ``kernel`` and
``bias``, the same arrays as in `jaxgroups.nnx`.
"""

from collections.abc import Iterable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.lax import PrecisionLike
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from jaxgroups import _keywords as keywords
from jaxgroups import _layers as layers
from jaxgroups._op import functional
from jaxgroups._spec import arguments, layer_text
from jaxgroups._spec.spec import ConvSpec
from jaxgroups._types import IntOrInts

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Layer",
]

_TORCH_FIELDS = (
    "stride",
    "padding",
    "output_padding",
    "dilation",
    "groups",
    "bias",
    "padding_mode",
)


def __dir__() -> list[str]:
    return __all__


class Layer(nn.Module):
    """Base class of the six linen layers; the subclasses declare the fields."""

    op: ClassVar[str]

    def __init_subclass__(cls, kw_only: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(kw_only=kw_only, **kwargs)
        if "__init__" in vars(cls):  # flax makes one for each class
            cls.__init__ = keywords.checked(cls.__init__)

    def __post_init__(self) -> None:
        spec = self._spec_for_checks()
        layers.check_settings(self.param_dtype, self.implementation)
        # iterators are read once, and lists become hashable, here
        self.kernel_size, self.stride, self.dilation = spec.kernel_size, spec.stride, spec.dilation
        self.padding = layers.shown_padding(spec, self.padding)
        if spec.transposed:
            self.output_padding = spec.output_padding
        super().__post_init__()

    @property
    def spec(self) -> ConvSpec:
        """The layer's spec.

        Raises:
          ValueError: the layer has no `in_channels`; `spec_for` takes them.
        """
        if self.in_channels is None:
            raise ValueError(
                f"{arguments.layer_name(self.op)} learns in_channels from its first input: give "
                "in_channels to the constructor, or use layer.spec_for(in_channels)"
            )
        return self.spec_for(self.in_channels)

    @nn.nowrap
    def spec_for(self, in_channels: int) -> ConvSpec:
        """The layer's spec for an input of `in_channels` channels."""
        fields = {f: getattr(self, f) for f in _TORCH_FIELDS if hasattr(self, f)}
        return layers.layer_spec(
            self.op, in_channels, self.out_channels, self.kernel_size, **fields
        )

    @nn.nowrap
    def _spec_for_checks(self) -> ConvSpec:
        """The spec; with one channel a group where `in_channels` is unknown."""
        if self.in_channels is not None:
            return self.spec
        groups = arguments.integer(arguments.layer_name(self.op), "groups", self.groups)
        return self.spec_for(groups)

    def _forward(self, x: Any, output_size: Iterable[int] | None = None) -> jax.Array:
        x = functional.array(self.op, "input", x, (x,))
        in_channels = self.in_channels
        if in_channels is None:
            in_channels = layers.channels(self._spec_for_checks(), x.shape)
        spec = self.spec_for(in_channels)
        default = layers.torch_uniform(layers.fan_in(spec))
        kernel = self.param(
            "kernel", self.kernel_init or default, spec.weight_shape, self.param_dtype
        )
        bias = None
        if self.bias:
            bias = self.param(
                "bias", self.bias_init or default, (self.out_channels,), self.param_dtype
            )
        return layers.call(
            spec,
            x,
            kernel,
            bias,
            dtype=self.dtype,
            output_size=output_size,
            precision=self.precision,
            preferred_element_type=self.preferred_element_type,
            implementation=self.implementation,
        )

    def __repr__(self) -> str:
        return layer_text.torch_repr(self._spec_for_checks(), self.padding, self.in_channels)


class _Conv(Layer):
    out_channels: int
    kernel_size: IntOrInts
    stride: IntOrInts = 1
    padding: IntOrInts | str = 0
    dilation: IntOrInts = 1
    groups: int = 1
    bias: bool = True
    padding_mode: str = "zeros"
    in_channels: int | None = None
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    precision: PrecisionLike = None
    preferred_element_type: DTypeLike | None = None
    implementation: str | None = None
    kernel_init: Initializer | None = None
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(self, x: Any) -> jax.Array:
        """``(*batch, *spatial, in_channels)`` -> ``(*batch, *spatial_out, out_channels)``."""
        return self._forward(x)


class _ConvTranspose(Layer):
    out_channels: int
    kernel_size: IntOrInts
    stride: IntOrInts = 1
    padding: IntOrInts = 0
    output_padding: IntOrInts = 0
    groups: int = 1
    bias: bool = True
    dilation: IntOrInts = 1
    padding_mode: str = "zeros"
    in_channels: int | None = None
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    precision: PrecisionLike = None
    preferred_element_type: DTypeLike | None = None
    implementation: str | None = None
    kernel_init: Initializer | None = None
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(self, x: Any, output_size: Iterable[int] | None = None) -> jax.Array:
        """``(*batch, *spatial, in_channels)`` -> ``(*batch, *spatial_out, out_channels)``.

        `output_size` chooses the spatial output sizes that the stride leaves open.
        """
        return self._forward(x, output_size)


class Conv1d(_Conv):
    op = "conv1d"
    __doc__ = layers.doc(op, "linen")


class Conv2d(_Conv):
    op = "conv2d"
    __doc__ = layers.doc(op, "linen")


class Conv3d(_Conv):
    op = "conv3d"
    __doc__ = layers.doc(op, "linen")


class ConvTranspose1d(_ConvTranspose):
    op = "conv_transpose1d"
    __doc__ = layers.doc(op, "linen")


class ConvTranspose2d(_ConvTranspose):
    op = "conv_transpose2d"
    __doc__ = layers.doc(op, "linen")


class ConvTranspose3d(_ConvTranspose):
    op = "conv_transpose3d"
    __doc__ = layers.doc(op, "linen")
