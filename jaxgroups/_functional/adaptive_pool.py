"""Adaptive pooling: the public functions, with the names and arguments of ``torch.nn.functional``.

adaptive_avg_pool1d to 3d and adaptive_max_pool1d to 3d.
"""

from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgroups._functional.avg_pool import avg_pool
from jaxgroups._functional.bins import Bins, bins_of, split, taps_of
from jaxgroups._functional.dtypes import widened
from jaxgroups._functional.feature_map import FeatureMap, feature_map
from jaxgroups._functional.fusion import in_memory
from jaxgroups._functional.max_pool import max_pool
from jaxgroups._functional.ranks import by_rank
from jaxgroups._functional.resample import resample
from jaxgroups._functional.row_major import row_major
from jaxgroups._functional.spatial_sum import spatial_sum
from jaxgroups._types import Ints, OptionalSizes

_UNROLLED = 16  # up to as many taps max_pool compares slices; with more, windows are reduced


def adaptive_avg_pool(
    where: str,
    rank: int,
    input: Any,
    output_size: OptionalSizes,
    *,
    data_format: str = "channels_first",
) -> jax.Array:
    """{rank}-D adaptive average pooling: ``torch.nn.functional.{name}``.

    Output ``o`` of an axis is the mean of the elements from ``floor(o L / L_out)`` to
    ``ceil((o + 1) L / L_out)``, whether or not the output size divides the input size L.

    Args:
      input: ``(N, C, {axes})`` or ``(C, {axes})``; with channels_last ``(*batch, {axes}, C)``
        with any number of batch axes. Floating; float16 and bfloat16 are summed in float32.
      output_size: an int, or for each of {axes} an int or None, which keeps the input's size.
      data_format: ``"channels_first"`` or ``"channels_last"``.

    Returns:
      ``(N, C, {out})``, laid out like the input.

    Raises:
      ValueError: shapes or sizes that torch refuses.
      TypeError: an argument of the wrong type, or an input that is not floating.
    """
    image, bins = _checked(where, rank, input, output_size, data_format)
    dtype = image.array.dtype
    wide = widened(dtype)
    if all(one.outputs == 1 for one in bins) and image.channels:
        total = spatial_sum(image.with_array(image.array.astype(wide)))
        return (total / prod(image.sizes)).astype(dtype)
    if all(one.even for one in bins) and image.channels:
        kernel = tuple(one.widest for one in bins)
        return avg_pool(where, rank, image.array, kernel, None, 0, False, True, None, data_format)
    total = image.with_array(row_major(image.array.astype(wide)))
    for axis, one in zip(image.spatial, bins, strict=True):
        array = resample(total.array, axis, one.taps)
        total = image.with_array(array / image.along(one.counts, axis).astype(wide))
    return row_major(total.array).astype(dtype)


def adaptive_max_pool(
    where: str,
    rank: int,
    input: Any,
    output_size: OptionalSizes,
    return_indices: bool = False,
    *,
    data_format: str = "channels_first",
) -> Any:
    """{rank}-D adaptive max pooling: ``torch.nn.functional.{name}``.

    Output ``o`` of an axis is the maximum of the elements from ``floor(o L / L_out)`` to
    ``ceil((o + 1) L / L_out)``, whether or not the output size divides the input size L. Ties and
    NaN are those of `max_pool{rank}d`.

    Args:
      input: ``(N, C, {axes})`` or ``(C, {axes})``; with channels_last ``(*batch, {axes}, C)``
        with any number of batch axes. Floating.
      output_size: an int, or for each of {axes} an int or None, which keeps the input's size.
      return_indices: whether to return the index of each maximum too, in the flattened spatial
        axes of the input: int64 if JAX has 64-bit numbers enabled, else int32.
      data_format: ``"channels_first"`` or ``"channels_last"``.

    Returns:
      ``(N, C, {out})``, laid out like the input; with `return_indices` a pair with the indices.

    Raises:
      ValueError: shapes or sizes that torch refuses.
      TypeError: an argument of the wrong type, or an input that is not floating.
    """
    image, bins = _checked(where, rank, input, output_size, data_format)
    if image.channels == 0:
        raise ValueError(_empty(where, image, image.channel))
    if all(one.even for one in bins) and taps_of(bins) <= _UNROLLED:
        kernel = tuple(one.widest for one in bins)
        return max_pool(
            where, rank, image.array, kernel, None, 0, 1, False, return_indices, data_format
        )
    if return_indices:
        image = image.with_array(in_memory(image.array))  # see `_selected`
    values = _largest(bins, image.spatial, image.channel, image.array)
    if not return_indices:
        return values
    fixed = image.with_array(lax.stop_gradient(image.array))
    selected = _selected(bins, fixed, lax.stop_gradient(values))
    return values, _indices(bins, image, selected)


def _checked(
    where: str, rank: int, input: Any, output_size: Any, data_format: str
) -> tuple[FeatureMap, tuple[Bins, ...]]:
    sentence = f"{where}(): Expected {rank + 1}D or {rank + 2}D tensor, but got"
    image = feature_map(where, input, rank, data_format, sentence)
    if not jnp.issubdtype(image.array.dtype, jnp.floating):
        raise TypeError(f'"{where}" not implemented for {image.array.dtype.name}: give floats')
    for axis in image.spatial:
        if image.array.shape[axis] == 0:
            raise ValueError(_empty(where, image, axis))
    return image, bins_of(where, image, output_size)


def _empty(where: str, image: FeatureMap, axis: int) -> str:
    return (
        f"{where}(): Expected input to have non-zero size for non-batch dimensions, but input has "
        f"sizes {list(image.array.shape)} with dimension {axis} being empty"
    )


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _largest(bins: tuple[Bins, ...], spatial: Ints, channel: int, array: jax.Array) -> jax.Array:
    windowed, windows = split(FeatureMap(array, spatial, channel), bins)
    nan = jnp.any(jnp.isnan(windowed), windows)  # XLA's CPU reductions lose NaN
    return jnp.where(nan, jnp.nan, jnp.max(windowed, windows))


@_largest.defjvp
def _(bins: tuple[Bins, ...], spatial: Ints, channel: int, primals: Any, tangents: Any):
    stored = in_memory(primals[0])
    values = _largest(bins, spatial, channel, stored)
    image = FeatureMap(stored, spatial, channel)
    selected = _selected(bins, image, values)
    windowed, windows = split(image.with_array(tangents[0]), bins)
    number = _numbers(bins, windowed.ndim, windows)
    chosen = jnp.where(jnp.expand_dims(selected, windows) == number, windowed, 0)
    return values, jnp.sum(chosen, windows)


def _numbers(bins: tuple[Bins, ...], ndim: int, windows: Ints) -> jax.Array:
    """The row-major number of each element of a window, along the window axes."""
    number = jnp.zeros((1,) * ndim, jnp.int32)
    for axis, one in zip(windows, bins, strict=True):
        shape = [1] * ndim
        shape[axis] = one.widest
        number = number * one.widest + jnp.arange(one.widest, dtype=jnp.int32).reshape(shape)
    return number


def _selected(bins: tuple[Bins, ...], image: FeatureMap, values: jax.Array) -> jax.Array:
    """The number of the selected element of each bin: the first maximum, or the last NaN.

    The image must be `in_memory`, as in `max_pool._selected`.
    """
    windowed, windows = split(image, bins)
    number = _numbers(bins, windowed.ndim, windows)
    equal = windowed == jnp.expand_dims(values, windows)
    first = jnp.min(jnp.where(equal, number, taps_of(bins)), windows)
    last_nan = jnp.max(jnp.where(jnp.isnan(windowed), number, -1), windows)
    return jnp.where(jnp.isnan(values), last_nan, first)


def _indices(bins: tuple[Bins, ...], image: FeatureMap, selected: jax.Array) -> jax.Array:
    """The index of the selected element in the flattened spatial axes of the input."""
    dtype = jax.dtypes.canonicalize_dtype("int64")
    index, rest, weight = jnp.zeros((), dtype), selected.astype(dtype), 1
    for axis, one in reversed(list(zip(image.spatial, bins, strict=True))):
        starts, counts = (jnp.asarray(v, dtype) for v in (one.starts, one.counts))
        inside = jnp.minimum(rest % one.widest, image.along(counts, axis) - 1)
        index = index + (image.along(starts, axis) + inside) * weight
        rest = rest // one.widest
        weight = weight * one.size
    return index


adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = by_rank(adaptive_avg_pool)
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = by_rank(adaptive_max_pool)
