"""Where a lowering that takes a problem is slower than a later one in the table: it stands back.

The thresholds are data, ``thresholds.json``; ``python -m benchmarks.thresholds`` measures every
lowering on the problems of the tables of layers and writes those that lose least time.
"""

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from jaxgroups._lowerings import matmul
from jaxgroups._lowerings.views import Forward, View, view_of
from jaxgroups._problem.problem import ConvProblem

DATA = Path(__file__).with_name("thresholds.json")


@dataclass(frozen=True)
class Thresholds:
    """Channels and outputs are those of one group.

    * native covers outputs of one group with a vector where a group has many channels: above
      `native_channels` it wants `native_outputs`, or lanes are idle. It packs the weights at every
      call: of a 1x1 without groups at most `native_weights` times as many as inputs and outputs.
    * shift takes up to `shift_channels`, and at least `shift_groups`, over which its innermost
      loop runs; for gradients of weights, and of inputs through a stride, the other two.
    * matmul writes its patches to memory, up to `matmul_patches` bytes: beyond, every call gets
      fresh pages from the system. XLA's gradients are so slow that theirs may be larger.
    """

    native_channels: int
    native_outputs: int
    native_weights: int
    shift_channels: int
    shift_groups: int
    shift_gradient_channels: int
    shift_gradient_groups: int
    matmul_patches: int


THRESHOLDS = Thresholds(**json.loads(DATA.read_text(encoding="utf-8"))["thresholds"])


def slower_reason(
    problem: ConvProblem, name: str, platform: str, thresholds: Thresholds = THRESHOLDS
) -> str | None:
    """Why the lowering `name` should not be the choice for a problem that it takes, or None."""
    if name == "xla":
        return None
    if platform != "cpu":
        return "made for CPUs; XLA's own convolution is the fast one here"
    view = view_of(problem)
    if view is None:
        return None
    if name == "native":
        return _idle_lanes(view, thresholds) or _much_to_pack(view, thresholds)
    if view.groups == 1 and view.taps > 1 and not matmul.folds(view):
        return "groups=1, where XLA's own is as fast"
    if name == "shift":
        return _short_lanes(view, thresholds) if view.c * view.o > 1 else None
    size = view.batch * prod(view.out) * view.taps * view.groups * view.c
    size *= np.dtype(view.dtype).itemsize
    most = thresholds.matmul_patches
    if _plain(view) and view.taps > 1 and size > most:
        return f"patches of {size >> 20} MiB, more than {most >> 20}, to write and read"
    return None


def _plain(view: View) -> bool:
    return isinstance(view, Forward) and max(view.lhs_dilation) == 1


def _idle_lanes(view: View, thresholds: Thresholds) -> str | None:
    least = thresholds.native_outputs
    if view.c > thresholds.native_channels and view.o < least:
        return f"{view.o} outputs in a group of {view.c} channels, fewer than {least} lanes"
    return None


def _much_to_pack(view: View, thresholds: Thresholds) -> str | None:
    weights, most = view.c * view.o, thresholds.native_weights
    numbers = view.batch * prod(view.out) * (view.c + view.o)
    if view.groups == view.taps == 1 and weights > most * numbers:
        return f"{weights} weights to pack, more than {most} times the inputs and outputs"
    return None


def _short_lanes(view: View, thresholds: Thresholds) -> str | None:
    channels, groups = thresholds.shift_gradient_channels, thresholds.shift_gradient_groups
    if _plain(view):
        channels, groups = thresholds.shift_channels, thresholds.shift_groups
    if max(view.c, view.o) > channels:
        return f"more than {channels} channels in a group, where a matrix product is faster"
    if view.groups < groups:
        return f"{view.groups} groups, fewer than {groups}, in the innermost loop"
    return None
