"""Adaptive pooling layers with torch's names and arguments, channels last."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax

from jaxgroups import _functional as functional
from jaxgroups._types import OptionalSizes
from jaxgroups.nnx._base import FeatureLayer


class _AdaptiveAvgPool(FeatureLayer):
    """{rank}-D adaptive average pooling, with the arguments of ``torch.nn.{name}``.

    Shape: input ``(*batch, {axes}, C)``, output ``(*batch, {out}, C)``.

    Args:
      output_size: an int, or for each of {axes} an int or None, which keeps the input's size. It
        does not need to divide the input's size.

    Raises:
      ValueError: at the call, shapes or sizes that torch refuses.
      TypeError: at the call, an argument of the wrong type.
    """

    function: ClassVar[Callable[..., jax.Array]]
    shown = ("output_size",)

    def __init__(self, output_size: OptionalSizes) -> None:
        self.output_size = output_size

    def __call__(self, x: Any) -> jax.Array:
        """``(*batch, *spatial, C)`` -> ``(*batch, *spatial_out, C)``."""
        return type(self).function(x, self.output_size, data_format="channels_last")


class _AdaptiveMaxPool(FeatureLayer):
    """{rank}-D adaptive max pooling, with the arguments of ``torch.nn.{name}``.

    Shape: input ``(*batch, {axes}, C)``, output ``(*batch, {out}, C)``.

    Args:
      output_size: an int, or for each of {axes} an int or None, which keeps the input's size. It
        does not need to divide the input's size.
      return_indices: whether to return the index of each maximum too, for `MaxUnpool{rank}d`.

    Raises:
      ValueError: at the call, shapes or sizes that torch refuses.
      TypeError: at the call, an argument of the wrong type.
    """

    function: ClassVar[Callable[..., Any]]
    shown = ("output_size",)

    def __init__(self, output_size: OptionalSizes, return_indices: bool = False) -> None:
        self.output_size = output_size
        self.return_indices = return_indices

    def __call__(self, x: Any) -> Any:
        """The pooled input; with `return_indices` the pair of values and indices."""
        return type(self).function(
            x, self.output_size, self.return_indices, data_format="channels_last"
        )


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    rank = 1
    function = functional.adaptive_avg_pool1d


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    rank = 2
    function = functional.adaptive_avg_pool2d


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    rank = 3
    function = functional.adaptive_avg_pool3d


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    rank = 1
    function = functional.adaptive_max_pool1d


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    rank = 2
    function = functional.adaptive_max_pool2d


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    rank = 3
    function = functional.adaptive_max_pool3d
