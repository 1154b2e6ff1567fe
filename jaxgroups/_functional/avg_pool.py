"""Average pooling and power-average pooling with torch's divisors."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

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
    """Average pooling of any rank; the public functions say more.

    The sum of a window is divided by `divisor_override`, or by the number of elements of the
    window that lie in the input, or with `count_include_pad` in the padded input. What `ceil_mode`
    adds beyond the padding never counts.
    """
    image = feature_map(where, input, rank, data_format)
    dtype = image.array.dtype
    if not jnp.issubdtype(dtype, jnp.integer) and not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f'"{where}" not implemented for {dtype.name}')
    if divisor_override == 0:
        raise ValueError(f"divisor must be not zero: {where}() got divisor_override=0")
    shape = window(where, rank, kernel_size, stride, padding, 1, ceil_mode)
    outputs = check_input(shape, image)
    wide = jnp.float32 if dtype in (jnp.float16, jnp.bfloat16) else dtype
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
    # the gradient computes this once for each tap: a product is cheaper than a quotient
    return _divided(*primals), tangents[0] * (1 / primals[1])


def _sum(shape: Window, image: FeatureMap, outputs: Ints) -> jax.Array:
    if shape.rank > 1 and shape.taps > sum(shape.kernel) + 8:
        for axis in reversed(range(shape.rank)):
            one = shape.along(axis)
            sizes = list(image.sizes)
            sizes[axis] = outputs[axis]
            image = image.with_array(_sum(one, image, tuple(sizes)))
        return image.array
    if shape.kernel == image.sizes and not any(shape.padding):
        return jnp.sum(image.array, image.spatial, keepdims=True)
    if shape.taps > 64:
        padded = shape.pad(image, 0)
        dims, strides = [1] * image.array.ndim, [1] * image.array.ndim
        for axis, k, s in zip(image.spatial, shape.kernel, shape.stride, strict=True):
            dims[axis], strides[axis] = k, s
        zero = jnp.zeros((), image.array.dtype)
        return lax.reduce_window(padded.array, zero, lax.add, dims, strides, "VALID")
    first, *rest = shape.slices(image, outputs, 0)
    for value in rest:
        first = first + value
    return first


def _counts(shape: Window, image: FeatureMap, outputs: Ints, include_pad: bool) -> Any:
    """Elements of each window that count: an int, or an array that broadcasts."""
    if not any(shape.padding) and not shape.ceil_mode:
        return shape.taps
    # constants where the sizes are known, so that the program does not compute them
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
