"""Where a lowering that takes a problem is slower than a later one in the table: it stands back.

The borders are numbers from ``python -m benchmarks.ops benchmarks/layers.csv --implementation shift
matmul``, where the two cross over the groups of ResNeXt and RegNet; all depthwise layers are far
from any of them.
"""

from math import prod

import numpy as np

from jaxgroups._problem import ConvProblem
from jaxgroups.lowerings import matmul
from jaxgroups.lowerings._views import Forward, View, view_of

# native: a vector covers outputs of one group where it has many channels, so few leave lanes idle
LEAST_OUTPUTS, FEW_CHANNELS = 8, 16
# shift, by (most channels of a group, least groups: the innermost loop runs over these)
FORWARD = (8, 3)
GRADIENTS = (4, 16)  # of weights, and of inputs through a stride
# matmul, forward: bytes of patches, beyond which every call gets fresh pages from the system;
# XLA's gradients are so slow that theirs may be larger
MOST_PATCHES = 16 << 20


def why_slower(problem: ConvProblem, name: str, platform: str) -> str | None:
    """Why the lowering `name` should not be the choice for a problem that it takes, or None."""
    if name == "xla":
        return None
    if platform != "cpu":
        return "made for CPUs; XLA's own convolution is the fast one here"
    view = view_of(problem)
    if view is None:
        return None
    if name == "native":
        return _idle_lanes(view)
    if view.groups == 1 and view.taps > 1 and not matmul.folds(view):
        return "groups=1, where XLA's own is as fast"
    if name == "shift":
        return _short_lanes(view) if view.c * view.o > 1 else None
    size = view.batch * prod(view.out) * view.taps * view.groups * view.c
    size *= np.dtype(view.dtype).itemsize
    if _plain(view) and view.taps > 1 and size > MOST_PATCHES:
        return f"patches of {size >> 20} MiB, more than {MOST_PATCHES >> 20}, to write and read"
    return None


def _plain(view: View) -> bool:
    return isinstance(view, Forward) and max(view.lhs_dilation) == 1


def _idle_lanes(view: View) -> str | None:
    if view.c > FEW_CHANNELS and view.o < LEAST_OUTPUTS:
        return f"{view.o} outputs in a group of {view.c} channels, fewer than {LEAST_OUTPUTS} lanes"
    return None


def _short_lanes(view: View) -> str | None:
    channels, groups = FORWARD if _plain(view) else GRADIENTS
    if max(view.c, view.o) > channels:
        return f"more than {channels} channels in a group, where a matrix product is faster"
    if view.groups < groups:
        return f"{view.groups} groups, fewer than {groups}, in the innermost loop"
    return None
