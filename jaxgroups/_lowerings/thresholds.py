"""Where a lowering that supports a problem is slower than a later one: it is skipped.

The thresholds are data, in ``thresholds.json``. ``python -m benchmarks.thresholds`` measures every
lowering on the problems of the layer tables and writes the thresholds that lose the least time.
"""

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from jaxgroups._lowerings import matmul
from jaxgroups._lowerings.views import Forward, View

DATA = Path(__file__).with_name("thresholds.json")


@dataclass(frozen=True)
class Thresholds:
    """Limits of the cost model. Channels and outputs are those of one group.

    * `native_channels`, `native_outputs`: with more input channels than the first, the kernels
      vectorise over the outputs of one group. Fewer outputs than the second leave lanes idle.
    * `native_weights`: the kernels pack the weights at every call. A 1x1 convolution without groups
      may have at most this many times as many weights as inputs and outputs.
    * `shift_channels`, `shift_groups`: most channels, and least groups, for shift. The groups are
      its innermost loop.
    * `shift_gradient_channels`, `shift_gradient_groups`: the same for weight gradients, and for
      input gradients of strided convolutions.
    * `matmul_patches`: bytes of patches that matmul may write. With more, every call gets fresh
      pages from the system. It does not bound gradients, for which XLA is much slower.
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
    view: View | None, name: str, platform: str, thresholds: Thresholds = THRESHOLDS
) -> str | None:
    """Why a lowering that supports a problem is not the choice for it; None where it is."""
    if name == "xla":
        return None
    if platform != "cpu":
        return "made for CPUs; XLA's own convolution is the fast one here"
    if view is None:
        return None
    if name == "native":
        return _idle_lanes(view, thresholds) or _costly_packing(view, thresholds)
    if view.groups == 1 and view.taps > 1 and matmul.plain_view(view) is None:
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


def _costly_packing(view: View, thresholds: Thresholds) -> str | None:
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
