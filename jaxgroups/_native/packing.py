"""Weights packed once, into the order in which the kernels of this processor read them."""

import ctypes
from collections.abc import Iterable
from itertools import chain

import numpy as np

from jaxgroups import _native as native


def pack(weights: np.ndarray, groups: int, *shapes: Iterable[int]) -> tuple[np.ndarray, int] | None:
    """The packed weights of a forward convolution, and their layout, for calls of `native.FUSED`.

    Args:
      weights: (*kernel, c, groups o), float32 or float64.
      groups: number of groups.
      shapes: x (N, *size, C), the kernel's, y, strides, padding low and high, dilations, dilations
        of the input.

    Returns:
      None where there are no kernels, or where the weights have no single order.
    """
    status = native.status()
    if status.missing is not None:
        return None
    function = ctypes.CDLL(str(status.path)).jaxgroups_pack
    function.restype = ctypes.c_int64
    weights = np.ascontiguousarray(weights)
    rank = weights.ndim - 2
    numbers = [rank, weights.dtype.itemsize, groups, *chain(*shapes)]
    given = np.array(numbers, np.int64)
    size = ctypes.c_int64(0)
    pointers = (ctypes.c_void_p(given.ctypes.data), ctypes.c_void_p(weights.ctypes.data))
    if function(*pointers, None, ctypes.byref(size)) == 0:
        return None
    packed = np.empty(size.value, weights.dtype)
    layout = function(*pointers, ctypes.c_void_p(packed.ctypes.data), ctypes.byref(size))
    return packed, layout
