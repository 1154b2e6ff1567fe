"""One order of axes for the whole model: inputs and outputs between torch and Flax."""

from typing import Any

import numpy as np

from jaxgroups.convert._compare.axes import ChannelAxes, aligned
from jaxgroups.convert._compare.trace import run_torch
from jaxgroups.prove._inputs import Arrays


class Layout:
    """How the arrays of torch lie in Flax.

    Args:
      channels_last: whether arrays of three or more axes are ``(N, C, *spatial)`` in torch and
        ``(N, *spatial, C)`` in Flax; otherwise they are alike.
    """

    def __init__(self, channels_last: bool) -> None:
        self.channels_last = channels_last
        self._axis = 1 if channels_last else -1

    def learn(self, module: Any, arrays: Arrays) -> None:
        """Learn the axis of the output's channels from the layer that makes it."""
        calls = run_torch(module, arrays)
        axes = ChannelAxes(calls, self._axis)
        for call in calls:
            if not call.name:
                self._axis = axes.of(call)

    def to_flax(self, x: Any) -> Any:
        """An input of torch, or its gradient, in Flax's order; jax arrays stay jax arrays."""
        if not self.channels_last or x.ndim < 3:
            return x
        return x.transpose(0, *range(2, x.ndim), 1)

    def output(self, theirs: np.ndarray, ours: np.ndarray) -> np.ndarray:
        """An output of torch in the order of Flax's; torch's own order if no order fits."""
        fits = aligned(theirs, ours, self._axis)
        return fits[0] if fits else theirs
