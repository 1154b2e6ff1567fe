"""One order of axes for the whole model: inputs and outputs between torch and Flax."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxgroups.convert._compare.axes import ChannelAxes, aligned
from jaxgroups.convert._compare.trace import run_torch
from jaxgroups.prove._inputs import Arrays


class Layout:
    """How the arrays of torch lie in Flax.

    Args:
      channels_last: whether arrays of three or more axes are ``(N, C, *spatial)`` in torch and
        ``(N, *spatial, C)`` in Flax; otherwise they are alike. Of several inputs, one for each.
    """

    def __init__(self, channels_last: bool | Sequence[bool]) -> None:
        several = isinstance(channels_last, Sequence)
        self._inputs = list(channels_last) if several else []
        self.channels_last = any(channels_last) if several else channels_last
        self._axis = 1 if channels_last else -1

    def learn(self, module: Any, arrays: Arrays) -> None:
        """Learn the axis of the output's channels from the layer that makes it."""
        calls = run_torch(module, arrays)
        axes = ChannelAxes(calls, self._axis)
        for call in calls:
            if not call.name:
                self._axis = axes.of(call)

    def to_flax(self, arrays: Sequence[Any]) -> list[Any]:
        """The inputs of torch in Flax's order; jax arrays stay jax arrays."""
        last = self._inputs or [self.channels_last] * len(arrays)
        return [self._moved(x, moved) for x, moved in zip(arrays, last, strict=True)]

    def _moved(self, x: Any, moved: bool) -> Any:
        if not moved or x.ndim < 3:
            return x
        return x.transpose(0, *range(2, x.ndim), 1)

    def output(self, theirs: np.ndarray, ours: np.ndarray) -> np.ndarray:
        """An output of torch in the order of Flax's; torch's own order if no order fits."""
        fits = aligned(theirs, ours, self._axis)
        return fits[0] if fits else theirs
