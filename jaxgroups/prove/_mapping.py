"""A torch tensor in the layout of its Flax parameter, by the entries of a plan."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from jaxgroups.convert import Chain, ChannelsLast, Entry, Plan


@dataclass(frozen=True)
class Pair:
    """A torch tensor and its Flax parameter, both in Flax's layout."""

    torch: str
    flax: str
    theirs: np.ndarray
    ours: np.ndarray


def pairs(
    plan: Plan, theirs: Mapping[str, np.ndarray], ours: Mapping[str, np.ndarray]
) -> Iterator[Pair]:
    """The tensors that both sides have, for entries with one torch tensor."""
    for entry in plan.leaves():
        flax = str(entry.flax)
        if entry.status == "ok" and entry.torch[0] in theirs and flax in ours:
            yield Pair(entry.torch[0], flax, entry.op.to_flax(theirs[entry.torch[0]]), ours[flax])


def computed(plan: Plan) -> list[Entry]:
    """The entries whose parameter is computed from torch's tensors, so that training differs."""
    return plan.of_status("folded", "summed", "constant")


def flattened(plan: Plan) -> dict[str, ChannelsLast]:
    """The reordering of the weights of torch layers that read a flattened feature map."""
    layers = {}
    for entry in plan.of_status("ok"):
        module, _, leaf = entry.torch[0].rpartition(".")
        for op in entry.op.ops if isinstance(entry.op, Chain) else (entry.op,):
            if leaf == "weight" and isinstance(op, ChannelsLast) and op.axis == 0:
                layers[module] = op
    return layers
