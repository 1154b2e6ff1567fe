"""Kernel and bias of one layer, numpy in and out.

    kind                  torch weight        Flax kernel        how
    conv                  (out, in/g, *k)     (*k, in/g, out)    permute
    conv_transpose        (in, out/g, *k)     (*k, out/g, in)    permute
    flax_conv_transpose   (in, out, *k)       (*k, in, out)      permute and flip k

``conv`` is jaxgroups' and Flax's Conv; ``conv_transpose`` is jaxgroups' ConvTranspose and Flax's
with ``transpose_kernel=True``; ``flax_conv_transpose`` is Flax's default, which has no groups.
Mind that Flax's padding of a transposed convolution is not torch's: it is ``d (k - 1) - p``.
"""

import sys
from typing import Any

import numpy as np
from flax import linen as flax_linen
from flax import nnx as flax_nnx

from jaxgroups import linen, nnx
from jaxgroups._spec import layouts

KINDS = ("conv", "conv_transpose", "flax_conv_transpose")


def kernel_from_torch(weight: Any, layer: Any) -> np.ndarray:
    """The Flax kernel that holds a torch weight.

    Args:
      weight: ``(first, second, *kernel_size)``, numpy or jax array, or torch tensor (not imported
        here; its bfloat16 becomes numpy's ``ml_dtypes.bfloat16``, bit for bit).
      layer: one of `KINDS`, or the Flax layer that is to hold the kernel, nnx or linen, of
        jaxgroups or of Flax, whose settings then decide and whose shape is checked.

    Returns:
      A new contiguous array ``(*kernel_size, second, first)`` of the same dtype.

    Raises:
      TypeError: `layer` does not tell the kind.
      ValueError: a weight without 1 to 3 spatial axes, or of another shape than `layer` needs.
    """
    kind = _kind(layer)
    weight = _spatial(_numpy(weight), "weight")
    if kind == "flax_conv_transpose":
        kernel = weight.transpose(*range(2, weight.ndim), 0, 1)
        kernel = np.flip(kernel, tuple(range(kernel.ndim - 2)))
    else:
        kernel = weight.transpose(layouts.torch_to_flax(weight.ndim))
    _check_shape(kernel.shape, layer)
    return _copy(kernel)


def kernel_to_torch(kernel: Any, layer: Any) -> np.ndarray:
    """The torch weight that a Flax kernel holds: the inverse of `kernel_from_torch`.

    Args:
      kernel: ``(*kernel_size, second, first)``, numpy or jax array, or ``nnx.Param``.
      layer: as in `kernel_from_torch`: the kind of the layer that holds the kernel.

    Returns:
      A new contiguous array ``(first, second, *kernel_size)`` of the same dtype; a bfloat16 one
      goes to torch as ``torch.from_numpy(w.view("int16")).view(torch.bfloat16)``.
    """
    kind = _kind(layer)
    kernel = _spatial(_numpy(kernel), "kernel")
    _check_shape(kernel.shape, layer)
    if kind == "flax_conv_transpose":
        kernel = np.flip(kernel, tuple(range(kernel.ndim - 2)))
        return _copy(kernel.transpose(-2, -1, *range(kernel.ndim - 2)))
    return _copy(kernel.transpose(layouts.flax_to_torch(kernel.ndim)))


def bias_from_torch(bias: Any) -> np.ndarray:
    """The Flax bias that holds a torch one, ``(out,)``: the same values, as a new numpy array."""
    return _vector(_numpy(bias))


def bias_to_torch(bias: Any) -> np.ndarray:
    """The torch bias that a Flax one holds, ``(out,)``: the same values, as a new numpy array."""
    return _vector(_numpy(bias))


def _numpy(value: Any) -> np.ndarray:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        value = value.detach().cpu().resolve_conj().resolve_neg()
        if value.dtype == torch.bfloat16:
            bfloat16 = sys.modules["ml_dtypes"].bfloat16  # a dependency of jax, so always loaded
            return value.view(torch.int16).numpy().view(bfloat16)
        return value.numpy()
    return np.asarray(value)


def _copy(array: np.ndarray) -> np.ndarray:
    return np.array(array, order="C", copy=True)


def _vector(bias: np.ndarray) -> np.ndarray:
    if bias.ndim != 1:
        raise ValueError(f"a bias is 1-dimensional, but got one of shape {bias.shape}")
    return _copy(bias)


def _spatial(array: np.ndarray, name: str) -> np.ndarray:
    if not 3 <= array.ndim <= 5:
        raise ValueError(
            f"{name} must have two channel axes and 1 to 3 spatial ones, but got shape "
            f"{array.shape}"
        )
    return array


def _kind(layer: Any) -> str:
    if isinstance(layer, str):
        if layer not in KINDS:
            raise ValueError(f"layer must be one of {', '.join(KINDS)}, but got layer={layer!r}")
        return layer
    if isinstance(layer, (nnx.Layer, linen.Layer)):
        return "conv_transpose" if "transpose" in layer.op else "conv"
    if isinstance(layer, (flax_nnx.Conv, flax_linen.Conv)):
        return "conv"
    if isinstance(layer, (flax_nnx.ConvTranspose, flax_linen.ConvTranspose)):
        return "conv_transpose" if layer.transpose_kernel else "flax_conv_transpose"
    raise TypeError(
        f"layer must say which kind of convolution it is, but got {layer!r}: "
        f"give one of {', '.join(KINDS)} or a Conv or ConvTranspose instance"
    )


def _check_shape(shape: tuple[int, ...], layer: Any) -> None:
    expected = None
    if isinstance(layer, (nnx.Layer, flax_nnx.Conv, flax_nnx.ConvTranspose)):
        expected = layer.kernel.shape
    elif isinstance(layer, linen.Layer) and layer.in_channels is not None:
        expected = layer.spec.weight_shape
    if expected is not None and shape != expected:
        raise ValueError(
            f"a kernel of shape {shape} does not fit this layer, which needs {expected}: {layer!r}"
        )
