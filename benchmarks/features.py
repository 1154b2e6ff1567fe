"""Pools, resizes and norms against torch: ``python -m benchmarks.ops --features``.

Each side runs in a process of its own. They take turns: one is timed for 20 ms, after 2 ms that do
not count, then the other. A figure is the median of the turns; a ratio is the time of jaxgroups
over torch's, both with channels last. Mode "gradients" is the forward pass together with the
gradients of input and parameters, as a training step computes them.

In both processes freed memory stays with the process (KEEP), unless GLIBC_TUNABLES is set. Without
this the system gives and takes the pages of a large result in every call, which took up to ten
times as long as the operation.
"""

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import jax
import numpy as np
from flax import nnx

from benchmarks import machine
from benchmarks.feature_cases import CASES, Case
from benchmarks.measure import check
from jaxgroups import nnx as layers

WORKER = "benchmarks.feature_worker"
SIDES = ("torch", "jaxgroups")
MODES = ("forward", "gradients")
TOLERANCE = 1e-4
KEEP = "glibc.malloc.arena_max=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=4294967296"
SECONDS = 0.02  # of a turn
STATISTICS = {"median": median, "min": min}


class Side:
    """The process of one contestant."""

    def __init__(self, name: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", WORKER, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES", KEEP)},
        )

    def ask(self, **request: Any) -> float:
        """The answer to a request.

        Raises:
          SystemExit: the process ended; it has printed why.
        """
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the worker has no pipes")
        print(json.dumps(request), file=stdin, flush=True)
        answer = stdout.readline()
        if not answer:
            raise SystemExit(f"the process of {self.process.args} ended")
        return json.loads(answer)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()  # closes the pipes


def row_of(
    sides: dict[str, Side],
    case: Case,
    batch: int,
    mode: str,
    folder: Path,
    turns: int,
    statistic: str = "median",
) -> dict[str, Any]:
    """The measurements of one case, after the results of both sides were compared."""
    request = request_of(case, batch, mode)
    results = {}
    for name, side in sides.items():
        path = folder / f"{name}.npz"
        side.ask(case=request, results=str(path))
        with np.load(path) as found:
            results[name] = [found[key] for key in found.files]
    check(f"{case}, {mode}", results["jaxgroups"], results["torch"], TOLERANCE)
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(turns):
        for name, side in sides.items():
            samples[name].append(side.ask(seconds=SECONDS))
    seconds = {name: STATISTICS[statistic](of) for name, of in samples.items()}
    about = {"family": case.family, "case": str(case), "batch": batch, "mode": mode}
    return about | {"seconds": seconds, "ratio": seconds["jaxgroups"] / seconds["torch"]}


def request_of(case: Case, batch: int, mode: str) -> dict[str, Any]:
    """What the worker has to know of a case."""
    layer = getattr(layers, case.layer)(**case.arguments)
    graph, state = nnx.split(layer)
    x = jax.ShapeDtypeStruct((batch, *case.size), "float32")
    output = jax.eval_shape(lambda state, x: nnx.merge(graph, state)(x), state, x)
    return {
        "layer": case.layer,
        "arguments": case.arguments,
        "size": case.size,
        "batch": batch,
        "mode": mode,
        "output": output.shape,
        "threads": machine.cores(),
    }


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def summary(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The geometric means of the ratios, of each family and of all, and the worst ratio."""
    groups: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in rows:
        for family in (row["family"], "all"):
            groups[row["mode"], family].append(row["ratio"])
    return [
        f"{mode:<10} {family:<22} {geometric_mean(found):5.2f} (worst {max(found):.2f}) of "
        f"{len(found)}"
        for (mode, family), found in groups.items()
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ops --features")
    add = parser.add_argument
    add("--match", metavar="REGEX", help="only cases whose family or text matches")
    add("--batch", nargs="+", type=int, default=[1, 4], help="default: 1 4")
    add("--mode", nargs="+", choices=MODES, default=list(MODES), help="default: all")
    add("--turns", type=int, default=9, help="of each side; default: %(default)s")
    add("--statistic", choices=list(STATISTICS), default="median", help="default: %(default)s")
    add("--threads", type=int, help="cores for each side; default: all")
    add("--json", type=Path, metavar="FILE", help="write all measurements")
    args = parser.parse_args(argv)
    cases = [c for c in CASES if re.search(args.match or "", f"{c.family} {c}")]
    if not cases:
        raise SystemExit(f"no case matches {args.match!r}")
    machine.restrict(args.threads)
    found = machine.describe() | {"threads": machine.cores()}
    print(*machine.lines(found), sep="\n")
    print("ratio jaxgroups / torch, then both in ms")
    rows = []
    sides = {name: Side(name) for name in SIDES}
    try:
        with tempfile.TemporaryDirectory() as folder:
            for mode in args.mode:
                for case in cases:
                    for batch in args.batch:
                        row = row_of(
                            sides, case, batch, mode, Path(folder), args.turns, args.statistic
                        )
                        ours, theirs = (1e3 * row["seconds"][s] for s in ("jaxgroups", "torch"))
                        print(
                            f"{row['ratio']:6.2f} {ours:9.3f} {theirs:9.3f}  {mode} {batch}x{case}",
                            flush=True,
                        )
                        rows.append(row)
    finally:
        for side in sides.values():
            side.close()
    print(f"geometric means on {found['processor']}:", *summary(rows), sep="\n")
    if args.json is not None:
        content = {"machine": found, "rows": rows}
        args.json.write_text(json.dumps(content, indent=1) + "\n")
    return 0
