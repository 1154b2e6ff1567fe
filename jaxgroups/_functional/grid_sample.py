"""Sampling a feature map at the points of a grid: ``torch.nn.functional.grid_sample``.

The values and the gradients of both arguments are torch's. A point is a vector (x, y) or (x, y, z):
the last spatial axis comes first.
"""

import warnings
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgroups._functional.dtypes import widened
from jaxgroups._functional.feature_map import check_format
from jaxgroups._functional.observed import observed
from jaxgroups._functional.resize_taps import cubic_weights
from jaxgroups._types import Ints

MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")


@observed
def grid_sample(
    input: Any,
    grid: Any,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
    *,
    data_format: str = "channels_first",
) -> jax.Array:
    """The values of a feature map at the points of a grid: ``torch.nn.functional.grid_sample``.

    Args:
      input: ``(N, C, H, W)`` or ``(N, C, D, H, W)``; with channels_last ``(N, H, W, C)`` or
        ``(N, D, H, W, C)``. Floating point.
      grid: the points, ``(N, H_out, W_out, 2)`` or ``(N, D_out, H_out, W_out, 3)`` in both layouts:
        x, y and z of each output, from -1 to 1 within the input. Of the dtype of `input`.
      mode: ``"bilinear"`` (for three axes trilinear), ``"nearest"``, or ``"bicubic"`` for two axes.
      padding_mode: the values outside of the input: ``"zeros"``, ``"border"`` (the nearest
        element) or ``"reflection"``.
      align_corners: whether -1 and 1 are the centres of the corner elements, or, with False, their
        outer edges. None is False with a warning, as in torch.
      data_format: ``"channels_first"`` or ``"channels_last"``, of `input` and of the result.

    Returns:
      ``(N, C, H_out, W_out)`` or ``(N, C, D_out, H_out, W_out)``, laid out like the input.

    Raises:
      ValueError: shapes or modes that torch refuses.
      TypeError: dtypes that differ or are not floating point.
    """
    image, points, rank = _checked(input, grid, mode, padding_mode, data_format)
    align = corners_aligned(align_corners)
    dtype = image.dtype
    if data_format == "channels_first":
        image = jnp.moveaxis(image, 1, -1)
    image, points = image.astype(widened(dtype)), points.astype(widened(dtype))
    sizes = image.shape[1:-1]
    # the components of a point are in the reverse order of the axes
    coordinates = [
        _coordinate(points[..., rank - 1 - axis], size, align) for axis, size in enumerate(sizes)
    ]
    taps = [
        _taps(coordinate, size, mode, padding_mode, align, rank)
        for coordinate, size in zip(coordinates, sizes, strict=True)
    ]
    flat = image.reshape(image.shape[0], -1, image.shape[-1])
    result = jnp.zeros((*points.shape[:-1], image.shape[-1]), image.dtype)
    for chosen in product(*taps):
        result = result + _term(flat, chosen, sizes)
    result = result.astype(dtype)
    return jnp.moveaxis(result, -1, 1) if data_format == "channels_first" else result


# a tap of one axis: the index, the weight (None for 1), and whether it is inside (None for True)
_Tap = tuple[jax.Array, jax.Array | None, jax.Array | None]


def _term(flat: jax.Array, chosen: tuple[_Tap, ...], sizes: Ints) -> jax.Array:
    """The contribution of one tap of each axis to the result."""
    index = jnp.zeros((), jnp.int32)
    weight: jax.Array | None = None
    inside: jax.Array | None = None
    for (at, factor, within), size in zip(chosen, sizes, strict=True):
        index = index * size + at
        if factor is not None:
            weight = factor if weight is None else weight * factor
        if within is not None:
            inside = within if inside is None else inside & within
    value = jax.vmap(lambda rows, at: rows.at[at].get(mode="promise_in_bounds"))(flat, index)
    if inside is not None:
        value = jnp.where(inside[..., None], value, jnp.zeros((), value.dtype))
    return value if weight is None else value * weight[..., None]


def _coordinate(point: jax.Array, size: int, align: bool) -> jax.Array:
    """The fractional index of a component from -1 to 1."""
    return (point + 1) / 2 * (size - 1) if align else ((point + 1) * size - 1) / 2


def _taps(
    at: jax.Array, size: int, mode: str, padding_mode: str, align: bool, rank: int
) -> list[_Tap]:
    if mode == "bicubic":
        low = jnp.floor(lax.stop_gradient(at))
        weights = cubic_weights(at - low)
        return [
            _index(_padded(low + k, size, padding_mode, align, rank), size, padding_mode, weight)
            for k, weight in zip(range(-1, 3), weights, strict=True)
        ]
    at = _padded(at, size, padding_mode, align, rank)
    if mode == "nearest":
        return [_index(jnp.round(lax.stop_gradient(at)), size, padding_mode, None)]
    low = jnp.floor(lax.stop_gradient(at))
    fraction = at - low
    return [
        _index(low, size, padding_mode, 1 - fraction),
        # beyond the last element the weight is 0, unless the padding is zeros
        _index(low + 1, size, "zeros", fraction),
    ]


def _index(at: jax.Array, size: int, padding_mode: str, weight: jax.Array | None) -> _Tap:
    """A whole coordinate as a valid index, and whether it is inside of the input."""
    inside = (at >= 0) & (at <= size - 1) if padding_mode == "zeros" else None
    whole = jnp.where(at == at, lax.stop_gradient(at), 0)
    return jnp.clip(whole, 0, size - 1).astype(jnp.int32), weight, inside


def _padded(at: jax.Array, size: int, padding_mode: str, align: bool, rank: int) -> jax.Array:
    if padding_mode == "zeros":
        # for two axes torch's kernels multiply elements outside by 0, so that points that are not
        # finite give NaN; for three axes they skip them
        return at if rank == 2 else jnp.where(jnp.isfinite(at), at, jnp.asarray(-2, at.dtype))
    if padding_mode == "reflection":
        at = _reflected(at, 0.0 if align else -0.5, float(size - 1 if align else size))
    # torch's kernels treat NaN as the first element for two axes, as the last one for three
    missing = 0 if rank == 2 else size - 1
    at = jnp.where(at == at, at, jnp.asarray(missing, at.dtype))
    # the derivative is 0 at the border and beyond
    limits = jnp.zeros((), at.dtype), jnp.asarray(size - 1, at.dtype)
    return lax.clamp(limits[0], at, limits[1])


def _reflected(at: jax.Array, low: float, span: float) -> jax.Array:
    if span == 0:
        return jnp.zeros_like(at)
    at = at - low
    at = jnp.where(at < 0, -at, at)
    rest = lax.rem(at, jnp.full_like(at, span))
    flips = jnp.floor(lax.stop_gradient(at) / span)
    even = lax.rem(flips, jnp.full_like(flips, 2)) == 0
    return jnp.where(even, rest, span - rest) + low


def corners_aligned(align_corners: bool | None) -> bool:
    """The argument as a bool; for None with torch's warning, at the line of the public call."""
    if align_corners is None:
        warnings.warn(
            "Default grid_sample and affine_grid behavior has changed to align_corners=False since "
            "1.3.0. Please specify align_corners=True if the old behavior is desired.",
            stacklevel=4,
        )
    return bool(align_corners)


def _checked(
    input: Any, grid: Any, mode: str, padding_mode: str, data_format: str
) -> tuple[jax.Array, jax.Array, int]:
    check_format("grid_sample", data_format)
    if mode not in MODES:
        raise ValueError(
            "nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', "
            f"but got: '{mode}'"
        )
    if padding_mode not in PADDINGS:
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or "
            f"'reflection', but got: '{padding_mode}'"
        )
    image, points = jnp.asarray(input), jnp.asarray(grid)
    got = f"got input with sizes {list(image.shape)} and grid with sizes {list(points.shape)}"
    if image.ndim not in (4, 5) or image.ndim != points.ndim:
        raise ValueError(
            "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but "
            + got
        )
    if image.dtype != points.dtype:
        raise TypeError(
            f"expected scalar type {image.dtype.name} but found {points.dtype.name}: grid_sample() "
            "needs input and grid of one dtype"
        )
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise TypeError(f'"grid_sample" not implemented for {image.dtype.name}')
    rank = image.ndim - 2
    if image.shape[0] != points.shape[0]:
        raise ValueError(
            f"grid_sampler(): expected grid and input to have same batch size, but {got}"
        )
    if points.shape[-1] != rank:
        raise ValueError(
            f"grid_sampler(): expected grid to have size {rank} in last dimension, but {got}"
        )
    first = 1 if data_format == "channels_last" else 2
    for axis in range(first, first + rank):
        if image.shape[axis] == 0:
            raise ValueError(
                "grid_sampler(): expected input to have non-empty spatial dimensions, but input "
                f"has sizes {list(image.shape)} with dimension {axis} being empty"
            )
    if mode == "bicubic" and rank == 3:
        raise ValueError(f"grid_sampler(): bicubic interpolation only supports 4D input: {got}")
    return image, points, rank
