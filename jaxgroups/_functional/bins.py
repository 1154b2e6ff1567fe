"""The bins of adaptive pooling.

Bin ``o`` of an axis reads from ``floor(o in / out)`` up to ``ceil((o + 1) in / out)``. Bins may
overlap and differ in size. `split` repeats elements so that all bins have one size; pooling is then
a reduction over an axis.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgroups._functional.feature_map import FeatureMap
from jaxgroups._functional.resample import Taps, of_pairs
from jaxgroups._spec import arguments


@dataclass(frozen=True)
class Bins:
    """The bins of one axis.

    Attributes:
      size: size of the axis.
      outputs: number of bins.
    """

    size: int
    outputs: int

    @cached_property
    def starts(self) -> np.ndarray:
        """The first element of each bin."""
        return np.arange(self.outputs) * self.size // max(self.outputs, 1)

    @cached_property
    def counts(self) -> np.ndarray:
        """The number of elements of each bin."""
        ends = -(-(np.arange(1, self.outputs + 1) * self.size) // max(self.outputs, 1))
        return ends - self.starts

    @property
    def widest(self) -> int:
        """The number of elements of the largest bin."""
        return int(self.counts.max(initial=1))

    @property
    def even(self) -> bool:
        """Whether the bins are windows of one size that lie side by side."""
        return self.outputs > 0 and self.size % self.outputs == 0

    @property
    def taps(self) -> Taps:
        """The taps of the sum of each bin."""
        ranges = (range(a, a + n) for a, n in zip(self.starts, self.counts, strict=True))
        return of_pairs(self.size, [[(int(i), 1.0) for i in range_] for range_ in ranges])

    def indices(self) -> np.ndarray:
        """``(outputs, widest)``: the index in the input of each element of each bin.

        A bin that is smaller than the largest one repeats its last element.
        """
        return self.starts[:, None] + np.minimum(np.arange(self.widest), self.counts[:, None] - 1)


def bins_of(where: str, image: FeatureMap, output_size: Any) -> tuple[Bins, ...]:
    """The bins of each spatial axis.

    Args:
      where: name of the function, for errors.
      image: the input.
      output_size: an int, or for each axis an int or None, which keeps the size of the input.

    Raises:
      TypeError: a size that is neither an int nor None.
      ValueError: the wrong number of sizes, or a negative one.
    """
    rank = len(image.spatial)
    listed = isinstance(output_size, Iterable) and not isinstance(output_size, str)
    given = list(output_size) if listed else [output_size] * rank
    if len(given) != rank:
        raise ValueError(
            f"{where}: output_size must be {rank}: got output_size={tuple(given)} with "
            f"{len(given)} sizes, give one int or one for each spatial axis"
        )
    if not listed:
        arguments.integers(where, "output_size", output_size)
    known = [
        size if one is None else arguments.integer(where, "output_size", one)
        for one, size in zip(given, image.sizes, strict=True)
    ]
    if any(one < 0 for one in known):
        raise ValueError(
            f"{where}: elements of output_size must be greater than or equal to 0 but received "
            f"{{{', '.join(map(str, known))}}}"
        )
    return tuple(Bins(size, out) for size, out in zip(image.sizes, known, strict=True))


def split(image: FeatureMap, bins: tuple[Bins, ...]) -> tuple[jax.Array, tuple[int, ...]]:
    """The input with each spatial axis split into ``(outputs, widest)``, and the window axes.

    A bin that is smaller than the largest one repeats its last element.
    """
    array = image.array
    for axis, one in reversed(list(zip(image.spatial, bins, strict=True))):
        if not one.even:
            array = jnp.take(array, one.indices().reshape(-1), axis, mode="clip")
        shape = array.shape
        array = array.reshape(*shape[:axis], one.outputs, one.widest, *shape[axis + 1 :])
    return array, tuple(axis + i + 1 for i, axis in enumerate(image.spatial))


def taps_of(bins: tuple[Bins, ...]) -> int:
    """The number of elements of the largest window."""
    return prod(one.widest for one in bins)
