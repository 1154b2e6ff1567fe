"""The kernels of two installations of jaxgroups: ``python -m benchmarks.compare_installs OLD NEW``.

OLD and NEW are Python executables, each of an environment with jaxgroups; ``PYTHON:FOLDER`` has
FOLDER in front of its PYTHONPATH. Each runs in a process of its own on the same processors. They
take turns at each layer, and the least CPU time of each counts, so that a busy machine disturbs
little. What is printed is the time of NEW divided by that of OLD: below 1, NEW is faster.
"""

import argparse
import json
import math
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import table

WORKER = Path(__file__).with_name("compare_worker.py")
MODES = ("forward", "gradients")


class Side:
    """The process of one installation."""

    def __init__(self, place: str, cpus: Iterable[int]) -> None:
        python, _, folder = place.partition(":")
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        if folder:
            environment["PYTHONPATH"] = folder
        wanted = set(cpus)
        self.process = subprocess.Popen(
            [python, "-P", str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            preexec_fn=lambda: os.sched_setaffinity(0, wanted),
        )

    def time(self, seconds: float, layer: dict[str, Any] | None = None) -> float:
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the worker has no pipes")
        request: dict[str, Any] = {"seconds": seconds} | ({"layer": layer} if layer else {})
        print(json.dumps(request), file=stdin, flush=True)
        answer = stdout.readline()
        if not answer:
            raise SystemExit(f"{self.process.args} ended")
        return json.loads(answer)


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


def geometric_mean(ratios: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


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
    add("--every", type=int, default=1, help="only each n-th layer; default: %(default)s")
    add("--cpus", nargs="+", type=int, default=sorted(os.sched_getaffinity(0))[:1])
    args = parser.parse_args(argv)
    layers = [layer for path in args.tables for layer in table.read(path)]
    layers = [layer for layer in layers if layer.matches(args.match)][:: args.every]
    sides = [Side(place, args.cpus) for place in (args.old, args.new)]
    summary: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    for mode in args.mode:
        for layer in layers:
            for batch in layer.batches(args.batch):
                request = request_of(layer, batch, mode)
                least = [side.time(args.seconds, request) for side in sides]
                for _ in range(args.turns - 1):
                    least = [
                        min(t, side.time(args.seconds))
                        for t, side in zip(least, sides, strict=True)
                    ]
                ratio = least[1] / least[0]
                print(
                    f"{ratio:6.3f}  {least[0] * 1e3:9.4f} ms  {mode} {layer.problem(batch)}",
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
