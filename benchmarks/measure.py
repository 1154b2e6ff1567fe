"""One row of a report: results are compared with PyTorch's, then timed."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.contestants import all_of
from benchmarks.data import Contestant, Data
from benchmarks.machine import Others
from benchmarks.table import Layer, families
from benchmarks.timing import Rounds, Timed, interleave
from benchmarks.torch_side import by_torch
from jaxgroups import ConvSpec

# relative to the largest value; float32 sums of ten thousand products have smaller errors
TOLERANCE = {"float32": 1e-4, "float64": 1e-10, "float16": 5e-3, "bfloat16": 3e-2}


class WrongResult(Exception):
    """A contestant computes a wrong result. The run ends and reports nothing."""


def check(
    what: str,
    results: list[np.ndarray],
    reference: list[np.ndarray],
    tolerances: float | Sequence[float],
) -> float:
    """The largest error of any result, relative to the largest value of its reference.

    Raises:
      WrongResult: an error above its tolerance, a NaN, or another shape.
    """
    if [a.shape for a in results] != [b.shape for b in reference]:
        shapes = ([a.shape for a in results], [b.shape for b in reference])
        raise WrongResult(f"{what}: shapes {shapes[0]}, torch has {shapes[1]}")
    if not isinstance(tolerances, Sequence):
        tolerances = [tolerances] * len(reference)
    largest = 0.0
    for a, b, tolerance in zip(results, reference, tolerances, strict=True):
        if not b.size:
            continue
        error = float(np.abs(a - b).max()) / (float(np.abs(b).max()) or 1.0)
        if not error <= tolerance:
            raise WrongResult(
                f"{what}: relative error {error:.1e} against torch, more than {tolerance:.0e}"
            )
        largest = max(largest, error)
    return largest


def layer_row(
    layer: Layer,
    batch: int,
    mode: str,
    names: Iterable[str],
    how: Rounds,
    dtype: str = "float32",
    limit: float = 60.0,
) -> dict:
    """One layer in one mode: its description and the measurements of every contestant."""
    spec = layer.problem(batch, dtype)
    data = Data.random(spec)
    exact = replace(spec, dtype=data.x.dtype.name)
    reference = by_torch(exact, data, mode, "contiguous").results()
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
    return row | contest(
        all_of(spec, data, mode, names, limit), reference, TOLERANCE[dtype], how, where
    )


def contest(
    contestants: Iterable[Contestant | tuple[str, str]],
    reference: list[np.ndarray],
    tolerances: float | Sequence[float],
    how: Rounds,
    where: str,
) -> dict:
    """Check all contestants, then time them; ``absent`` has the reasons of those left out."""
    entries, calls, absent = {}, {}, {}
    for one in contestants:
        if isinstance(one, tuple):
            absent[one[0]] = one[1]
            continue
        error = check(f"{one.name} on {where}", one.results(), reference, tolerances)
        entries[one.name] = {"error": error, **one.notes}
        calls[one.name] = one.call
    others = Others()
    for name, timed in interleave(calls, how).items():
        entries[name] |= timing(timed, how.statistic)
    return {"contestants": entries, "absent": absent, "others": others.share()}


def timing(timed: Timed, statistic: str) -> dict:
    return {
        "seconds": timed.seconds(statistic),
        "iqr": timed.iqr,
        "repetitions": timed.repetitions,
        "samples": timed.samples,
    }


def traffic(spec: ConvSpec, mode: str) -> int:
    """Bytes of all arguments and results, each read or written once."""
    item = 2 if spec.dtype.endswith("float16") else np.dtype(spec.dtype).itemsize
    inputs = math.prod(spec.input_shape) + spec.weights
    outputs = math.prod(spec.output_shape)
    return item * (inputs + outputs if mode == "forward" else 2 * inputs + outputs)


def merge(row: dict, new: Mapping, statistic: str) -> dict:
    """Merge the samples of a second pass into the row of the first."""
    shares = [share for share in (row["others"], new["others"]) if share is not None]
    row["others"] = max(shares, default=None)
    for name, entry in new["contestants"].items():
        old = row["contestants"].setdefault(name, entry)
        if old is entry:  # predicted as too slow in the first pass only
            row["absent"].pop(name, None)
            continue
        samples = old["samples"] + entry["samples"]
        old |= timing(Timed(entry["repetitions"], samples), statistic)
    return row
