"""A feature map: an array with named axes, in either layout.

Functions on feature maps compute in the layout of the input, without transpositions, and with any
number of batch axes.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from jaxgroups._types import Ints, Shape

FORMATS = ("channels_first", "channels_last")


@dataclass(frozen=True)
class FeatureMap:
    """An array with its axes by meaning; every axis that is not named is a batch axis.

    Attributes:
      array: the values.
      spatial: the spatial axes, in torch's order (D, H, W).
      channel: the axis of the channels.
    """

    array: jax.Array
    spatial: Ints
    channel: int

    @property
    def sizes(self) -> Shape:
        """The sizes of the spatial axes."""
        return tuple(self.array.shape[axis] for axis in self.spatial)

    @property
    def channels(self) -> int:
        """The number of channels."""
        return self.array.shape[self.channel]

    @property
    def torch_shape(self) -> Shape:
        """The shape as torch would write it: batch axes, channels, spatial axes."""
        inner = (self.channel, *self.spatial)
        batch = tuple(n for axis, n in enumerate(self.array.shape) if axis not in inner)
        return (*batch, self.channels, *self.sizes)

    def with_array(self, array: jax.Array) -> "FeatureMap":
        """The same axes of another array, for instance of the result."""
        return replace(self, array=array)

    def along(self, vector: Any, axis: int) -> Any:
        """A vector, of NumPy or JAX, reshaped so that it broadcasts along one axis of `array`."""
        return along(vector, self.array.ndim, (axis,))


def along(array: Any, ndim: int, axes: Ints) -> Any:
    """An array of NumPy or JAX, reshaped so that it broadcasts along `axes` of `ndim` axes."""
    shape = [1] * ndim
    for axis, size in zip(axes, array.shape, strict=True):
        shape[axis] = size
    return array.reshape(shape)


def check_format(where: str, data_format: str) -> None:
    """Refuse an unknown layout."""
    if data_format not in FORMATS:
        raise ValueError(
            f"{where}(): data_format must be 'channels_first' or 'channels_last', "
            f"got {data_format!r}"
        )


def feature_map(
    where: str, input: Any, rank: int, data_format: str, sentence: str = ""
) -> FeatureMap:
    """The feature map of an argument `input`.

    Args:
      where: name of the function, for errors.
      input: ``(N, C, *spatial)`` or ``(C, *spatial)``; with channels_last
        ``(*batch, *spatial, C)``.
      rank: number of spatial axes.
      data_format: ``"channels_first"`` or ``"channels_last"``.
      sentence: torch's sentence for an input of the wrong rank; the shape follows it.

    Raises:
      TypeError: `input` is no array.
      ValueError: unknown layout, or wrong number of axes.
    """
    check_format(where, data_format)
    if not hasattr(input, "shape") and not isinstance(input, (list, tuple, int, float)):
        raise TypeError(f"{where}(): argument 'input' must be an array, not {type(input).__name__}")
    array = jnp.asarray(input)
    last = data_format == "channels_last"
    least, most = rank + 1, rank + 2
    if array.ndim < least or (array.ndim > most and not last):
        expected = f"{least}D or more" if last else f"{least}D or {most}D (batch mode)"
        start = sentence or f"{where}: Expected {expected} tensor for input, but got:"
        hint = ""
        if not last and array.ndim > most:
            hint = "; give data_format='channels_last' for more batch axes"
        raise ValueError(f"{start} {list(array.shape)} with data_format={data_format!r}{hint}")
    channel = array.ndim - 1 if last else array.ndim - rank - 1
    first = channel - rank if last else channel + 1
    return FeatureMap(array, tuple(range(first, first + rank)), channel)


def of_any_rank(where: str, input: Any, data_format: str, sentence: str, least: int) -> FeatureMap:
    """The feature map of an input (N, C, *) or (N, *, C) with any number of spatial axes.

    Raises:
      ValueError: fewer than `least` axes, with `sentence` and the number of axes; unknown layout.
    """
    ndim = jnp.ndim(input)
    if ndim < least:
        raise ValueError(f"{sentence} {ndim}: {where}() got an input of shape {jnp.shape(input)}")
    return feature_map(where, input, ndim - 2, data_format)
