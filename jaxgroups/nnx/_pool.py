"""Pooling layers with torch's names and arguments, channels last. They have no parameters."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax

from jaxgroups import _functional as functional
from jaxgroups._types import IntOrInts
from jaxgroups.nnx._base import FeatureLayer


class _MaxPool(FeatureLayer):
    """{rank}-D max pooling over channels-last input, with the arguments of ``torch.nn.{name}``.

    Shape: input ``(*batch, {axes}, C)``, output ``(*batch, {out}, C)``.

    Args:
      kernel_size: size of the window, an int or one for each of {axes}.
      stride: distance between windows. None by default: the kernel size.
      padding: elements added on both sides, which are never the maximum; at most half the window.
      dilation: distance between elements of the window.
      return_indices: whether to return the index of each maximum too, for `MaxUnpool{rank}d`.
      ceil_mode: whether a last window may reach beyond the padded input.

    Raises:
      ValueError: at the call, shapes or numbers that torch refuses.
      TypeError: at the call, an argument of the wrong type.
    """

    function: ClassVar[Callable[..., Any]]
    shown = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")

    def __init__(
        self,
        kernel_size: IntOrInts,
        stride: IntOrInts | None = None,
        padding: IntOrInts = 0,
        dilation: IntOrInts = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def __call__(self, x: Any) -> Any:
        """The pooled input; with `return_indices` the pair of values and indices."""
        return type(self).function(
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.return_indices,
            data_format="channels_last",
        )


class _AvgPool(FeatureLayer):
    """{rank}-D average pooling over channels-last input, with the arguments of ``torch.nn.{name}``.

    Shape: input ``(*batch, {axes}, C)``, output ``(*batch, {out}, C)``.

    Args:
      kernel_size: size of the window, an int or one for each of {axes}.
      stride: distance between windows. None by default: the kernel size.
      padding: zeros added on both sides; at most half the window.
      ceil_mode: whether a last window may reach beyond the padded input.
      count_include_pad: whether the padding counts in the divisor.
      divisor_override: the divisor, in place of the number of elements.

    Raises:
      ValueError: at the call, shapes or numbers that torch refuses.
      TypeError: at the call, an argument of the wrong type.
    """

    function: ClassVar[Callable[..., jax.Array]]
    shown = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")

    def __init__(
        self,
        kernel_size: IntOrInts,
        stride: IntOrInts | None = None,
        padding: IntOrInts = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def __call__(self, x: Any) -> jax.Array:
        """``(*batch, *spatial, C)`` -> ``(*batch, *spatial_out, C)``."""
        return type(self).function(
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
            data_format="channels_last",
        )


class _LPPool(FeatureLayer):
    """{rank}-D power-average pooling, with the arguments of ``torch.nn.{name}``.

    Shape: input ``(*batch, {axes}, C)``, output ``(*batch, {out}, C)``.

    Args:
      norm_type: the exponent p of ``(sum of x ** p) ** (1 / p)``.
      kernel_size: size of the window, an int or one for each of {axes}.
      stride: distance between windows. None by default: the kernel size.
      ceil_mode: whether a last window may reach beyond the input.

    Raises:
      ValueError: at the call, shapes or numbers that torch refuses.
      TypeError: at the call, an argument of the wrong type.
    """

    function: ClassVar[Callable[..., jax.Array]]
    shown = ("norm_type", "kernel_size", "stride", "ceil_mode")

    def __init__(
        self,
        norm_type: float,
        kernel_size: IntOrInts,
        stride: IntOrInts | None = None,
        ceil_mode: bool = False,
    ) -> None:
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.ceil_mode = ceil_mode

    def __call__(self, x: Any) -> jax.Array:
        """``(*batch, *spatial, C)`` -> ``(*batch, *spatial_out, C)``."""
        return type(self).function(
            x,
            self.norm_type,
            self.kernel_size,
            self.stride,
            self.ceil_mode,
            data_format="channels_last",
        )


class MaxPool1d(_MaxPool):
    rank = 1
    function = functional.max_pool1d


class MaxPool2d(_MaxPool):
    rank = 2
    function = functional.max_pool2d


class MaxPool3d(_MaxPool):
    rank = 3
    function = functional.max_pool3d


class AvgPool1d(_AvgPool):
    rank = 1
    function = functional.avg_pool1d


class AvgPool2d(_AvgPool):
    rank = 2
    function = functional.avg_pool2d


class AvgPool3d(_AvgPool):
    rank = 3
    function = functional.avg_pool3d


class LPPool1d(_LPPool):
    rank = 1
    function = functional.lp_pool1d


class LPPool2d(_LPPool):
    rank = 2
    function = functional.lp_pool2d


class LPPool3d(_LPPool):
    rank = 3
    function = functional.lp_pool3d
