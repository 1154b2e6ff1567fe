"""Layers that rearrange channels and space, with torch's names and arguments, channels last."""

from typing import Any

import jax

from jaxgroups import _functional as functional
from jaxgroups.nnx._base import FeatureLayer


class PixelShuffle(FeatureLayer):
    """Rearranges channels into positions, with the arguments of ``torch.nn.PixelShuffle``.

    Shape: input ``(*batch, H, W, C r r)``, output ``(*batch, H r, W r, C)``. The channels of the
    input are in torch's order, ``(C, r, r)`` flattened.

    Args:
      upscale_factor: the factor r.

    Raises:
      ValueError: at the call, channels that the square of the factor does not divide.
      TypeError: at the call, a factor that is no int.
    """

    shown = ("upscale_factor",)

    def __init__(self, upscale_factor: int) -> None:
        self.upscale_factor = upscale_factor

    def __call__(self, x: Any) -> jax.Array:
        """``(*batch, H, W, C r r)`` -> ``(*batch, H r, W r, C)``."""
        return functional.pixel_shuffle(x, self.upscale_factor, data_format="channels_last")


class PixelUnshuffle(FeatureLayer):
    """Rearranges positions into channels, with the arguments of ``torch.nn.PixelUnshuffle``.

    Shape: input ``(*batch, H r, W r, C)``, output ``(*batch, H, W, C r r)``. The channels of the
    output are in torch's order, ``(C, r, r)`` flattened.

    Args:
      downscale_factor: the factor r.

    Raises:
      ValueError: at the call, sizes that the factor does not divide.
      TypeError: at the call, a factor that is no int.
    """

    shown = ("downscale_factor",)

    def __init__(self, downscale_factor: int) -> None:
        self.downscale_factor = downscale_factor

    def __call__(self, x: Any) -> jax.Array:
        """``(*batch, H r, W r, C)`` -> ``(*batch, H, W, C r r)``."""
        return functional.pixel_unshuffle(x, self.downscale_factor, data_format="channels_last")


class ChannelShuffle(FeatureLayer):
    """Interleaves the groups of channels, with the arguments of ``torch.nn.ChannelShuffle``.

    Shape: input and output ``(*batch, *spatial, C)``.

    Args:
      groups: number of groups; channel k of group g becomes channel ``k groups + g``.

    Raises:
      ValueError: at the call, channels that the groups do not divide.
      TypeError: at the call, a number of groups that is no int.
    """

    shown = ("groups",)

    def __init__(self, groups: int) -> None:
        self.groups = groups

    def __call__(self, x: Any) -> jax.Array:
        """``(*batch, *spatial, C)`` -> the same shape."""
        return functional.channel_shuffle(x, self.groups, data_format="channels_last")
