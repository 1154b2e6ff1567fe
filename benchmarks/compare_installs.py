"""The kernels of two installations of jaxgroups: ``python -m benchmarks.compare_installs OLD NEW``.

OLD and NEW are Python executables, each of an environment with jaxgroups; ``PYTHON:FOLDER`` has
FOLDER in front of its PYTHONPATH. Each runs in a process of its own on the same processors. The
results are compared. They take turns at each layer (`benchmarks.turns`), and the least CPU time of
a call of each counts, so that a busy machine disturbs little. What is printed is the time of NEW
divided by that of OLD: below 1, NEW is faster.
"""

import argparse
import math
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import table
from benchmarks.measure import TOLERANCE, check
from benchmarks.report import geometric_mean
from benchmarks.turns import Start, Turns, Workers

TARGET = f"{Path(__file__).with_name('installed_layer.py')}:prepare"
SIDES = ("OLD", "NEW")
MODES = ("forward", "gradients")


def start_of(place: str, cpus: Iterable[int]) -> Start:
    """The process of one installation."""
    python, _, folder = place.partition(":")
    return Start(TARGET, python=python, path=[folder] if folder else [], cpus=cpus)


def ratio_of(
    workers: Workers,
    layer: table.Layer,
    batch: int,
    mode: str,
    how: Turns,
    implementation: str = "native",
) -> tuple[float, float]:
    """The least CPU time of a call of NEW over that of OLD, and that of OLD."""
    request = request_of(layer, batch, mode) | {"implementation": implementation}
    results = []
    for name in workers:
        found = workers.prepare(name, request)
        if isinstance(found, str):
            raise SystemExit(f"{name}: {found}")
        results.append(found[1])
    where = f"NEW on {layer.problem(batch)}, {mode}"
    check(where, results[1], results[0], TOLERANCE["float32"], "OLD")
    old, new = (timed.least for timed in workers.take_turns(list(workers), how).values())
    return new / old, old


def request_of(layer: table.Layer, batch: int, mode: str) -> dict[str, Any]:
    """What the worker has to know of a layer."""
    spec = layer.problem(batch)
    arguments: dict[str, Any] = {
        "stride": list(spec.stride),
        "padding": [low for low, _ in spec.padding],
        "dilation": list(spec.dilation),
        "groups": spec.groups,
        "data_format": "channels_last",
    }
    if spec.transposed:
        arguments["output_padding"] = list(spec.output_padding)
    return {
        "op": spec.op,
        "mode": mode,
        "x": list(spec.input_shape),
        "w": list(spec.weight_shape),
        "y": list(spec.output_shape),
        "arguments": arguments,
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare_installs")
    add = parser.add_argument
    add("old")
    add("new")
    add("--tables", nargs="*", type=Path, default=list(table.OWN))
    add("--match", metavar="REGEX", help="only layers whose model, spec or family it finds")
    add("--batch", nargs="+", type=int, default=[1, 4])
    add("--mode", nargs="+", choices=MODES, default=list(MODES))
    add("--seconds", type=float, default=0.05, help="of one turn; default: %(default)s")
    add("--turns", type=int, default=5, help="default: %(default)s")
    add(
        "--implementation",
        default="native",
        help="of both; 'default': what each chooses; default: %(default)s",
    )
    add("--every", type=int, default=1, help="only each n-th layer; default: %(default)s")
    add("--cpus", nargs="+", type=int, default=sorted(os.sched_getaffinity(0))[:1])
    args = parser.parse_args(argv)
    layers = [layer for path in args.tables for layer in table.read(path)]
    layers = [layer for layer in layers if layer.matches(args.match)][:: args.every]
    starts = {
        name: start_of(place, args.cpus)
        for name, place in zip(SIDES, (args.old, args.new), strict=True)
    }
    how = Turns(args.turns, seconds=args.seconds, budget=math.inf, cpu=True)
    summary: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    with Workers(starts) as workers:
        for mode in args.mode:
            for layer in layers:
                for batch in layer.batches(args.batch):
                    ratio, old = ratio_of(workers, layer, batch, mode, how, args.implementation)
                    print(
                        f"{ratio:6.3f}  {old * 1e3:9.4f} ms  {mode} {layer.problem(batch)}",
                        flush=True,
                    )
                    for family in ("all", *table.families(layer.spec)):
                        summary[mode, batch, family].append(ratio)
    for (mode, batch, family), ratios in sorted(summary.items()):
        print(
            f"{mode:10} batch {batch:<3} {family:13} {geometric_mean(ratios):.3f} of {len(ratios)}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
