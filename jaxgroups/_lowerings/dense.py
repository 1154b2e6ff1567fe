"""Convolutions without groups: when the kernels, or a matrix product, are slower than XLA's own.

In one and two dimensions XLA computes them as products of patches, at the speed of a matrix
product. It is slow in three dimensions, for the weight gradient of a transposed convolution, for a
weight gradient with few outputs, and for a large input dilation. There the kernels are faster, or
one matrix product for patches that do not overlap. The rules for a 1x1 convolution are elsewhere.
"""

from dataclasses import dataclass

from jaxgroups._lowerings import matmul, stride_to_channels
from jaxgroups._lowerings.views import Forward, View, WeightGradient

XLA_IS_FAST = "groups=1, where XLA's own is as fast"
PRODUCT_IS_FAST = "groups=1 and windows of whole strides, where a matrix product is faster"


@dataclass(frozen=True)
class Dense:
    """Limits for convolutions without groups, in one and two dimensions.

    * `outputs_1d`, `outputs_2d`: with as many output channels, XLA's own is the choice; of a
      strided convolution with twice as many, because XLA copies its patches more slowly.
    * `phases`: with at most as many output phases, XLA's own is the choice for a convolution with
      input dilation.
    * `gradient_channels`: the same for a weight gradient with at most as many input channels.
    * `idle_channels`: the same for a convolution with at least as many input channels and fewer
      outputs than FEW_OUTPUTS.
    * `product_channels`: with at most as many input channels, a matrix product is faster than the
      kernels for the weight gradient of windows of whole strides.
    """

    outputs_1d: int
    outputs_2d: int
    phases: int
    gradient_channels: int
    idle_channels: int
    product_channels: int


# These are the same with every instruction set of the kernels.
PATCH_CHANNELS = 16  # of the image that is cut into patches: with more, XLA's own is as fast
GRADIENT_OUTPUTS = 4  # with fewer, XLA's own weight gradient is slow
FEW_OUTPUTS = 8  # that leave lanes of the kernels idle
MANY_PHASES = 16  # with more, XLA's own multiplies mostly zeros


def concerns(view: View) -> bool:
    """Whether the rules of this module are those for a view."""
    return view.groups == 1 and view.taps > 1


def native_reason(view: View, limits: Dense) -> str | None:
    """Why the kernels are not the choice; None where they are."""
    if _product_is_fast(view, limits):
        return PRODUCT_IS_FAST
    return XLA_IS_FAST if _xla_is_fast(view, limits) else None


def matmul_reason(view: View, limits: Dense) -> str | None:
    """Why a matrix product is not the choice, where the kernels are not or cannot be."""
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
