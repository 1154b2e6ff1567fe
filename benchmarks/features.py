"""Pools, resizes and norms against torch: ``python -m benchmarks.ops --features``.

Each side runs in a process of its own, and they take turns (`benchmarks.turns`). A figure is the
median of the turns; a ratio is the time of jaxgroups over torch's, both with channels last. Mode
"gradients" is the forward pass together with the gradients of input and parameters, as a training
step computes them.

In both processes freed memory stays with the process (KEEP), unless GLIBC_TUNABLES is set. Without
this the system gives and takes the pages of a large result in every call, which took up to ten
times as long as the operation.
"""

import argparse
import json
import os
import re
import shlex
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from benchmarks import machine
from benchmarks.feature_cases import CASES, Case
from benchmarks.measure import contest
from benchmarks.report import geometric_mean
from benchmarks.turns import Start, Turns, Workers
from jaxgroups import nnx as layers

TARGET = "benchmarks.feature_sides:prepare"
DEFAULTS = Turns()
SIDES = ("torch", "jaxgroups")
MODES = ("forward", "gradients")
TOLERANCE = 1e-4
KEEP = "glibc.malloc.arena_max=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=4294967296"


def starts() -> dict[str, Start]:
    keep = {"GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES", KEEP)}
    return {name: Start(TARGET, environment=keep) for name in SIDES}


def row_of(workers: Workers, case: Case, batch: int, mode: str, how: Turns) -> dict[str, Any]:
    """The measurements of one case, after the results of both sides were compared."""
    request = request_of(case, batch, mode)
    found = contest(workers, request, None, TOLERANCE, how, f"{case}, {mode}")["contestants"]
    about = {"family": case.family, "case": str(case), "batch": batch, "mode": mode}
    seconds = {name: found[name]["seconds"] for name in SIDES}
    return about | {
        "seconds": seconds,
        "median": {name: found[name]["median"] for name in SIDES},
        "min": {name: found[name]["min"] for name in SIDES},
        "ratio": seconds["jaxgroups"] / seconds["torch"],
    }


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
    add("--warm", type=float, default=DEFAULTS.warm, help="seconds; default: %(default)s")
    add("--seconds", type=float, default=DEFAULTS.seconds, help="of a turn; default: %(default)s")
    add("--statistic", choices=("median", "min"), default="median", help="default: %(default)s")
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
    how = Turns(args.turns, args.warm, args.seconds, statistic=args.statistic)
    rows = []
    with Workers(starts()) as workers:
        for mode in args.mode:
            for case in cases:
                for batch in args.batch:
                    row = row_of(workers, case, batch, mode, how)
                    ours, theirs = (1e3 * row["seconds"][s] for s in ("jaxgroups", "torch"))
                    print(
                        f"{row['ratio']:6.2f} {ours:9.3f} {theirs:9.3f}  {mode} {batch}x{case}",
                        flush=True,
                    )
                    rows.append(row)
    print(f"geometric means on {found['processor']}:", *summary(rows), sep="\n")
    if args.json is not None:
        given = list(sys.argv[1:] if argv is None else argv)
        command = shlex.join(["python", "-m", "benchmarks.ops", "--features", *given])
        content = {"command": command, "commit": found["commit"], "machine": found, "rows": rows}
        args.json.write_text(json.dumps(content, indent=1) + "\n")
    return 0
