"""Unfold and Fold with torch's names and arguments, channels last."""

from typing import Any

import jax

from jaxgroups import _functional as functional
from jaxgroups._types import IntOrInts
from jaxgroups.nnx._base import FeatureLayer


class Unfold(FeatureLayer):
    """The patches under a sliding window as columns, with the arguments of ``torch.nn.Unfold``.

    Shape: input ``(*batch, H, W, C)``, output ``(*batch, L, C kh kw)`` with the L windows in
    row-major order and the features in torch's order, ``(C, kh, kw)`` flattened.

    Args:
      kernel_size: size of the window, an int or one for each of H, W.
      dilation: distance between elements of the window.
      padding: zeros added on both sides.
      stride: distance between windows.

    Raises:
      ValueError: at the call, shapes or numbers that torch refuses.
      TypeError: at the call, an argument of the wrong type.
    """

    shown = ("kernel_size", "dilation", "padding", "stride")

    def __init__(
        self,
        kernel_size: IntOrInts,
        dilation: IntOrInts = 1,
        padding: IntOrInts = 0,
        stride: IntOrInts = 1,
    ) -> None:
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def __call__(self, x: Any) -> jax.Array:
        """``(*batch, H, W, C)`` -> ``(*batch, L, C kh kw)``."""
        return functional.unfold(
            x,
            self.kernel_size,
            self.dilation,
            self.padding,
            self.stride,
            data_format="channels_last",
        )


class Fold(FeatureLayer):
    """Adds up overlapping patches, the transpose of `Unfold`: ``torch.nn.Fold``.

    Shape: input ``(*batch, L, C kh kw)`` with the features in torch's order, ``(C, kh, kw)``
    flattened; output ``(*batch, H, W, C)``.

    Args:
      output_size: H and W of the output.
      kernel_size: size of the window, an int or one for each of H, W.
      dilation: distance between elements of the window.
      padding: number of elements by which the windows extend beyond the output on both sides.
      stride: distance between windows.

    Raises:
      ValueError: at the call, shapes or numbers that torch refuses.
      TypeError: at the call, an argument of the wrong type.
    """

    shown = ("output_size", "kernel_size", "dilation", "padding", "stride")

    def __init__(
        self,
        output_size: IntOrInts,
        kernel_size: IntOrInts,
        dilation: IntOrInts = 1,
        padding: IntOrInts = 0,
        stride: IntOrInts = 1,
    ) -> None:
        self.output_size = output_size
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def __call__(self, x: Any) -> jax.Array:
        """``(*batch, L, C kh kw)`` -> ``(*batch, H, W, C)``."""
        return functional.fold(
            x,
            self.output_size,
            self.kernel_size,
            self.dilation,
            self.padding,
            self.stride,
            data_format="channels_last",
        )
