"""One row of a report: the results of the contestants are compared, then the contestants timed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.machine import Others
from benchmarks.timing import Timed
from benchmarks.turns import Turns, Workers

# relative to the largest value; float32 sums of ten thousand products have smaller errors
TOLERANCE = {"float32": 1e-4, "float64": 1e-10, "float16": 5e-3, "bfloat16": 3e-2}


class WrongResult(Exception):
    """A contestant computes a wrong result. The run ends and reports nothing."""


def check(
    what: str,
    results: Sequence[np.ndarray],
    reference: Sequence[np.ndarray],
    tolerances: float | Sequence[float],
    by: str = "torch",
) -> float:
    """The largest error of any result, relative to the largest value of its reference.

    Raises:
      WrongResult: an error above its tolerance, a NaN, or another shape; `by` gave the reference.
    """
    if [a.shape for a in results] != [b.shape for b in reference]:
        shapes = ([a.shape for a in results], [b.shape for b in reference])
        raise WrongResult(f"{what}: shapes {shapes[0]}, {by} has {shapes[1]}")
    if not isinstance(tolerances, Sequence):
        tolerances = [tolerances] * len(reference)
    largest = 0.0
    for a, b, tolerance in zip(results, reference, tolerances, strict=True):
        if not b.size:
            continue
        error = float(np.abs(a - b).max()) / (float(np.abs(b).max()) or 1.0)
        if not error <= tolerance:
            raise WrongResult(
                f"{what}: relative error {error:.1e} against {by}, more than {tolerance:.0e}"
            )
        largest = max(largest, error)
    return largest


def contest(
    workers: Workers,
    request: Mapping[str, Any],
    reference: Sequence[np.ndarray] | None,
    tolerances: float | Sequence[float],
    how: Turns,
    where: str,
    names: Iterable[str] | None = None,
) -> dict:
    """Prepare and check all contestants, or those in `names`, then time them in turn.

    Without a `reference`, the first contestant's results are the reference. ``absent`` has the
    reasons of those that are left out. Each gets the request with its name as ``contestant``.

    Raises:
      WrongResult: a contestant's results differ; nothing was timed.
    """
    entries: dict[str, dict[str, Any]] = {}
    absent: dict[str, str] = {}
    by = "torch"
    for name in workers if names is None else names:
        found = workers.prepare(name, {**request, "contestant": name})
        if isinstance(found, str):
            absent[name] = found
            continue
        notes, results = found
        if reference is None:
            reference, by = results, name
        error = check(f"{name} on {where}", results, reference, tolerances, by)
        entries[name] = {"error": error, **notes}
    others = Others(workers.pids)
    for name, timed in workers.take_turns(list(entries), how).items():
        entries[name] |= timing(timed, how.statistic)
    return {"contestants": entries, "absent": absent, "others": others.share()}


def timing(timed: Timed, statistic: str) -> dict:
    """Seconds by both statistics; ``seconds`` is that of `statistic`."""
    return {
        "seconds": timed.seconds(statistic),
        "median": timed.seconds("median"),
        "min": timed.seconds("min"),
        "iqr": timed.iqr,
        "repetitions": timed.repetitions,
        "samples": timed.samples,
    }


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
