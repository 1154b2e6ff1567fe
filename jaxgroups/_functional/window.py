"""Sliding windows: output sizes, padding and taps of pooling.

A window starts at ``o * stride - padding`` for output ``o``; tap ``t`` reads the input at
``o * stride - padding + t * dilation``. With `ceil_mode` the last window may reach beyond the
padded input, but must start inside the input or its low padding.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgroups._functional.feature_map import FeatureMap
from jaxgroups._spec import arguments
from jaxgroups._types import Ints, Pairs

_COUNT = {1: "one int", 2: "two ints", 3: "three ints"}


@dataclass(frozen=True)
class Window:
    """The window of a function that slides one, with one int an axis.

    Attributes:
      where: name of the function, for errors.
      kernel, stride, padding, dilation: as in torch.
      ceil_mode: whether a last window may reach beyond the padded input.
    """

    where: str
    kernel: Ints
    stride: Ints
    padding: Ints
    dilation: Ints
    ceil_mode: bool

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.kernel)

    @property
    def taps(self) -> int:
        """The number of elements of the window."""
        return prod(self.kernel)

    @property
    def separated(self) -> bool:
        """Whether a reduction reads less if it reduces one axis after the other."""
        return self.taps > sum(self.kernel) + 8

    def output_sizes(self, sizes: Ints) -> Ints:
        """Sizes of the output: torch's ``pooling_output_shape`` for each axis."""
        return tuple(self._output_size(axis, size) for axis, size in enumerate(sizes))

    def _output_size(self, axis: int, size: int) -> int:
        kernel, stride, pad = self.kernel[axis], self.stride[axis], self.padding[axis]
        free = size + 2 * pad - self.dilation[axis] * (kernel - 1) - 1
        if not self.ceil_mode:
            return free // stride + 1
        count = -(-free // stride) + 1
        return count - 1 if (count - 1) * stride >= size + pad else count

    def pads(self, sizes: Ints) -> Pairs:
        """Padding (low, high) of each axis that the windows need; high may be negative."""
        return tuple(
            (pad, (out - 1) * stride + dilation * (kernel - 1) + 1 - size - pad)
            for out, size, kernel, stride, pad, dilation in zip(
                self.output_sizes(sizes),
                sizes,
                self.kernel,
                self.stride,
                self.padding,
                self.dilation,
                strict=True,
            )
        )

    def pad(self, image: FeatureMap, fill: Any) -> FeatureMap:
        """The feature map with the padding of `pads`, filled with one value."""
        config = [(0, 0, 0)] * image.array.ndim
        for axis, (low, high) in zip(image.spatial, self.pads(image.sizes), strict=True):
            config[axis] = (low, high, 0)
        if all(item == (0, 0, 0) for item in config):
            return image
        return image.with_array(lax.pad(image.array, jnp.asarray(fill, image.array.dtype), config))

    def slices(self, image: FeatureMap, outputs: Ints, fill: Any) -> Iterator[jax.Array]:
        """For each tap, in row-major order, the elements that it reads for all outputs.

        The slice of a tap is padded, not the image: XLA would make a padded copy of the image, but
        fuses the padding of a slice into what reads it.
        """
        if not all(isinstance(size, int) for size in (*image.sizes, *outputs)):
            yield from self.padded_slices(image, outputs, fill)
            return
        for tap in product(*map(range, self.kernel)):
            yield self._read(image, outputs, tap, fill)

    def padded_slices(self, image: FeatureMap, outputs: Ints, fill: Any) -> Iterator[jax.Array]:
        """`slices` of a padded copy of the image: faster where each is used more than once."""
        padded = self.pad(image, fill)
        for tap in product(*map(range, self.kernel)):
            yield self.slice(padded, outputs, tap)

    def _read(self, image: FeatureMap, outputs: Ints, tap: Ints, fill: Any) -> jax.Array:
        """The elements that one tap reads for all outputs; `fill` outside of the image."""
        array = image.array
        value = jnp.asarray(fill, array.dtype)
        start, limit = [0] * array.ndim, list(array.shape)
        strides, config = [1] * array.ndim, [(0, 0, 0)] * array.ndim
        shape = list(array.shape)
        for axis, out in zip(image.spatial, outputs, strict=True):
            shape[axis] = out
        for axis, t, out, stride, pad, dilation in zip(
            image.spatial, tap, outputs, self.stride, self.padding, self.dilation, strict=True
        ):
            at = t * dilation - pad  # the index that the first output reads
            first = max(0, -(at // stride))
            end = min(out, (array.shape[axis] - 1 - at) // stride + 1)
            if end <= first:
                return jnp.full(shape, value)
            start[axis], strides[axis] = at + first * stride, stride
            limit[axis] = at + (end - 1) * stride + 1
            config[axis] = (first, out - end, 0)
        read = lax.slice(array, start, limit, strides)
        return read if not any(map(any, config)) else lax.pad(read, value, config)

    def slice(self, padded: FeatureMap, outputs: Ints, tap: Ints) -> jax.Array:
        """The elements that one tap reads for all outputs, from the padded feature map."""
        start, limit = [0] * padded.array.ndim, list(padded.array.shape)
        strides = [1] * padded.array.ndim
        for axis, t, out, stride, dilation in zip(
            padded.spatial, tap, outputs, self.stride, self.dilation, strict=True
        ):
            start[axis] = t * dilation
            limit[axis] = t * dilation + (out - 1) * stride + 1
            strides[axis] = stride
        return lax.slice(padded.array, start, limit, strides)

    def reduce(self, padded: FeatureMap, start: Any, operation: Any) -> jax.Array:
        """``lax.reduce_window`` over the windows of a padded feature map."""
        array = padded.array
        sizes, strides, dilations = ([1] * array.ndim for _ in range(3))
        for axis, k, s, d in zip(
            padded.spatial, self.kernel, self.stride, self.dilation, strict=True
        ):
            sizes[axis], strides[axis], dilations[axis] = k, s, d
        return lax.reduce_window(
            array,
            np.asarray(start, array.dtype),  # concrete, so that lax recognises sums and maxima
            operation,
            sizes,
            strides,
            "VALID",
            window_dilation=dilations,
        )

    def by_axis(
        self,
        function: Callable[["Window", FeatureMap, Ints], jax.Array],
        image: FeatureMap,
        outputs: Ints,
    ) -> jax.Array:
        """``function(window, image, outputs)`` along one axis after the other, from the last on."""
        for axis in reversed(range(self.rank)):
            sizes = list(image.sizes)
            sizes[axis] = outputs[axis]
            image = image.with_array(function(self.along(axis), image, tuple(sizes)))
        return image.array

    def along(self, axis: int) -> "Window":
        """The window along one axis, of size 1 along the others."""

        def only(values: Ints, other: int) -> Ints:
            return tuple(v if i == axis else other for i, v in enumerate(values))

        return Window(
            self.where,
            only(self.kernel, 1),
            only(self.stride, 1),
            only(self.padding, 0),
            only(self.dilation, 1),
            self.ceil_mode,
        )


def window(
    where: str,
    rank: int,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Window:
    """The window of a call, from every form of an argument that torch accepts.

    Raises:
      TypeError: an argument that is no int nor an iterable of ints.
      ValueError: values that torch refuses, with torch's sentence.
    """
    kernel = per_axis(where, rank, "kernel_size", kernel_size)
    omitted = stride is None or (isinstance(stride, (list, tuple)) and not stride)
    strides = kernel if omitted else per_axis(where, rank, "stride", stride)
    pads = per_axis(where, rank, "padding", padding)
    dilations = per_axis(where, rank, "dilation", dilation)
    got = f"got kernel_size={kernel}, stride={strides}, padding={pads}, dilation={dilations}"
    for name, values in (("kernel_size", kernel), ("stride", strides), ("dilation", dilations)):
        if any(value <= 0 for value in values):
            raise ValueError(f"{where}() {name} must be greater than zero, but got {values}: {got}")
    if any(pad < 0 for pad in pads):
        raise ValueError(f"{where}() padding must be non-negative, but got {pads}: {got}")
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    if any(pad > r // 2 for pad, r in zip(pads, reach, strict=True)):
        raise ValueError(f"pad should be at most half of effective kernel size: {where}() {got}")
    return Window(where, kernel, strides, pads, dilations, bool(ceil_mode))


def per_axis(where: str, rank: int, name: str, value: Any) -> Ints:
    """An argument as one int for each axis; a single int holds for all axes."""
    values = arguments.integers(where, name, value)
    if len(values) == 1:
        return values * rank
    if len(values) != rank:
        omitted = "be omitted, a single int" if name == "stride" else "be a single int"
        raise ValueError(
            f"{where}: {name} must either {omitted}, or a tuple of {_COUNT[rank]}: "
            f"got {name}={values}"
        )
    return values


def check_input(shape: Window, image: FeatureMap) -> Ints:
    """The output sizes; refuses an empty input and one that is smaller than the window."""
    if 0 in (image.channels, *image.sizes):
        least = image.array.ndim if image.array.ndim < shape.rank + 2 else shape.rank + 1
        raise ValueError(
            f"{shape.where}: Expected {least}D or {shape.rank + 2}D (batch mode) tensor with "
            f"optional 0 dim batch size for input, but got: {list(image.torch_shape)}: channels "
            "and spatial sizes must not be 0"
        )
    outputs = shape.output_sizes(image.sizes)
    if any(out < 1 for out in outputs):
        size = "x".join(map(str, (image.channels, *image.sizes)))
        calculated = "x".join(map(str, (image.channels, *(max(o, 0) for o in outputs))))
        raise ValueError(
            f"Given input size: ({size}). Calculated output size: ({calculated}). Output size is "
            f"too small: {shape.where}() with kernel_size={shape.kernel}, "
            f"padding={shape.padding}, dilation={shape.dilation}"
        )
    return outputs
