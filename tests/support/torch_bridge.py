"""Torch as the reference: conversion of arrays, and the convolution of a ConvSpec by torch.

Importing this skips the test module, with a message, if torch is not installed.
"""

import warnings
from contextlib import contextmanager

import ml_dtypes
import numpy as np
import pytest

from support.helpers import from_same

torch = pytest.importorskip("torch")

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
LAYERS = [f"Conv{t}{r}d" for t in ("", "Transpose") for r in (1, 2, 3)]


def to_numpy(tensor):
    """A copy as numpy array, bit for bit; None stays None."""
    if tensor is None:
        return None
    tensor = tensor.detach().clone()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(BFLOAT16)
    return tensor.numpy()


def to_torch(array):
    """A copy as torch tensor, bit for bit; None stays None."""
    if array is None:
        return None
    array = np.array(array)
    if array.dtype == BFLOAT16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


@contextmanager
def quiet_same():
    """Torch warns that it copies the input for padding='same' with an even kernel."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using padding='same' with even kernel", UserWarning)
        yield


def convolve(spec, x, weight, bias=None):
    """The result of torch for a spec and tensors; differentiable."""
    function = getattr(torch.nn.functional, spec.op)
    low = tuple(lo for lo, _ in spec.padding)
    if spec.transposed:
        how = (spec.stride, low, spec.output_padding, spec.groups, spec.dilation)
        return function(x, weight, bias, *how)
    uneven = any(lo != hi for lo, hi in spec.padding)
    padding = "same" if uneven else low
    if spec.padding_mode != "zeros" or not from_same(spec):
        mode = "constant" if spec.padding_mode == "zeros" else spec.padding_mode
        flat = [p for pair in reversed(spec.padding) for p in pair]
        x, padding = torch.nn.functional.pad(x, flat, mode=mode), 0
    with quiet_same():
        return function(x, weight, bias, spec.stride, padding, spec.dilation, spec.groups)


def layer(spec):
    """The torch layer of a spec, in float64."""
    kw = {"output_padding": spec.output_padding} if spec.transposed else {}
    return getattr(torch.nn, f"Conv{'Transpose' if spec.transposed else ''}{spec.rank}d")(
        spec.in_channels,
        spec.out_channels,
        spec.kernel_size,
        stride=spec.stride,
        dilation=spec.dilation,
        groups=spec.groups,
        bias=spec.bias,
        dtype=torch.float64,
        **kw,
    )
