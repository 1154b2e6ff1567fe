"""The layouts of kernels of convolutions, for single layers and for whole checkpoints.

    kind                  torch weight        Flax kernel        operation
    conv                  (out, in/g, *k)     (*k, in/g, out)    Permute
    conv_transpose        (in, out/g, *k)     (*k, out/g, in)    Permute
    flax_conv_transpose   (in, out, *k)       (*k, in, out)      Permute, then Flip of k

``conv`` is jaxgroups' and Flax's Conv; ``conv_transpose`` is jaxgroups' ConvTranspose and Flax's
with ``transpose_kernel=True``; ``flax_conv_transpose`` is Flax's default, which has no groups.
"""

from typing import Any

from flax import linen as flax_linen
from flax import nnx as flax_nnx

from jaxgroups import linen, nnx
from jaxgroups._spec import layouts
from jaxgroups.convert._rules.ops import Chain, Flip, Op, Permute

KINDS = ("conv", "conv_transpose", "flax_conv_transpose")


def kind_of(layer: Any) -> str | None:
    """The kind of a layer's kernel; None for a layer that is not a convolution."""
    if isinstance(layer, (nnx.Layer, linen.Layer)):
        return "conv_transpose" if "transpose" in layer.op else "conv"
    if isinstance(layer, (flax_nnx.Conv, flax_linen.Conv)):
        return "conv"
    if isinstance(layer, (flax_nnx.ConvTranspose, flax_linen.ConvTranspose)):
        return "conv_transpose" if layer.transpose_kernel else "flax_conv_transpose"
    return None


def kernel_op(kind: str, ndim: int) -> Op:
    """The operation between the torch weight and the Flax kernel of a kind, both of `ndim` axes."""
    if kind == "flax_conv_transpose":
        permute = Permute((*range(2, ndim), 0, 1))
        return Chain((permute, Flip(tuple(range(ndim - 2)))))
    return Permute(layouts.torch_to_flax(ndim))
