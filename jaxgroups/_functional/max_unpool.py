"""Max unpooling: the values of a max pooling at their indices, zeros elsewhere."""

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

    Where several values have the same index, as after overlapping windows, the last one is written;
    the gradient goes to all of them, as in torch.

    Args:
      input: ``(N, C, {axes})`` or ``(C, {axes})``; with channels_last ``(*batch, {axes}, C)``.
      indices: the indices of the values, as `max_pool{rank}d` returns them. Under ``jax.jit`` an
        index outside of the output cannot raise an error; instead, every element that no value is
        written to is NaN.
      kernel_size: size of the pooling window, an int or one for each of {axes}.
      stride: distance between the pooling windows. None by default: the kernel size.
      padding: padding of the pooling.
      output_size: the sizes {out}, or the whole shape of the output, where several inputs give the
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
    indices = _checked(where, image, indices, sizes)
    return _unpooled(sizes, image.spatial, image.channel, image.array, indices)


def _sizes(
    where: str, image: FeatureMap, kernel: Ints, strides: Ints, pads: Ints, output_size: Any
) -> Ints:
    """The sizes of the output's spatial axes."""
    default = tuple(
        (n - 1) * s - 2 * p + k
        for n, k, s, p in zip(image.sizes, kernel, strides, pads, strict=True)
    )
    sizes = default
    if output_size is not None:
        sizes = tuple(int(n) for n in output_size)
        if len(sizes) == image.array.ndim:
            sizes = tuple(sizes[axis] for axis in image.spatial)
        if len(sizes) != len(default):
            raise ValueError(
                f"output_size should be a sequence containing {len(default)} or {image.array.ndim} "
                f"elements, but it has a length of '{len(sizes)}': {where}() got "
                f"output_size={sizes}"
            )
        for i, (size, n, s) in enumerate(zip(sizes, default, strides, strict=True)):
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
    indices = jnp.asarray(indices)
    if not jnp.issubdtype(indices.dtype, jnp.integer):
        raise TypeError(
            f"elements in indices should be type int64 but got: {indices.dtype.name}: {where}()"
        )
    if indices.shape != image.array.shape:
        raise ValueError(
            "Expected shape of indices to be same as that of the input tensor "
            f"({list(image.array.shape)}) but got indices tensor with shape: {list(indices.shape)}"
        )
    if not isinstance(indices, Tracer):
        known = np.asarray(indices)
        wrong = known[(known < 0) | (known >= prod(sizes))]
        if wrong.size:
            raise ValueError(
                f"Found an invalid max index: {wrong[0]} (output volumes are of size "
                f"{'x'.join(map(str, sizes))}): {where}()"
            )
    return indices


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _unpooled(
    sizes: Ints, spatial: Ints, channel: int, array: jax.Array, indices: jax.Array
) -> jax.Array:
    return _scattered(sizes, FeatureMap(array, spatial, channel), indices, add=False)


@_unpooled.defjvp
def _(sizes: Ints, spatial: Ints, channel: int, primals: Any, tangents: Any):
    # a sum: its transpose reads the gradient for every value, as torch does
    image = FeatureMap(tangents[0], spatial, channel)
    return _unpooled(sizes, spatial, channel, *primals), _scattered(
        sizes, image, primals[1], add=True
    )


def _scattered(sizes: Ints, image: FeatureMap, indices: jax.Array, *, add: bool) -> jax.Array:
    array, first, rank = image.array, image.spatial[0], len(sizes)
    before, after = array.shape[:first], array.shape[first + rank :]
    flat = (prod(before), prod(image.sizes), prod(after))
    values, indices = array.reshape(flat), indices.reshape(flat)
    total = prod(sizes)
    wrong = jnp.any((indices < 0) | (indices >= total))
    empty = jnp.where(wrong & (not add), jnp.nan, 0).astype(array.dtype)
    canvas = jnp.broadcast_to(empty, (flat[0], total, flat[2]))
    rows = jnp.arange(flat[0], dtype=indices.dtype)[:, None, None]
    columns = jnp.arange(flat[2], dtype=indices.dtype)[None, None, :]
    at = canvas.at[rows, jnp.where(indices < 0, total, indices), columns]
    result = at.add(values, mode="drop") if add else at.set(values, mode="drop")
    return result.reshape(*before, *sizes, *after)


max_unpool1d, max_unpool2d, max_unpool3d = by_rank(max_unpool)
