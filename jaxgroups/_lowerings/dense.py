"""Convolutions without groups: when XLA's own is faster than the kernels or a matrix product.

In one and two dimensions XLA computes them as products of patches, at the speed of a matrix
product. It is slow in three dimensions, for the weight gradient of a transposed convolution, for a
weight gradient with few outputs, and for a large input dilation. There the kernels are faster, or
one matrix product for patches that do not overlap. `thresholds` has the rules for 1x1 convolutions.
"""

from dataclasses import dataclass

from jaxgroups._lowerings import matmul, stride_to_channels
from jaxgroups._lowerings.views import Forward, View, WeightGradient

XLA_IS_FAST = "groups=1, where XLA's own is as fast"
PRODUCT_IS_FAST = "groups=1 and windows of whole strides, where a matrix product is faster"


@dataclass(frozen=True)
class Dense:
    """Limits for convolutions without groups, in one and two dimensions.

    XLA's own convolution is chosen for

    * `outputs_1d`, `outputs_2d`: at least as many output channels; for a strided convolution twice
      as many, because XLA copies its patches more slowly;
    * `phases`: input dilation with at most as many output phases;
    * `gradient_channels`: a weight gradient with at most as many input channels;
    * `idle_channels`: at least as many input channels and fewer outputs than FEW_OUTPUTS.

    A matrix product is chosen for

    * `product_channels`: the weight gradient of windows of whole strides with at most as many input
      channels.
    """

    outputs_1d: int
    outputs_2d: int
    phases: int
    gradient_channels: int
    idle_channels: int
    product_channels: int


# The same for every instruction set of the kernels:
PATCH_CHANNELS = 16  # channels of an image cut into patches, above which XLA's own is as fast
GRADIENT_OUTPUTS = 4  # outputs below which XLA's own weight gradient is slow
FEW_OUTPUTS = 8  # outputs below which lanes of the kernels are idle
MANY_PHASES = 16  # phases above which XLA's own multiplies mostly zeros


def concerns(view: View) -> bool:
    """Whether the rules of this module apply to a view."""
    return view.groups == 1 and view.taps > 1


def native_reason(view: View, limits: Dense) -> str | None:
    """Why the kernels are not chosen; None where they are."""
    if _product_is_fast(view, limits):
        return PRODUCT_IS_FAST
    return XLA_IS_FAST if _xla_is_fast(view, limits) else None


def matmul_reason(view: View, limits: Dense) -> str | None:
    """Why a matrix product is not chosen where the kernels are not either; None where it is."""
    if matmul.plain_view(view) is None:
        return XLA_IS_FAST
    if view.rank > 2 or _product_is_fast(view, limits) or view.phases > MANY_PHASES:
        return None
    if isinstance(view, WeightGradient) and not _several_products(view):
        return None
    return XLA_IS_FAST


def _product_is_fast(view: View, limits: Dense) -> bool:
    plain = matmul.plain_view(view)
    if plain is None:
        return False
    if view.phases > 1:
        return plain.taps == 1 and (view.o <= PATCH_CHANNELS or view.phases > MANY_PHASES)
    if isinstance(view, Forward):
        return plain.taps == 1 and view.c <= PATCH_CHANNELS
    return view.c <= limits.product_channels and not _several_products(view)


def _several_products(view: WeightGradient) -> bool:
    """Whether windows overlap in two dimensions or more, so that patches of patches are copied."""
    plain = matmul.plain_view(view)
    return view.rank > 1 and not view.exchanged and plain is not None and plain.taps > 1


def _xla_is_fast(view: View, limits: Dense) -> bool:
    if view.rank > 2:
        return False
    if isinstance(view, WeightGradient):
        few = view.c <= limits.gradient_channels
        return few and view.o >= GRADIENT_OUTPUTS and not view.exchanged
    if view.phases > 1:
        patches = matmul.plain_view(view) is not None and view.phases <= MANY_PHASES
        return patches or view.phases <= limits.phases
    if stride_to_channels.convertible(view):
        return True
    if view.o < FEW_OUTPUTS and view.c >= limits.idle_channels:
        return True
    least = (limits.outputs_1d, limits.outputs_2d)[view.rank - 1]
    return view.o >= (2 * least if max(view.stride) > 1 else least)
