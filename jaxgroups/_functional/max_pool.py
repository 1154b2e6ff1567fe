"""Max pooling with torch's rules for ties, NaN, padding and indices.

The result is a chain of comparisons over the taps of the window, which XLA fuses into one loop.
torch selects the first maximum in row-major order, or the last NaN if there is one. The derivative
is that of the selected element.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgroups._functional.feature_map import FeatureMap, feature_map
from jaxgroups._functional.fusion import computed_once, in_memory
from jaxgroups._functional.window import Window, check_input, window
from jaxgroups._types import Ints


def max_pool(
    where: str,
    rank: int,
    input: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    return_indices: bool,
    data_format: str,
) -> jax.Array | tuple[jax.Array, jax.Array]:
    """Max pooling with any number of spatial axes; the arguments are those of torch."""
    image = feature_map(
        where,
        input,
        rank,
        data_format,
        f"{where}: Expected {rank + 1}D or {rank + 2}D (batch mode) tensor with optional 0 dim "
        "batch size for input, but got:",
    )
    dtype = image.array.dtype
    if not jnp.issubdtype(dtype, jnp.integer) and not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f'"{where}" not implemented for {dtype.name}: an order is needed')
    shape = window(where, rank, kernel_size, stride, padding, dilation, ceil_mode)
    outputs = check_input(shape, image)
    if return_indices:
        image = image.with_array(in_memory(image.array))  # see `_selected`
    if jnp.issubdtype(dtype, jnp.floating):
        values = _by_axis(shape, image)
    else:
        values = _largest(shape, image, outputs)
    if not return_indices:
        return values
    fixed = image.with_array(lax.stop_gradient(image.array))
    taps = _selected(shape, fixed, lax.stop_gradient(values), outputs)
    return values, _indices(shape, image, outputs, taps)


def _by_axis(shape: Window, image: FeatureMap) -> jax.Array:
    """The pooled values; a large window is pooled along one axis after the other.

    The first maximum of the first row that has it is the first maximum in row-major order.
    """
    if shape.taps <= 64:
        return _pooled(shape, image.spatial, image.channel, image.array)
    array = image.array
    for axis in reversed(range(shape.rank)):
        array = _pooled(shape.along(axis), image.spatial, image.channel, array)
    return array


def _lowest(dtype: Any) -> Any:
    return -jnp.inf if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype).min


def _largest(shape: Window, image: FeatureMap, outputs: Ints) -> jax.Array:
    """The maxima, without a derivative."""
    if shape.separated:
        return shape.by_axis(_largest, image, outputs)
    lowest = _lowest(image.array.dtype)
    if shape.taps > 64:  # then on one axis: a loop in place of a long program
        padded = shape.pad(image, lowest)
        largest = shape.reduce(padded, lowest, lax.max)
        if not jnp.issubdtype(largest.dtype, jnp.floating):
            return largest
        # XLA's CPU reductions lose NaN where windows do not overlap (jaxlib 0.10.2)
        nan = padded.with_array(jnp.isnan(padded.array))
        return jnp.where(shape.reduce(nan, False, lax.bitwise_or), jnp.nan, largest)
    first, *rest = shape.slices(image, outputs, lowest)
    for value in rest:
        first = jnp.maximum(first, value)
    return first


def _selected(shape: Window, image: FeatureMap, values: jax.Array, outputs: Ints) -> jax.Array:
    """The number of the selected tap of each window, in row-major order.

    The image must be `in_memory`. XLA may round an array that it recomputes here otherwise than
    where the maximum was computed, and then no tap would equal the maximum.

    The taps are compared with the final maximum, not with a running one, which XLA would recompute
    for each of its readers.
    """
    lowest = _lowest(image.array.dtype)
    read = list(enumerate(shape.padded_slices(image, outputs, lowest)))
    selected = jnp.zeros(values.shape, jnp.int8 if shape.taps < 128 else jnp.int32)
    for number, value in reversed(read):
        selected = jnp.where(value == values, number, selected)
    if jnp.issubdtype(values.dtype, jnp.floating):
        for number, value in read:
            selected = jnp.where(value != value, number, selected)
    first = _first_inside(shape, image, outputs).astype(selected.dtype)
    return jnp.where(values == lowest, jnp.broadcast_to(first, values.shape), selected)


def _first_inside(shape: Window, image: FeatureMap, outputs: Ints) -> jax.Array:
    """The first tap of each window in the image: torch selects it where all elements are -inf."""
    number = jnp.int32(0)
    for axis, out, k, s, p, d in zip(
        image.spatial,
        outputs,
        shape.kernel,
        shape.stride,
        shape.padding,
        shape.dilation,
        strict=True,
    ):
        before = jnp.maximum(p - jnp.arange(out, dtype=jnp.int32) * s, 0)
        number = number * k + image.along((before + d - 1) // d, axis)
    return number


def _indices(shape: Window, image: FeatureMap, outputs: Ints, taps: jax.Array) -> jax.Array:
    """The index of the selected tap in the flattened spatial axes of the input."""
    dtype = jax.dtypes.canonicalize_dtype(jnp.int64)
    index = jnp.zeros((), dtype)
    rest = taps.astype(dtype)
    weight = 1
    for axis in reversed(range(shape.rank)):
        k, s = shape.kernel[axis], shape.stride[axis]
        start = jnp.arange(outputs[axis], dtype=dtype) * s - shape.padding[axis]
        place = image.along(start, image.spatial[axis]) + rest % k * shape.dilation[axis]
        index = index + place * weight
        rest = rest // k
        weight = weight * image.sizes[axis]
    return index


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _pooled(shape: Window, spatial: Ints, channel: int, array: jax.Array) -> jax.Array:
    image = FeatureMap(array, spatial, channel)
    return _largest(shape, image, shape.output_sizes(image.sizes))


@_pooled.defjvp
def _(shape: Window, spatial: Ints, channel: int, primals: Any, tangents: Any):
    stored = in_memory(primals[0])
    image = FeatureMap(stored, spatial, channel)
    outputs = shape.output_sizes(image.sizes)
    # stored as well: XLA would recompute the maxima for each tap that is compared with them
    values = in_memory(_pooled(shape, spatial, channel, stored))

    def selected(array: jax.Array, values: jax.Array) -> jax.Array:
        return _selected(shape, image.with_array(array), values, outputs)

    taps = computed_once(selected, stored, values)
    first, *rest = shape.padded_slices(image.with_array(tangents[0]), outputs, 0)
    tangent = jnp.where(taps == 0, first, 0)
    for number, value in enumerate(rest, 1):
        tangent = tangent + jnp.where(taps == number, value, 0)
    return values, tangent
