"""Normalization layers without running statistics: torch's names and arguments, channels last."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from jaxgroups._functional import norm as functional
from jaxgroups._functional.feature_map import feature_map
from jaxgroups._functional.local_response import local_response_norm
from jaxgroups._spec import arguments
from jaxgroups.nnx import _parameters as parameters
from jaxgroups.nnx._base import FeatureLayer


class GroupNorm(FeatureLayer):
    """Group normalization over channels-last input, with the arguments of ``torch.nn.GroupNorm``.

    Shape: input and output ``(N, *, C)``, with `batch_axes` axes in place of N.

    Args:
      num_groups: the number of groups; each is ``C / num_groups`` consecutive channels.
      num_channels: the number of channels C.
      eps: added to the variance.
      affine: whether there are `scale` and `bias`.
      bias: whether there is a `bias`, if `affine`.
      batch_axes: the number of leading axes, along which each element is normalized by itself.
      dtype: the dtype that the input is cast to; None for its own. float16 and bfloat16 are
        computed in float32.
      param_dtype: the dtype of the parameters.

    Attributes:
      scale, bias: the ``nnx.Param`` of torch's `weight` and `bias`, or None.

    Raises:
      ValueError: `num_groups` does not divide the channels; at the call, shapes that torch refuses.
      TypeError: at the call, an input that does not hold floating-point numbers.
    """

    shown = ("num_groups", "num_channels", "eps", "affine")

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        bias: bool = True,
        batch_axes: int = 1,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
    ) -> None:
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(
                f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups}): "
                "GroupNorm makes groups of equal size"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        self.batch_axes = batch_axes
        self.dtype = dtype
        shape = (num_channels,)
        self.scale: nnx.Param | None = parameters.scale(affine, shape, param_dtype)
        self.bias: nnx.Param | None = parameters.bias(affine and bias, shape, param_dtype)

    def __call__(self, x: Any) -> jax.Array:
        """``(N, *, C)`` -> ``(N, *, C)``, normalized."""
        x = jnp.asarray(x, self.dtype)
        if x.ndim < self.batch_axes + 1:
            raise ValueError(
                f"Expected at least {self.batch_axes + 1} dimensions for input tensor but received "
                f"{x.ndim}: GroupNorm with batch_axes={self.batch_axes} got shape {x.shape}"
            )
        if x.shape[-1] != self.num_channels:
            raise ValueError(
                "Expected weight to be a vector of size equal to the number of channels in input, "
                f"but got weight of shape [{self.num_channels}]: GroupNorm with num_channels="
                f"{self.num_channels} got channels-last input of shape {x.shape}"
            )
        image = feature_map("GroupNorm", x, x.ndim - 1 - self.batch_axes, "channels_last")
        scale, bias = parameters.value(self.scale), parameters.value(self.bias)
        return functional.group_norm_of("GroupNorm", image, self.num_groups, scale, bias, self.eps)


class LayerNorm(FeatureLayer):
    """Layer normalization over the last axes, with the arguments of ``torch.nn.LayerNorm``.

    Over the last axis alone, ``flax.nnx.LayerNorm(epsilon=1e-5, use_fast_variance=False)``
    computes the same. On channels-last feature maps that axis is the channels.

    Shape: input and output ``(*, *normalized_shape)``.

    Args:
      normalized_shape: the sizes of the last axes, over which the mean is taken. They are in the
        order of the input: torch's ``(C, H, W)`` is ``(H, W, C)`` here. An int for the last axis.
      eps: added to the variance.
      elementwise_affine: whether there are `scale` and `bias`.
      bias: whether there is a `bias`, if `elementwise_affine`.
      dtype: the dtype that the input is cast to; None for its own. float16 and bfloat16 are
        computed in float32.
      param_dtype: the dtype of the parameters.

    Attributes:
      scale, bias: the ``nnx.Param`` of torch's `weight` and `bias`, or None.

    Raises:
      ValueError: at the call, shapes that torch refuses.
      TypeError: at construction, sizes that are no ints; at the call, an input that does not hold
        floating-point numbers.
    """

    shown = ("normalized_shape", "eps", "elementwise_affine")

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
    ) -> None:
        shape = arguments.integers("LayerNorm", "normalized_shape", normalized_shape)
        self.normalized_shape = shape
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.dtype = dtype
        self.scale: nnx.Param | None = parameters.scale(elementwise_affine, shape, param_dtype)
        has_bias = elementwise_affine and bias
        self.bias: nnx.Param | None = parameters.bias(has_bias, shape, param_dtype)

    def __call__(self, x: Any) -> jax.Array:
        """``(*, *normalized_shape)`` -> ``(*, *normalized_shape)``, normalized."""
        return functional.layer_norm(
            jnp.asarray(x, self.dtype),
            self.normalized_shape,
            parameters.value(self.scale),
            parameters.value(self.bias),
            self.eps,
        )


class RMSNorm(FeatureLayer):
    """Root mean square normalization over the last axes, as ``torch.nn.RMSNorm``.

    Over the last axis alone, ``flax.nnx.RMSNorm(epsilon=1.1920929e-07)`` computes the same as the
    default here in float32.

    Shape: input and output ``(*, *normalized_shape)``.

    Args:
      normalized_shape: the sizes of the last axes, over which the mean is taken. They are in the
        order of the input: torch's ``(C, H, W)`` is ``(H, W, C)`` here. An int for the last axis.
      eps: added to the mean of squares. None by default: the machine epsilon of the dtype of the
        computation, 1.2e-7 for float32.
      elementwise_affine: whether there is a `scale`.
      dtype: the dtype that the input is cast to; None for its own. float16 and bfloat16 are
        computed in float32.
      param_dtype: the dtype of the parameter.

    Attributes:
      scale: the ``nnx.Param`` of torch's `weight`, or None.

    Raises:
      ValueError: at the call, shapes that torch refuses.
      TypeError: at construction, sizes that are no ints; at the call, an input that does not hold
        floating-point numbers.
    """

    shown = ("normalized_shape", "eps", "elementwise_affine")

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
    ) -> None:
        shape = arguments.integers("RMSNorm", "normalized_shape", normalized_shape)
        self.normalized_shape = shape
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.dtype = dtype
        self.scale: nnx.Param | None = parameters.scale(elementwise_affine, shape, param_dtype)

    def __call__(self, x: Any) -> jax.Array:
        """``(*, *normalized_shape)`` -> ``(*, *normalized_shape)``, normalized."""
        x, scale = jnp.asarray(x, self.dtype), parameters.value(self.scale)
        return functional.rms_norm(x, self.normalized_shape, scale, self.eps)


class LocalResponseNorm(FeatureLayer):
    """Local response normalization over channels-last input, as ``torch.nn.LocalResponseNorm``.

    Each value is divided by ``(k + alpha * mean of squares) ** beta``. The mean is over a window
    of `size` channels, padded with zeros.

    Shape: input and output ``(*batch, C)``, at least three axes.

    Args:
      size: the number of channels of the window.
      alpha: the factor of the mean.
      beta: the exponent.
      k: the summand.

    Raises:
      ValueError: at the call, fewer than three axes, or a size that is not positive.
      TypeError: at the call, an input that does not hold real numbers.
    """

    shown = ("size", "alpha", "beta", "k")

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def __call__(self, x: Any) -> jax.Array:
        """``(*batch, C)`` -> ``(*batch, C)``, normalized."""
        return local_response_norm(
            x, self.size, self.alpha, self.beta, self.k, data_format="channels_last"
        )
