"""The order of axes of inputs and outputs in torch and in Flax."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxgroups.convert._compare.axes import ChannelAxes, aligned
from jaxgroups.convert._compare.trace import run_torch
from jaxgroups.prove._inputs import Arrays


class Layout:
    """The order of the axes of torch's arrays in Flax.

    Args:
      channels_last: whether arrays of three or more axes are ``(N, C, *spatial)`` in torch and
        ``(N, *spatial, C)`` in Flax; otherwise the order is the same. A sequence has one value for
        each input.
    """

    def __init__(self, channels_last: bool | Sequence[bool]) -> None:
        several = isinstance(channels_last, Sequence)
        self._inputs = list(channels_last) if several else []
        self.channels_last = any(channels_last) if several else channels_last
        self._axis = 1 if channels_last else -1

    def learn(self, module: Any, arrays: Arrays) -> None:
        """Take the channel axis of the output from the layer that computes it."""
        calls = run_torch(module, arrays)
        axes = ChannelAxes(calls, self._axis)
        for call in calls:
            if not call.name:
                self._axis = axes.of(call)

    def to_flax(self, arrays: Sequence[Any]) -> list[Any]:
        """Torch's inputs in Flax's order; jax arrays stay jax arrays."""
        last = self._inputs or [self.channels_last] * len(arrays)
        return [
            x.transpose(0, *range(2, x.ndim), 1) if permuted and x.ndim >= 3 else x
            for x, permuted in zip(arrays, last, strict=True)
        ]

    def output(self, theirs: np.ndarray, ours: np.ndarray) -> np.ndarray:
        """Torch's output in the order of Flax's; unchanged if no order fits the shape."""
        fits = aligned(theirs, ours, self._axis)
        return fits[0] if fits else theirs
