"""Average pooling and power-average pooling with torch's divisors."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgroups._functional.dtypes import widened
from jaxgroups._functional.feature_map import FeatureMap, feature_map
from jaxgroups._functional.window import Window, check_input, window
from jaxgroups._types import Ints


def avg_pool(
    where: str,
    rank: int,
    input: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    data_format: str,
) -> jax.Array:
    """Average pooling with any number of spatial axes; the arguments are those of torch.

    The sum of a window is divided by `divisor_override`, or else by the number of its elements in
    the input, with `count_include_pad` in the padded input. Elements that `ceil_mode` adds beyond
    the padding are not counted.
    """
    image = feature_map(where, input, rank, data_format)
    dtype = image.array.dtype
    if not jnp.issubdtype(dtype, jnp.integer) and not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f'"{where}" not implemented for {dtype.name}')
    if divisor_override == 0:
        raise ValueError(f"divisor must be not zero: {where}() got divisor_override=0")
    shape = window(where, rank, kernel_size, stride, padding, 1, ceil_mode)
    outputs = check_input(shape, image)
    wide = widened(dtype)
    total = _sum(shape, image.with_array(image.array.astype(wide)), outputs)
    if divisor_override is None:
        divisor = _counts(shape, image, outputs, count_include_pad)
    else:
        divisor = divisor_override
    if jnp.issubdtype(dtype, jnp.integer):
        return lax.div(total, jnp.broadcast_to(jnp.asarray(divisor, dtype), total.shape))
    return _divided(total, jnp.asarray(divisor, wide)).astype(dtype)


@jax.custom_jvp
def _divided(total: jax.Array, divisor: jax.Array) -> jax.Array:
    return total / divisor


@_divided.defjvp
def _(primals: Any, tangents: Any):
    # a product: the gradient computes it once for each tap, and a division is slower
    return _divided(*primals), tangents[0] * (1 / primals[1])


def _sum(shape: Window, image: FeatureMap, outputs: Ints) -> jax.Array:
    if shape.separated:
        return shape.by_axis(_sum, image, outputs)
    if shape.kernel == image.sizes and not any(shape.padding):
        return jnp.sum(image.array, image.spatial, keepdims=True)
    if shape.taps > 64:
        return shape.reduce(shape.pad(image, 0), 0, lax.add)
    first, *rest = shape.slices(image, outputs, 0)
    for value in rest:
        first = first + value
    return first


def _counts(shape: Window, image: FeatureMap, outputs: Ints, include_pad: bool) -> Any:
    """The divisor of each window: an int, or an array that broadcasts."""
    if not any(shape.padding) and not shape.ceil_mode:
        return shape.taps
    # NumPy where the sizes are known, so that the divisors are constants of the program
    numbers = np if all(isinstance(n, int) for n in image.sizes) else jnp
    counts: Any = 1
    for axis, out, size, k, s, p in zip(
        image.spatial,
        outputs,
        image.sizes,
        shape.kernel,
        shape.stride,
        shape.padding,
        strict=True,
    ):
        start = numbers.arange(out, dtype=numbers.int32) * s - p
        end = numbers.minimum(start + k, size + p)
        if not include_pad:
            start, end = numbers.maximum(start, 0), numbers.minimum(end, size)
        counts = counts * image.along(end - start, axis)
    return counts


def lp_pool(
    where: str,
    rank: int,
    input: Any,
    norm_type: float,
    kernel_size: Any,
    stride: Any,
    ceil_mode: bool,
    data_format: str,
) -> jax.Array:
    """Power-average pooling: ``(sum of x ** p) ** (1 / p)`` over each window, as torch has it."""
    shape = window(where, rank, kernel_size, stride, 0, 1, ceil_mode)
    powers = jnp.asarray(input) ** norm_type
    mean = avg_pool(where, rank, powers, kernel_size, stride, 0, ceil_mode, True, None, data_format)
    return (jnp.sign(mean) * jax.nn.relu(jnp.abs(mean)) * shape.taps) ** (1.0 / norm_type)
