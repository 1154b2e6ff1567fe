"""One convolution by each contestant: PyTorch in two layouts, lax, and jaxgroups.

Mode "forward": the output for x and weight. Mode "gradients": those of x and weight for a given
cotangent of the output. No side computes the forward pass in that mode: `jax.vjp` of a bilinear
function needs no result of it, and XLA removes the one that it traces.
"""

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch

from benchmarks.data import Data
from benchmarks.measure import TOLERANCE, contest
from benchmarks.table import Layer, families
from benchmarks.torch_side import LAYOUTS, Settings, by_torch
from benchmarks.torch_side import request as settings_of
from benchmarks.turns import Start, Turns, Workers
from jaxgroups import ConvSpec

MODES = ("forward", "gradients")
KINDS = ("torch", "lax", "jaxgroups", "without_kernels")
TARGETS = {"torch": "benchmarks.torch_side:prepare", "jax": "benchmarks.jax_side:prepare"}
WITHOUT_KERNELS = {"JAXGROUPS_NATIVE": "0"}


def starts(names: Iterable[str]) -> dict[str, Start]:
    """The processes of contestants: KINDS, or ``jaxgroups.IMPLEMENTATION``; torch is two."""
    found = {}
    for name in names:
        if name == "torch":
            found |= {f"torch {layout}": Start(TARGETS["torch"]) for layout in LAYOUTS}
        elif name == "without_kernels":
            found[name] = Start(TARGETS["jax"], environment=WITHOUT_KERNELS)
        else:
            found[name] = Start(TARGETS["jax"])
    return found


def layer_row(
    workers: Workers,
    layer: Layer,
    batch: int,
    mode: str,
    how: Turns,
    dtype: str = "float32",
    limit: float = 60.0,
    threads: int = 1,
) -> dict:
    """One layer in one mode: its description and the measurements of every contestant."""
    spec = layer.problem(batch, dtype)
    data = Data.random(spec)
    path = workers.folder / "data.npz"
    data.save(path)
    exact = Settings.of(replace(spec, dtype=data.x.dtype.name))
    with torch.inference_mode():
        reference = by_torch(exact, data, mode, "contiguous").results()
    request = {
        "spec": str(spec),
        "settings": settings_of(spec),
        "mode": mode,
        "data": str(path),
        "limit": limit,
        "threads": threads,
    }
    row = {
        "table": layer.table,
        "model": layer.model,
        "spec": str(spec),
        "families": list(families(spec)),
        "batch": batch,
        "mode": mode,
        "flops": spec.flops * (2 if mode == "gradients" else 1),
        "bytes": traffic(spec, mode),
    }
    where = f"{layer.model}, {spec}, {mode}"
    return row | contest(workers, request, reference, TOLERANCE[dtype], how, where)


def traffic(spec: ConvSpec, mode: str) -> int:
    """Bytes of all arguments and results, each read or written once."""
    item = 2 if spec.dtype.endswith("float16") else np.dtype(spec.dtype).itemsize
    inputs = math.prod(spec.input_shape) + spec.weights
    outputs = math.prod(spec.output_shape)
    return item * (inputs + outputs if mode == "forward" else 2 * inputs + outputs)
