"""A feature map: an array whose axes are known, whichever layout it has.

A function on feature maps works on the axes of the array as it is given. It transposes nothing, so
the layout of the result is that of the input, and any number of batch axes is carried along.
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
        shape = [1] * self.array.ndim
        shape[axis] = vector.shape[0]
        return vector.reshape(shape)


def check_format(where: str, data_format: str) -> None:
    """Refuse a layout that does not exist."""
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
      sentence: torch's sentence for an input of the wrong rank, ended by the shape.

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
    """An input (N, C, *) or (N, *, C), whatever its number of spatial axes."""
    ndim = jnp.ndim(input)
    if ndim < least:
        raise ValueError(f"{sentence} {ndim}: {where}() got an input of shape {jnp.shape(input)}")
    return feature_map(where, input, ndim - 2, data_format)
