"""Tensors of NumPy, JAX and torch in memory, without importing torch."""

import sys
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from jaxgroups.convert._files import dtypes
from jaxgroups.convert._files.base import Checkpoint, CheckpointError, TensorInfo, repeated


class MemoryCheckpoint(Checkpoint):
    def __init__(self, tensors: Mapping[str, Any]) -> None:
        for name in tensors:
            if not isinstance(name, str):
                raise CheckpointError(f"names of tensors are strings, but got {name!r}")
        infos = {name: info_of(name, value) for name, value in tensors.items()}
        keys = {name: memory_of(value) for name, value in tensors.items()}
        super().__init__(None, "memory", infos, aliases=repeated(keys))
        self._tensors = dict(tensors)

    def _read(self, name: str) -> np.ndarray:
        return copied(self._tensors[name])

    def close(self) -> None:
        super().close()
        self._tensors = {}


def from_dict(tensors: Mapping[str, Any]) -> Checkpoint:
    """A checkpoint of tensors in memory, of NumPy, JAX or torch; reading copies them.

    Tensors with the same memory, shape and strides are aliases of the first of them.

    Raises:
      CheckpointError: a name that is not a string, or a value that is not a dense tensor with a
        dtype of NumPy or ml_dtypes. Flatten nested dicts to dotted names first.
    """
    return MemoryCheckpoint(tensors)


def is_torch(value: Any) -> bool:
    """Whether the value is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def info_of(name: str, value: Any) -> TensorInfo:
    """Shape and dtype of a tensor in memory; raises CheckpointError for other values."""
    if is_torch(value):
        dtype = str(value.dtype).removeprefix("torch.")
        layout = str(value.layout).removeprefix("torch.")
        nested = getattr(value, "is_nested", False)
        if value.device.type == "meta" or layout != "strided" or value.is_quantized or nested:
            kind = "nested" if nested else "quantized" if value.is_quantized else layout
            raise CheckpointError(
                f"{name!r} is a {kind} {dtype} tensor on {value.device.type}: only dense tensors "
                "with data can be read, so make it dense (to_dense(), dequantize()) first"
            )
    elif hasattr(value, "shape") and hasattr(value, "dtype"):
        dtype = str(getattr(value.dtype, "name", value.dtype))
    else:
        raise CheckpointError(
            f"{name!r} is a {type(value).__name__}, not a tensor: give a flat dict of numpy, jax "
            "or torch tensors"
        )
    if dtype not in dtypes.NAMES:
        raise CheckpointError(
            f"{name!r} has dtype {dtype}, which has no counterpart in numpy or ml_dtypes: cast it"
        )
    return TensorInfo(tuple(int(n) for n in value.shape), dtype)


def memory_of(value: Any) -> Hashable:
    """A key that is equal for tensors with the same memory; None for one without elements."""
    if 0 in value.shape:
        return None
    if is_torch(value):
        where = (value.untyped_storage().data_ptr(), value.storage_offset(), str(value.device))
        how = (tuple(value.shape), value.stride(), value.is_conj(), value.is_neg())
        return (*where, *how, str(value.dtype))
    if isinstance(value, np.ndarray):
        return (value.ctypes.data, value.shape, value.strides, value.dtype.str, value.dtype.name)
    return id(value)


def copied(value: Any) -> np.ndarray:
    """A tensor as a new C-contiguous NumPy array in native byte order, bit for bit."""
    if not is_torch(value):
        array = np.asarray(value)
        return np.array(array, dtype=array.dtype.newbyteorder("="), order="C", copy=True)
    uint8 = sys.modules["torch"].uint8
    dtype = dtypes.numpy_dtype(str(value.dtype).removeprefix("torch."))
    if 0 in value.shape:  # its strides may be refused by the view below
        return np.zeros(value.shape, dtype)
    dense = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
    flat = dense.reshape(-1).view(uint8).numpy().view(dtype)
    return np.array(flat.reshape(value.shape), order="C", copy=True)
