"""Checkpoints for tests: written, read and compared bit for bit, without torch."""

import numpy as np

import jaxgroups.convert as jc
from jaxgroups.convert._files import TensorInfo, write_safetensors


def bits(rng, shape, dtype):
    """Random bits of a dtype, including NaNs with any payload, infinities and denormals."""
    dtype = np.dtype(dtype)
    data = bytearray(rng.bytes(int(np.prod(shape)) * dtype.itemsize))
    return np.frombuffer(data, dtype).reshape(shape)


def written(path, arrays, metadata=None):
    """Write a .safetensors file with these arrays; return its path."""
    infos = [(n, TensorInfo(a.shape, a.dtype.name)) for n, a in arrays.items()]
    sources = [(n, info, lambda n=n: arrays[n]) for n, info in infos]
    write_safetensors(path, sources, metadata, overwrite=True)
    return path


def tensors(path, **how):
    """All tensors of a file."""
    with jc.open_checkpoint(path, **how) as checkpoint:
        return {name: checkpoint.read(name) for name in checkpoint.infos}


def saved(model, directory, **how):
    """All tensors of the state_dict of a model, saved to a file and read back."""
    path = directory / "saved.safetensors"
    jc.save_torch(model, path, overwrite=True, **how)
    return tensors(path)


def copies(arrays):
    """Copies of all arrays."""
    return {name: array.copy() for name, array in arrays.items()}


def assert_same_tensors(actual, expected):
    """Check that names, shapes, dtypes and bytes are equal."""
    assert sorted(actual) == sorted(expected)
    for name, array in expected.items():
        assert (actual[name].shape, actual[name].dtype) == (array.shape, array.dtype), name
        assert actual[name].tobytes() == array.tobytes(), name
