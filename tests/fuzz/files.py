"""Damaged checkpoints: each reader raises a CheckpointError, or reads what another reader reads.

Nothing else is allowed: no other exception, no crash, no more memory than SECURITY.md says. The
judge of values is the file before the damage where a checksum covers them, and the official library
of safetensors otherwise.
"""

import json
import struct
import tracemalloc
from functools import cache
from math import prod

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy
from support import torch_files
from support.checkpoints import written

from jaxgroups.convert import CheckpointError, open_checkpoint
from jaxgroups.convert._files.pickle_budget import FACTOR, FIXED

FORMATS = ("torch-zip", "torch-legacy", "safetensors")
CHANGES = ("flip", "set", "cut", "insert", "copy", "number", "end")
NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1)
SLACK = 4 << 20  # what an error, a zip archive and the interpreter take besides
LARGE = 1 << 22  # bytes of a tensor that is not read: the damage made it large, within its bound


def draw(rng) -> dict:
    format = str(rng.choice(FORMATS))
    parts = {"torch-zip": ["file", "pickle"], "safetensors": ["file", "header"]}
    changes = [
        [str(rng.choice(CHANGES)), *map(float, rng.random(2)), int(rng.integers(256))]
        for _ in range(rng.choice([1, 1, 1, 2, 4, 16]))
    ]
    return {
        "format": format,
        "part": str(rng.choice(parts.get(format, ["file"]))),
        "reader": str(rng.choice(["own", "own", "zipfile"])) if format == "torch-zip" else "own",
        "changes": changes,
    }


@cache
def _arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"fc.weight": (3, 4), "fc.bias": (3,), "bn.weight": (5,), "empty": (0, 2)}
    arrays = {name: rng.standard_normal(shape).astype("f4") for name, shape in shapes.items()}
    half = rng.standard_normal((2, 3)).astype(ml_dtypes.bfloat16)
    return arrays | {"half": half, "steps": np.array(2**40 + 7)}


def changed(data: bytes, changes: list) -> bytes:
    """The bytes with changes; places are fractions of the length."""
    for kind, at, other, value in changes:
        i, j = int(at * len(data)), int(other * len(data))
        length = 1 + value % 16
        match kind:
            case "flip":
                new = bytes([data[i] ^ (1 << value % 8)]) if data else b""
                data = data[:i] + new + data[i + 1 :]
            case "set":
                data = data[:i] + bytes([value]) + data[i + 1 :]
            case "cut":
                data = data[:i] + data[i + length :]
            case "insert":
                data = data[:i] + bytes([value]) * length + data[i:]
            case "copy":
                data = data[:i] + data[j : j + length] + data[i + length :]
            case "number":
                size, number = (1, 2, 4, 8)[value % 4], NUMBERS[value % len(NUMBERS)]
                bits = (number % 2 ** (8 * size)).to_bytes(size, "little")
                data = data[:i] + bits + data[i + size :]
            case "end":
                data = data[:i]
    return data


def _damaged(case: dict, folder):
    """The file, and how long the pickle in it is."""
    arrays, changes = _arrays(), case["changes"]
    if case["format"] == "safetensors":
        path = written(folder / "net.safetensors", arrays)
        data = path.read_bytes()
        if case["part"] == "header":  # with a length that fits
            end = 8 + int.from_bytes(data[:8], "little")
            header = changed(data[8:end], changes)
            data = struct.pack("<Q", len(header)) + header + data[end:]
        else:
            data = changed(data, changes)
        path.write_bytes(data)
        return path, 0
    path = folder / "net.pth"
    keys = {name: str(i) for i, name in enumerate(arrays)}
    window = (None,) if case["format"] == "torch-legacy" else ()
    root = {n: torch_files.dense(keys[n], a, window) for n, a in arrays.items()}
    pickle = torch_files.pickled(root)
    storages = {keys[name]: array for name, array in arrays.items()}
    if case["part"] == "pickle":  # with a checksum that fits
        torch_files.write(path, case["format"], changed(pickle, changes), storages)
    else:
        torch_files.write(path, case["format"], pickle, storages)
        path.write_bytes(changed(path.read_bytes(), changes))
    return path, path.stat().st_size


def _read(path, reader: str) -> dict[str, np.ndarray] | None:
    """All tensors but very large ones; None for a refused file."""
    try:
        with open_checkpoint(path, reader=reader) as checkpoint:
            return {
                name: checkpoint.read(name)
                for name, info in checkpoint.infos.items()
                if prod(info.shape) * np.dtype(getattr(ml_dtypes, info.dtype, info.dtype)).itemsize
                <= LARGE
            }
    except CheckpointError:
        return None


def check(case: dict, folder) -> None:
    path, length = _damaged(case, folder)
    tracemalloc.start()
    try:
        read = _read(path, case["reader"])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    bound = FIXED + FACTOR * length + LARGE * 4 + SLACK
    assert peak <= bound, f"{peak} bytes of memory for a file of {path.stat().st_size}"
    if read is None:
        return
    if case["format"] == "safetensors":
        _same(read, _by_library(path))
    elif case["format"] == "torch-zip" and case["part"] == "file":
        _same(read, {name: _arrays().get(name) for name in read})


def _by_library(path) -> dict[str, np.ndarray]:
    """What the official library reads, as bits; an error of it fails the case."""
    data = path.read_bytes()
    found = dict(safetensors.deserialize(data))
    names = {"F32": "float32", "BF16": "bfloat16", "I64": "int64"}
    arrays = {}
    for name, value in found.items():
        kind = names.get(value["dtype"])
        if kind is None:
            continue
        dtype = np.dtype(getattr(ml_dtypes, kind, kind))
        arrays[name] = np.frombuffer(value["data"], dtype).reshape(value["shape"])
    return arrays


def _same(read: dict, expected: dict) -> None:
    for name, array in read.items():
        if name in expected:
            wanted = expected[name]
            assert wanted is not None, f"a tensor {json.dumps(name)} that was not in the file"
            assert (array.shape, array.dtype) == (wanted.shape, wanted.dtype), name
            assert array.tobytes() == wanted.tobytes(), f"{name} has wrong values"
