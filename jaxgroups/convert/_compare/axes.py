"""The order of axes in which outputs of torch and Flax are compared; it never depends on values."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from jaxgroups.convert._compare.trace import Call, Tensor
from jaxgroups.convert._rules.ops import ChannelsLast


def last(x: np.ndarray, channels: int) -> np.ndarray:
    """`x` with the axis of its channels moved to the end."""
    return np.moveaxis(x, channels, -1)


def aligned(theirs: np.ndarray, ours: np.ndarray, channels: int) -> list[np.ndarray]:
    """Torch's output with its axes in every order that has Flax's shape.

    The first one is to be compared: with the axis `channels` at the end, if that has the shape.
    """
    if theirs.ndim < 2:
        return [theirs] if theirs.shape == ours.shape else []
    axes = dict.fromkeys((channels % theirs.ndim, 1, theirs.ndim - 1))
    orders = (last(theirs, axis) for axis in axes)
    return [order for order in orders if order.shape == ours.shape]


def flat_features(
    calls: list[Call], features: Mapping[str, ChannelsLast]
) -> dict[int, Callable[[np.ndarray], np.ndarray]]:
    """The reordering of flattened feature maps from torch to Flax, by the key of torch's tensor.

    Args:
      calls: the calls of all modules.
      features: the operation on the input features of layers that read such a tensor. Layers that
        keep the order, such as a dropout, are followed backwards.
    """
    flat_maps: dict[int, ChannelsLast] = {}
    for call in reversed(calls):
        op = features.get(call.name)
        if op is None and call.kind == "as read":
            op = flat_maps.get(call.makes.key)
        if op is not None:
            flat = replace(op, axis=1)
            flat_maps |= {read.key: flat for read in call.reads if read.rank == 2}
    return {key: op.to_flax for key, op in flat_maps.items()}


class ChannelAxes:
    """The axis of the channels in the output of each torch module.

    Args:
      calls: the calls of all modules.
      default: the axis where it is not known.
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
