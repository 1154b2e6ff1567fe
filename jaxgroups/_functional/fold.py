"""unfold (im2col) and its transpose fold (col2im), in torch's order.

The features of a column are ``(C, kh, kw)`` flattened: the channel varies slowest.
"""

from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgroups._functional.dtypes import widened
from jaxgroups._functional.feature_map import check_format, feature_map
from jaxgroups._functional.observed import observed
from jaxgroups._functional.window import Window
from jaxgroups._spec import arguments
from jaxgroups._types import IntOrInts, Ints


@observed
def unfold(
    input: Any,
    kernel_size: IntOrInts,
    dilation: IntOrInts = 1,
    padding: IntOrInts = 0,
    stride: IntOrInts = 1,
    *,
    data_format: str = "channels_first",
) -> jax.Array:
    """The patches under a sliding window as columns: ``torch.nn.functional.unfold``.

    Args:
      input: ``(N, C, H, W)`` or ``(C, H, W)``; with channels_last ``(*batch, H, W, C)``.
      kernel_size: size of the window, an int or one for each of H, W.
      dilation: distance between elements of the window.
      padding: zeros added on both sides.
      stride: distance between windows.
      data_format: ``"channels_first"`` or ``"channels_last"``.

    Returns:
      ``(N, C kh kw, L)`` with the L windows in row-major order; with channels_last
      ``(*batch, L, C kh kw)``. The features are in torch's order in both.

    Raises:
      ValueError: shapes or numbers that torch refuses.
      TypeError: an argument of the wrong type.
    """
    image = feature_map("unfold", input, 2, data_format)
    shape = _window("unfold", kernel_size, dilation, padding, stride)
    if 0 in (image.channels, *image.sizes):
        raise ValueError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero "
            f"dimensions for input, but got: {list(image.array.shape)}"
        )
    outputs = shape.output_sizes(image.sizes)
    if min(outputs) < 1:
        raise ValueError(
            f"Given input with spatial size {image.sizes}, kernel_size={shape.kernel}, "
            f"dilation={shape.dilation}, padding={shape.padding}, calculated shape of the array "
            f"of sliding blocks as {outputs}, but its components must be at least one: unfold() "
            f"with stride={shape.stride}"
        )
    taps = list(shape.slices(image, outputs, 0))
    columns = jnp.stack(taps, image.channel + 1)
    batch = image.array.shape[: min(image.spatial[0], image.channel)]
    features, blocks = image.channels * shape.taps, prod(outputs)
    last = data_format == "channels_last"
    return columns.reshape(*batch, *((blocks, features) if last else (features, blocks)))


@observed
def fold(
    input: Any,
    output_size: IntOrInts,
    kernel_size: IntOrInts,
    dilation: IntOrInts = 1,
    padding: IntOrInts = 0,
    stride: IntOrInts = 1,
    *,
    data_format: str = "channels_first",
) -> jax.Array:
    """Adds up overlapping patches, the transpose of `unfold`: ``torch.nn.functional.fold``.

    Args:
      input: ``(N, C kh kw, L)`` or ``(C kh kw, L)``; with channels_last
        ``(*batch, L, C kh kw)``. float16 and bfloat16 are summed in float32.
      output_size: H and W of the output.
      kernel_size: size of the window, an int or one for each of H, W.
      dilation: distance between elements of the window.
      padding: number of elements by which the windows extend beyond the output on both sides.
      stride: distance between windows.
      data_format: ``"channels_first"`` or ``"channels_last"``.

    Returns:
      ``(N, C, H, W)``, or ``(*batch, H, W, C)`` with channels_last.

    Raises:
      ValueError: shapes or numbers that torch refuses.
      TypeError: an argument of the wrong type.
    """
    check_format("fold", data_format)
    last = data_format == "channels_last"
    sizes = _pair("fold", "output_size", output_size)
    shape = _window("fold", kernel_size, dilation, padding, stride)
    array = jnp.asarray(input)
    if array.ndim < 2 or (array.ndim > 3 and not last) or 0 in array.shape[-2:]:
        raise ValueError(
            "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and "
            f"non-zero dimensions for input, but got: {list(array.shape)}"
        )
    features_axis, blocks_axis = (-1, -2) if last else (-2, -1)
    features, blocks = array.shape[features_axis], array.shape[blocks_axis]
    if features % shape.taps:
        raise ValueError(
            f"Expected size of input's dimension {features_axis + array.ndim} to be divisible by "
            f"the product of kernel_size, but got input.size({features_axis + array.ndim})="
            f"{features} and kernel_size={shape.kernel}."
        )
    h, w = outputs = shape.output_sizes(sizes)
    if h * w != blocks or min(outputs) < 1:
        raise ValueError(
            f"Given output_size={sizes}, kernel_size={shape.kernel}, dilation={shape.dilation}, "
            f"padding={shape.padding}, stride={shape.stride}, expected size of input's dimension "
            f"{blocks_axis + array.ndim} to match the calculated number of sliding blocks {h} * "
            f"{w} = {h * w}, but got input.size({blocks_axis + array.ndim})={blocks}."
        )
    return _summed(array.astype(widened(array.dtype)), shape, sizes, last).astype(array.dtype)


def _summed(array: jax.Array, shape: Window, sizes: Ints, last: bool) -> jax.Array:
    batch, outputs = array.shape[:-2], shape.output_sizes(sizes)
    n = len(batch)
    if last:
        columns = array.reshape(*batch, *outputs, array.shape[-1] // shape.taps, shape.taps)
        first, tap_axis = n, n + 3
    else:
        columns = array.reshape(*batch, array.shape[-2] // shape.taps, shape.taps, *outputs)
        first, tap_axis = n + 1, n + 1
    total = jnp.zeros((), array.dtype)
    for tap in range(shape.taps):
        config = [(0, 0, 0)] * (n + 3)
        for i, t in enumerate(divmod(tap, shape.kernel[1])):
            low = t * shape.dilation[i] - shape.padding[i]
            reach = (outputs[i] - 1) * shape.stride[i] + 1
            config[first + i] = (low, sizes[i] - low - reach, shape.stride[i] - 1)
        read = lax.index_in_dim(columns, tap, tap_axis, keepdims=False)
        placed = lax.pad(read, jnp.zeros((), array.dtype), config)
        total = placed if tap == 0 else total + placed
    return total


def _pair(where: str, name: str, value: Any) -> Ints:
    values = arguments.integers(where, name, value)
    if len(values) == 1 and not isinstance(value, (list, tuple)):
        values = values * 2
    if len(values) != 2:
        raise ValueError(
            f"It is expected {name} equals to 2, but got size {len(values)}: {where}() got "
            f"{name}={values}, give one int or one for each of H, W"
        )
    return values


def _window(where: str, kernel: Any, dilation: Any, padding: Any, stride: Any) -> Window:
    kernels = _pair(where, "kernel_size", kernel)
    dilations = _pair(where, "dilation", dilation)
    pads = _pair(where, "padding", padding)
    strides = _pair(where, "stride", stride)
    for name, short, values in (
        ("kernel size", "kernel", kernels),
        ("dilation", "dilation", dilations),
        ("stride", "stride", strides),
    ):
        if min(values) <= 0:
            raise ValueError(
                f"{name} should be greater than zero, but got {short}_height: {values[0]} "
                f"{short}_width: {values[1]}: {where}()"
            )
    if min(pads) < 0:
        raise ValueError(
            f"padding should be non-negative, but got pad_height: {pads[0]} pad_width: "
            f"{pads[1]}: {where}()"
        )
    return Window(where, kernels, strides, pads, dilations, ceil_mode=False)
