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
    """The tensors that both sides have, of the entries that one tensor fills."""
    for entry in plan.leaves():
        flax = str(entry.flax)
        if entry.status == "ok" and entry.torch[0] in theirs and flax in ours:
            moved = entry.op.to_flax(theirs[entry.torch[0]])
            yield Pair(entry.torch[0], flax, moved, ours[flax])


def computed(plan: Plan) -> list[Entry]:
    """The entries whose parameter is computed: training it is not what torch trains."""
    return plan.of_status("folded", "summed", "constant")


def flattened(plan: Plan) -> dict[str, ChannelsLast]:
    """The layers of torch whose weight is reordered because they read a flattened feature map."""
    found = {}
    for entry in plan.of_status("ok"):
        module, _, leaf = entry.torch[0].rpartition(".")
        for op in entry.op.ops if isinstance(entry.op, Chain) else (entry.op,):
            if leaf == "weight" and isinstance(op, ChannelsLast) and op.axis == 0:
                found[module] = op
    return found
