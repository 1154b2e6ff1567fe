"""Rearrangements between channels and space, in torch's order of the channels.

The channels of a pixel shuffle are ``(C, r, r)`` flattened: the channel varies slowest.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxgroups._functional.feature_map import FeatureMap, check_format
from jaxgroups._functional.observed import observed
from jaxgroups._spec import arguments


@observed
def pixel_shuffle(
    input: Any, upscale_factor: int, *, data_format: str = "channels_first"
) -> jax.Array:
    """Rearranges channels into positions: ``torch.nn.functional.pixel_shuffle``.

    Args:
      input: ``(*batch, C r r, H, W)``; with channels_last ``(*batch, H, W, C r r)``.
      upscale_factor: the factor r.
      data_format: ``"channels_first"`` or ``"channels_last"``.

    Returns:
      ``(*batch, C, H r, W r)``, laid out like the input.

    Raises:
      ValueError: channels that the square of the factor does not divide, or too few axes.
      TypeError: a factor that is no int.
    """
    image = _image("pixel_shuffle", input, "upscale_factor", upscale_factor, data_format)
    r, channels = upscale_factor, image.channels
    if channels % (r * r):
        axis = image.channel - image.array.ndim
        raise ValueError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square "
            f"of upscale_factor, but input.size({axis})={channels} is not divisible by {r * r}"
        )
    h, w = image.sizes
    batch = image.array.shape[:-3]
    n = len(batch)
    c = channels // (r * r)
    order = (*range(n), n, n + 3, n + 1, n + 4, n + 2)
    if data_format == "channels_last":
        split = image.array.reshape(*batch, h, w, c, r, r)
        return split.transpose(order).reshape(*batch, h * r, w * r, c)
    split = image.array.reshape(*batch, c, r, r, h, w)
    return split.transpose(order).reshape(*batch, c, h * r, w * r)


@observed
def pixel_unshuffle(
    input: Any, downscale_factor: int, *, data_format: str = "channels_first"
) -> jax.Array:
    """Rearranges positions into channels: ``torch.nn.functional.pixel_unshuffle``.

    Args:
      input: ``(*batch, C, H r, W r)``; with channels_last ``(*batch, H r, W r, C)``.
      downscale_factor: the factor r.
      data_format: ``"channels_first"`` or ``"channels_last"``.

    Returns:
      ``(*batch, C r r, H, W)``, laid out like the input.

    Raises:
      ValueError: sizes that the factor does not divide, or too few axes.
      TypeError: a factor that is no int.
    """
    image = _image("pixel_unshuffle", input, "downscale_factor", downscale_factor, data_format)
    r, c = downscale_factor, image.channels
    for name, axis, size in zip(("height", "width"), image.spatial, image.sizes, strict=True):
        if size % r:
            raise ValueError(
                f"pixel_unshuffle expects {name} to be divisible by downscale_factor, but "
                f"input.size({axis - image.array.ndim})={size} is not divisible by {r}"
            )
    h, w = (size // r for size in image.sizes)
    batch = image.array.shape[:-3]
    n = len(batch)
    order = (*range(n), n, n + 2, n + 4, n + 1, n + 3)
    if data_format == "channels_last":
        split = image.array.reshape(*batch, h, r, w, r, c)
        return split.transpose(order).reshape(*batch, h, w, c * r * r)
    split = image.array.reshape(*batch, c, h, r, w, r)
    return split.transpose(order).reshape(*batch, c * r * r, h, w)


@observed
def channel_shuffle(input: Any, groups: int, *, data_format: str = "channels_first") -> jax.Array:
    """Interleaves the groups of channels: ``torch.nn.functional.channel_shuffle``.

    Args:
      input: ``(N, C, *spatial)``; with channels_last ``(*batch, *spatial, C)``.
      groups: number of groups; channel k of group g becomes channel ``k groups + g``.
      data_format: ``"channels_first"`` or ``"channels_last"``.

    Returns:
      An array of the input's shape.

    Raises:
      ValueError: channels that the groups do not divide, or too few axes.
      TypeError: a number of groups that is no int.
    """
    where = "channel_shuffle"
    check_format(where, data_format)
    arguments.integer(where, "groups", groups)
    array = jnp.asarray(input)
    if array.ndim < 3:
        raise ValueError(
            f"{where} expects input with > 2 dims, but got input with sizes {list(array.shape)}"
        )
    if groups <= 0:
        raise ValueError(
            f"Number of groups to divide channels in must be positive. Value of groups:{groups}"
        )
    axis = array.ndim - 1 if data_format == "channels_last" else 1
    channels = array.shape[axis]
    if channels % groups:
        raise ValueError(
            f"Number of channels must be divisible by groups. Got {channels} channels and "
            f"{groups} groups."
        )
    before, after = array.shape[:axis], array.shape[axis + 1 :]
    split = array.reshape(*before, groups, channels // groups, *after)
    return jnp.swapaxes(split, axis, axis + 1).reshape(array.shape)


def _image(where: str, input: Any, name: str, factor: Any, data_format: str) -> FeatureMap:
    """The feature map of an input with two spatial axes; checks the factor."""
    check_format(where, data_format)
    arguments.integer(where, name, factor)
    array = jnp.asarray(input)
    n = array.ndim
    if n < 3:
        raise ValueError(
            f"{where} expects input to have at least 3 dimensions, but got input with {n} "
            f"dimension(s): {list(array.shape)}"
        )
    if factor <= 0:
        raise ValueError(f"{where} expects a positive {name}, but got {factor}")
    if data_format == "channels_last":
        return FeatureMap(array, (n - 3, n - 2), n - 1)
    return FeatureMap(array, (n - 2, n - 1), n - 3)
