"""The sum over all spatial axes, as a product with ones.

XLA's CPU compiler calls a library for the product, and writes a slow loop for the sum: that of
1x7x7x1280 takes 4 times as long, that of 1x1280x7x7 20 times.
"""

from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgroups._functional.feature_map import FeatureMap
from jaxgroups._problem import ynnpack


def spatial_sum(image: FeatureMap) -> jax.Array:
    """The sum of a floating feature map over its spatial axes, which become axes of size 1.

    The spatial axes and the channel follow each other, after all batch axes.
    """
    array, axes = image.array, image.spatial
    shape = [1 if axis in axes else size for axis, size in enumerate(array.shape)]
    last = image.channel == array.ndim - 1
    before = array.shape[: axes[0] if last else image.channel]
    pixels: Any = prod(array.shape[axis] for axis in axes)
    rows: Any = prod(before)
    if last:
        ones = jnp.ones((rows, 1, pixels), array.dtype)
        matrix = array.reshape(rows, pixels, image.channels)
        numbers = (((2,), (1,)), ((0,), (0,)))
        total = lax.dot_general(ones, matrix, numbers, precision=lax.Precision.HIGHEST)
    else:
        ones = jnp.ones((pixels,), array.dtype)
        matrix = array.reshape(rows, image.channels, pixels)
        numbers = (((2,), (0,)), ((), ()))
        total = lax.dot_general(matrix, ones, numbers, precision=lax.Precision.HIGHEST)
    return ynnpack.apart(total.reshape(shape))
