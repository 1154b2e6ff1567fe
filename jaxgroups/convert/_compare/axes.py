"""The order of axes in which an output of torch is compared with Flax's: never by the values."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from jaxgroups.convert._compare.trace import Call, Tensor
from jaxgroups.convert._rules.ops import ChannelsLast


def last(x: np.ndarray, channels: int) -> np.ndarray:
    """`x` with the axis of its channels moved to the end."""
    return np.moveaxis(x, channels, -1)


def aligned(theirs: np.ndarray, ours: np.ndarray, channels: int) -> list[np.ndarray]:
    """Torch's output with its axes in each order that gives Flax's shape.

    The first is the one to compare: channels moved from the axis `channels`. Another comes first
    only if the moved one has another shape.
    """
    if theirs.ndim < 2:
        return [theirs] if theirs.shape == ours.shape else []
    axes = dict.fromkeys((channels % theirs.ndim, 1, theirs.ndim - 1))
    return [moved for moved in (last(theirs, axis) for axis in axes) if moved.shape == ours.shape]


def flat_features(
    calls: list[Call], features: Mapping[str, ChannelsLast]
) -> dict[int, Callable[[np.ndarray], np.ndarray]]:
    """How a flattened feature map lies in Flax, by the key of torch's tensor.

    Args:
      calls: the calls of all modules.
      features: for layers that read such a tensor, the operation on their features; layers that
        hand it on as it is, such as a dropout, are followed back.
    """
    found: dict[int, ChannelsLast] = {}
    for call in reversed(calls):
        op = features.get(call.name)
        if op is None and call.kind == "as read":
            op = found.get(call.makes.key)
        if op is not None:
            flat = replace(op, axis=1)
            found |= {read.key: flat for read in call.reads if read.rank == 2}
    return {key: op.to_flax for key, op in found.items()}


class ChannelAxes:
    """The axis of the channels in the output of each torch module.

    Args:
      calls: the calls of all modules.
      default: the axis where nothing tells it.
    """

    def __init__(self, calls: list[Call], default: int) -> None:
        self._default = default
        self._known: dict[int, int] = {}
        for call in calls:
            for tensor in (call.makes, *call.reads):
                axis = _axis(call, tensor)
                if axis is not None:
                    self._known.setdefault(tensor.key, axis)
        kept = [call for call in calls if call.kind == "as read"]
        pairs = [(c.makes, read) for c in kept for read in c.reads if read.rank == c.makes.rank]
        for made, read in (*pairs, *reversed(pairs)):
            axis = self._known.get(made.key, self._known.get(read.key))
            if axis is not None:
                self._known[made.key] = self._known[read.key] = axis

    def of(self, call: Call) -> int:
        """The axis for the output of a call."""
        own = _axis(call, call.makes)
        return self._known.get(call.makes.key, self._default) if own is None else own


def _axis(call: Call, tensor: Tensor) -> int | None:
    if call.kind == "spatial":
        return tensor.rank - 1 - call.spatial
    return {"second": 1, "last": tensor.rank - 1}.get(call.kind)
