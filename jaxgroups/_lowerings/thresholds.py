"""When a lowering that supports a problem is skipped because a later one is faster.

The thresholds are data, in ``thresholds.json``, for each instruction set of the kernels.
``python -m benchmarks.thresholds`` measures every lowering on the problems of the layer tables and
writes the thresholds with the least total time. The rules for groups=1 are in `dense`.
"""

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from jaxgroups import _native as native
from jaxgroups._lowerings import dense, stride_to_channels
from jaxgroups._lowerings.views import Forward, View, WeightGradient
from jaxgroups._problem.problem import accumulation_dtype

FEW_CHANNELS = 4
LONG_TAPS, LONG_OUTPUTS = 64, 32
HALF_WEIGHTS = 2**17  # weights from which XLA's 1x1 of 16-bit floats is as fast as the kernels
PACKED_PIXELS = 256  # pixels up to which the kernels with packed weights are faster than XLA's own
DATA = Path(__file__).with_name("thresholds.json")


@dataclass(frozen=True)
class Thresholds:
    """Limits of the cost model. Channels and outputs are those of one group.

    * `native_channels`, `native_outputs`: with more input channels than the first, the kernels
      vectorise over the outputs of one group. Fewer outputs than the second leave lanes idle.
    * `native_weights`: the kernels pack the weights at every call. This is the maximum ratio of
      weights to inputs and outputs of a 1x1 convolution without groups.
    * `native_products`: the maximum number of products for one output of a group, in one dimension.
    * `shift_channels`, `shift_groups`: the maximum number of channels and the minimum number of
      groups for shift, whose innermost loop is over the groups.
    * `shift_gradient_channels`, `shift_gradient_groups`: the same for weight gradients, and for
      input gradients of strided convolutions.
    * `matmul_patches`: the maximum size of the patches of matmul, in bytes. With more, every call
      gets new pages from the system. It does not apply to gradients, where XLA is much slower.
    * `dense_...`: the limits of `dense.Dense`.
    """

    native_channels: int
    native_outputs: int
    native_weights: int
    native_products: int
    shift_channels: int
    shift_groups: int
    shift_gradient_channels: int
    shift_gradient_groups: int
    matmul_patches: int
    dense_outputs_1d: int
    dense_outputs_2d: int
    dense_phases: int
    dense_gradient_channels: int
    dense_idle_channels: int
    dense_product_channels: int

    @property
    def dense(self) -> dense.Dense:
        return dense.Dense(
            outputs_1d=self.dense_outputs_1d,
            outputs_2d=self.dense_outputs_2d,
            phases=self.dense_phases,
            gradient_channels=self.dense_gradient_channels,
            idle_channels=self.dense_idle_channels,
            product_channels=self.dense_product_channels,
        )


BY_ISA = {
    isa: Thresholds(**entry["thresholds"])
    for isa, entry in json.loads(DATA.read_text(encoding="utf-8")).items()
}
WIDEST, OTHERS = "avx512", "avx2"


def isa_in_use() -> str:
    """The key of `BY_ISA` for the kernels in use; OTHERS for those that were not measured."""
    isas = native.status().instruction_sets
    return WIDEST if not isas or isas[0] == WIDEST else OTHERS


def slower_reason(
    view: View | None,
    name: str,
    platform: str,
    thresholds: Thresholds | None = None,
    packed: bool = False,
) -> str | None:
    """Why a lowering that supports a problem is skipped; None where it is not.

    Args:
      view: of the problem; None without one.
      name: of the lowering.
      platform: as for `dispatch.choose`.
      thresholds: None for those of the kernels in use.
      packed: whether the kernels get packed weights.
    """
    if name == "xla":
        return None
    if platform != "cpu":
        return "made for CPUs; XLA's own convolution is the fast one here"
    if view is None:
        return None
    thresholds = thresholds or BY_ISA[isa_in_use()]
    if dense.concerns(view):
        if name == "native":
            idle = _idle_lanes(view, thresholds)
            if packed and idle is None and _few_pixels(view):
                return None
            return idle or dense.native_reason(view, thresholds.dense)
        return dense.matmul_reason(view, thresholds.dense)
    if name == "native":
        return (
            _idle_lanes(view, thresholds)
            or _costly_conversion(view, packed)
            or _costly_packing(view, thresholds, packed)
            or _long_windows(view, thresholds)
        )
    if name == "shift":
        return _short_lanes(view, thresholds) if view.c * view.o > 1 else None
    if view.rank == 1 and _costly_packing(view, thresholds):
        return dense.XLA_IS_FAST
    if view.dtype == "float16" and _costly_conversion(view, packed):
        return dense.XLA_IS_FAST
    whole_strides = _plain(view) and stride_to_channels.convertible(view)
    if whole_strides and (view.rank > 1 or _long_windows_of_few_channels(view)):
        return "strided windows of several groups to copy"
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
    if dense.concerns(view) and (isinstance(view, WeightGradient) or view.rank > 2):
        return None  # XLA's own is much slower
    if view.c > thresholds.native_channels and view.o < least:
        return f"{view.o} outputs in a group of {view.c} channels, fewer than {least} lanes"
    return None


def _few_pixels(view: View) -> bool:
    """Whether a convolution has so few pixels that it reads mostly weights."""
    return _plain(view) and view.batch * prod(view.out) <= PACKED_PIXELS


def _costly_packing(view: View, thresholds: Thresholds, packed: bool = False) -> str | None:
    weights, most = view.c * view.o, thresholds.native_weights
    elements = view.batch * prod(view.out) * (view.c + view.o)
    if view.groups > 1 or view.taps > 1:
        return None
    if isinstance(view, Forward) and view.c < FEW_CHANNELS:
        return f"1x1 with fewer than {FEW_CHANNELS} channels, where a matrix product is faster"
    if weights > most * elements and not packed:
        return f"{weights} weights to pack, more than {most} times the inputs and outputs"
    return None


def _costly_conversion(view: View, packed: bool) -> str | None:
    """Why a 1x1 convolution of 16-bit floats, which the kernels convert, is not for them.

    Measured by ``benchmarks.versus_lax``: the kernels are the faster ones only in two dimensions,
    without an input dilation, and with fewer than HALF_WEIGHTS weights.
    """
    if packed or not isinstance(view, Forward) or view.groups > 1 or view.taps > 1:
        return None
    if accumulation_dtype(view.dtype) == view.dtype:
        return None
    if view.rank != 2 or view.phases > 1 or view.c * view.o >= HALF_WEIGHTS:
        return "1x1 of 16-bit floats, which a matrix product reads without a conversion"
    return None


def _long_windows(view: View, thresholds: Thresholds) -> str | None:
    """In one dimension with groups: why filter banks and long kernels are not for the kernels."""
    if _long_windows_of_few_channels(view):
        return "long strided windows of few channels"
    products, most = view.taps * view.c, thresholds.native_products
    if _plain(view) and view.rank == 1 and view.o >= LONG_OUTPUTS and products > most:
        return f"{products} products for one output, more than {most}"
    return None


def _long_windows_of_few_channels(view: View) -> bool:
    if view.rank > 1 or not stride_to_channels.convertible(view):
        return False
    long = view.taps >= LONG_TAPS and view.o >= LONG_OUTPUTS
    return long and view.c <= dense.FEW_OUTPUTS


def _short_lanes(view: View, thresholds: Thresholds) -> str | None:
    channels, groups = thresholds.shift_gradient_channels, thresholds.shift_gradient_groups
    if _plain(view):
        channels, groups = thresholds.shift_channels, thresholds.shift_groups
    if max(view.c, view.o) > channels:
        return f"more than {channels} channels in a group, where a matrix product is faster"
    if view.groups < groups:
        return f"{view.groups} groups, fewer than {groups}, in the innermost loop"
    return None
