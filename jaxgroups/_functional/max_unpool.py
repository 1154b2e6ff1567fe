"""Max unpooling: the values of a max pooling back at their places, zeros elsewhere."""

from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxgroups._functional.feature_map import FeatureMap, feature_map
from jaxgroups._functional.ranks import by_rank
from jaxgroups._functional.window import per_axis
from jaxgroups._types import IntOrInts, Ints


def max_unpool(
    where: str,
    rank: int,
    input: Any,
    indices: Any,
    kernel_size: IntOrInts,
    stride: IntOrInts | None = None,
    padding: IntOrInts = 0,
    output_size: Any = None,
    *,
    data_format: str = "channels_first",
) -> jax.Array:
    """{rank}-D max unpooling: ``torch.nn.functional.{name}``.

    Where several values have one place, as windows that overlap give, the last one counts; the
    gradient goes to all of them, as in torch.

    Args:
      input: ``(N, C, {axes})`` or ``(C, {axes})``; with channels_last ``(*batch, {axes}, C)``.
      indices: the places of the values, as `max_pool{rank}d` returns them. Under ``jax.jit`` a
        place outside the output cannot raise an error: every element that no value reaches is
        then NaN.
      kernel_size: size of the window of the pooling, an int or one for each of {axes}.
      stride: distance between its windows. None by default: the kernel size.
      padding: its padding.
      output_size: sizes of {out}, or the whole shape of the output, where several inputs give the
        same pooled size. By default ``(L - 1) stride - 2 padding + kernel_size``.
      data_format: ``"channels_first"`` or ``"channels_last"``.

    Returns:
      ``(N, C, {out})``, laid out like the input.

    Raises:
      ValueError: shapes, sizes or indices that torch refuses.
      TypeError: indices that are no integers, or an input that is not floating.
    """
    sentence = (
        f"Input to {where}() should be a {rank + 1}d or {rank + 2}d Tensor, but got a tensor of "
        "shape"
    )
    image = feature_map(where, input, rank, data_format, sentence)
    if not jnp.issubdtype(image.array.dtype, jnp.floating):
        raise TypeError(f'"{where}" not implemented for {image.array.dtype.name}: give floats')
    kernel = per_axis(where, rank, "kernel_size", kernel_size)
    strides = kernel if stride is None else per_axis(where, rank, "stride", stride)
    pads = per_axis(where, rank, "padding", padding)
    if min(strides) <= 0:
        raise ValueError(
            f"strides should be greater than zero, but got stride: {list(strides)}: {where}()"
        )
    for axis in (image.channel, *image.spatial):
        if image.array.shape[axis] == 0:
            raise ValueError(
                f"{where}(): Expected input to have non-zero size for non-batch dimensions, but "
                f"got {list(image.array.shape)} with dimension {axis} being empty."
            )
    sizes = _sizes(where, image, kernel, strides, pads, output_size)
    places = _checked(where, image, indices, sizes)
    return _placed(sizes, image.spatial, image.channel, image.array, places)


def _sizes(
    where: str, image: FeatureMap, kernel: Ints, strides: Ints, pads: Ints, output_size: Any
) -> Ints:
    """The sizes of the output's spatial axes."""
    usual = tuple(
        (n - 1) * s - 2 * p + k
        for n, k, s, p in zip(image.sizes, kernel, strides, pads, strict=True)
    )
    sizes = usual
    if output_size is not None:
        sizes = tuple(int(n) for n in output_size)
        if len(sizes) == image.array.ndim:
            sizes = tuple(sizes[axis] for axis in image.spatial)
        if len(sizes) != len(usual):
            raise ValueError(
                f"output_size should be a sequence containing {len(usual)} or {image.array.ndim} "
                f"elements, but it has a length of '{len(sizes)}': {where}() got "
                f"output_size={sizes}"
            )
        for i, (size, n, s) in enumerate(zip(sizes, usual, strides, strict=True)):
            if not n - s < size < n + s:
                raise ValueError(
                    f'invalid output_size "{sizes}" (dim {i} must be between {n - s} and {n + s})'
                )
    for i, size in enumerate(sizes):
        if size < 0:
            raise ValueError(
                "max_unpooling: output_size must contain non-negative spatial dimensions, but got "
                f"output_size[{i}]={size}: {where}()"
            )
    return sizes


def _checked(where: str, image: FeatureMap, indices: Any, sizes: Ints) -> jax.Array:
    places = jnp.asarray(indices)
    if not jnp.issubdtype(places.dtype, jnp.integer):
        raise TypeError(
            f"elements in indices should be type int64 but got: {places.dtype.name}: {where}()"
        )
    if places.shape != image.array.shape:
        raise ValueError(
            "Expected shape of indices to be same as that of the input tensor "
            f"({list(image.array.shape)}) but got indices tensor with shape: {list(places.shape)}"
        )
    if not isinstance(places, Tracer):
        known = np.asarray(places)
        wrong = known[(known < 0) | (known >= prod(sizes))]
        if wrong.size:
            raise ValueError(
                f"Found an invalid max index: {wrong[0]} (output volumes are of size "
                f"{'x'.join(map(str, sizes))}): {where}()"
            )
    return places


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _placed(
    sizes: Ints, spatial: Ints, channel: int, array: jax.Array, places: jax.Array
) -> jax.Array:
    return _scattered(sizes, FeatureMap(array, spatial, channel), places, add=False)


@_placed.defjvp
def _(sizes: Ints, spatial: Ints, channel: int, primals: Any, tangents: Any):
    # a sum, whose transpose reads the gradient for every value, as torch does
    image = FeatureMap(tangents[0], spatial, channel)
    return _placed(sizes, spatial, channel, *primals), _scattered(
        sizes, image, primals[1], add=True
    )


def _scattered(sizes: Ints, image: FeatureMap, places: jax.Array, *, add: bool) -> jax.Array:
    array, first, rank = image.array, image.spatial[0], len(sizes)
    before, after = array.shape[:first], array.shape[first + rank :]
    flat = (prod(before), prod(image.sizes), prod(after))
    values, places = array.reshape(flat), places.reshape(flat)
    total = prod(sizes)
    wrong = jnp.any((places < 0) | (places >= total))
    empty = jnp.where(wrong & (not add), jnp.nan, 0).astype(array.dtype)
    canvas = jnp.broadcast_to(empty, (flat[0], total, flat[2]))
    rows = jnp.arange(flat[0], dtype=places.dtype)[:, None, None]
    columns = jnp.arange(flat[2], dtype=places.dtype)[None, None, :]
    at = canvas.at[rows, jnp.where(places < 0, total, places), columns]
    result = at.add(values, mode="drop") if add else at.set(values, mode="drop")
    return result.reshape(*before, *sizes, *after)


max_unpool1d, max_unpool2d, max_unpool3d = by_rank(max_unpool)
