"""Converts kernel and bias of one layer, as NumPy arrays.

`_rules.kernels` lists the kinds of kernels and their layouts. The padding of a transposed
convolution differs too: torch's p is ``d (k - 1) - p`` in Flax.
"""

from typing import Any

import numpy as np
from flax import nnx as flax_nnx

from jaxgroups import linen, nnx
from jaxgroups.convert._files import copied
from jaxgroups.convert._rules.kernels import KINDS, kernel_op, kind_of


def kernel_from_torch(weight: Any, layer: Any) -> np.ndarray:
    """The Flax kernel for a torch weight.

    Args:
      weight: ``(first, second, *kernel_size)``, numpy or jax array, or torch tensor (torch is not
        imported; its bfloat16 becomes ``ml_dtypes.bfloat16``, bit for bit).
      layer: one of `KINDS`, or a Flax layer, nnx or linen, of jaxgroups or of Flax. Its settings
        give the kind, and the shape of its kernel, if known, is checked.

    Returns:
      A new contiguous array ``(*kernel_size, second, first)`` of the same dtype.

    Raises:
      TypeError: `layer` is not a convolution.
      ValueError: a weight without 1 to 3 spatial axes, or of another shape than `layer` needs.
    """
    kind = _kind(layer)
    weight = _spatial(copied(weight), "weight")
    kernel = kernel_op(kind, weight.ndim).to_flax(weight)
    _check_shape(kernel.shape, layer)
    return np.array(kernel, order="C", copy=True)


def kernel_to_torch(kernel: Any, layer: Any) -> np.ndarray:
    """The torch weight for a Flax kernel: the inverse of `kernel_from_torch`.

    Args:
      kernel: ``(*kernel_size, second, first)``, numpy or jax array, or ``nnx.Param``.
      layer: as in `kernel_from_torch`.

    Returns:
      A new contiguous array ``(first, second, *kernel_size)`` of the same dtype. In torch,
      a bfloat16 one is ``torch.from_numpy(w.view("int16")).view(torch.bfloat16)``.

    Raises:
      TypeError: `layer` is not a convolution.
      ValueError: a kernel without 1 to 3 spatial axes, or of another shape than the layer's.
    """
    kind = _kind(layer)
    kernel = _spatial(copied(kernel), "kernel")
    _check_shape(kernel.shape, layer)
    weight = kernel_op(kind, kernel.ndim).to_torch(kernel)
    return np.array(weight, order="C", copy=True)


def bias_from_torch(bias: Any) -> np.ndarray:
    """The Flax bias for a torch bias: a copy, since both have the shape ``(out,)``.

    Args:
      bias: ``(out,)``, numpy or jax array, or torch tensor.

    Returns:
      A new numpy array with the same values and dtype.

    Raises:
      ValueError: `bias` is not 1-dimensional.
    """
    return _vector(copied(bias))


def bias_to_torch(bias: Any) -> np.ndarray:
    """The torch bias for a Flax bias: a copy, since both have the shape ``(out,)``.

    Args:
      bias: ``(out,)``, numpy or jax array, or ``nnx.Param``.

    Returns:
      A new numpy array with the same values and dtype.

    Raises:
      ValueError: `bias` is not 1-dimensional.
    """
    return _vector(copied(bias))


def _vector(bias: np.ndarray) -> np.ndarray:
    if bias.ndim != 1:
        raise ValueError(f"a bias is 1-dimensional, but got one of shape {bias.shape}")
    return bias


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
    kind = kind_of(layer)
    if kind is None:
        raise TypeError(
            f"layer must say which kind of convolution it is, but got {layer!r}: "
            f"give one of {', '.join(KINDS)} or a Conv or ConvTranspose instance"
        )
    return kind


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
