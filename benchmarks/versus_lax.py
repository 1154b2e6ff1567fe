"""The default choice against lax: ``python -m benchmarks.versus_lax [layers.csv ...]``.

Forward, gradient of the input and gradient of the weight are jitted apart, by jaxgroups without an
``implementation`` and by ``lax.conv_general_dilated``, each in a process of its own. Results are
compared first, then both are timed in turn. A row above LIMIT is measured again, with all samples
of both measurements, so that a disturbance of one of them does not count.

``JAXGROUPS_NATIVE=avx2`` measures the AVX2 kernels on a processor with AVX-512, and
``JAXGROUPS_NATIVE=0`` the choice without kernels. XLA keeps its widest instructions in both.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine, measure, table
from benchmarks.data import Data
from benchmarks.table import Layer
from benchmarks.turns import Start, Turns, Workers
from jaxgroups import _native as native

STARTS = {name: Start("benchmarks.jax_side:prepare") for name in ("lax", "jaxgroups")}
TABLE = table.HERE / "dense_layers.csv"
MODES = ("forward", "input", "weight")
LIMIT = 1.1  # of the times of a call, jaxgroups over lax
COMPILE_FACTOR, COMPILE_SECONDS = 2.0, 0.5  # lax's compile time times this plus that is allowed
LONG = 1.0  # seconds: a problem of which one call takes longer is left out


def row_of(
    workers: Workers, layer: Layer, batch: int, mode: str, dtype: str, how: Turns, again: int
) -> dict | None:
    """The measurements of one problem; None where a call would take more than LONG."""
    spec = layer.problem(batch, dtype)
    path = workers.folder / "data.npz"
    Data.random(spec).save(path)
    request = {"spec": str(spec), "mode": mode, "data": str(path), "limit": LONG}
    where = f"{layer.model}, {spec}, {mode}"

    def contest() -> dict:
        tolerance = measure.TOLERANCE[dtype]
        return measure.contest(workers, request, None, tolerance, how, where)

    row = {"model": layer.model, "spec": str(spec), "mode": mode, "dtype": dtype} | contest()
    if row["absent"]:
        return None
    for _ in range(again):
        if ratio(row) > LIMIT:
            measure.merge(row, contest(), how.statistic)
    return row


def ratio(row: dict) -> float:
    """Time of jaxgroups over lax's."""
    entries = row["contestants"]
    return entries["jaxgroups"]["seconds"] / entries["lax"]["seconds"]


def compiles_slowly(row: dict) -> bool:
    ours, lax = (row["contestants"][name]["compile_seconds"] for name in ("jaxgroups", "lax"))
    return ours > COMPILE_FACTOR * lax + COMPILE_SECONDS


def line(row: dict) -> str:
    ours, lax = row["contestants"]["jaxgroups"], row["contestants"]["lax"]
    mark = ("*" if ratio(row) > LIMIT else " ") + ("c" if compiles_slowly(row) else " ")
    return (
        f"{ratio(row):6.2f}{mark} {1e3 * ours['seconds']:9.3f} {1e3 * lax['seconds']:9.3f} ms "
        f"{','.join(ours['lowerings']):<8} {ours['compile_seconds']:5.2f} "
        f"{lax['compile_seconds']:5.2f} s  {row['dtype']:<8} {row['mode']:<7} "
        f"{row['model']} {row['spec']}"
    )


def on() -> str:
    """The instruction set of the kernels in use, or why there is none."""
    status = native.status()
    return f"kernels: {status.missing or status.instruction_sets[0]}"


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versus_lax", description=__doc__)
    add = parser.add_argument
    add("tables", nargs="*", type=Path, default=[TABLE], help="default: dense_layers.csv")
    add("--match", metavar="REGEX", help="only layers whose model, descriptor or family matches")
    add("--mode", nargs="+", choices=MODES, default=list(MODES), help="default: all")
    add("--dtype", nargs="+", choices=list(measure.TOLERANCE), default=["float32"])
    add("--batch", type=int, nargs="+", default=[1], help="of layers without one; default: 1")
    add("--rounds", type=int, default=7, help="of each measurement; default: %(default)s")
    add("--again", type=int, default=2, help="measurements more of a row above the limit")
    add("--budget", type=float, default=1.0, metavar="SECONDS", help="for all rounds of one side")
    add("--statistic", choices=("median", "min"), default="min")
    add("--cpu", action="store_true", help="CPU time instead of elapsed time; use --threads 1")
    add("--threads", type=int, help="cores for both sides; default: all")
    add("--json", type=Path, metavar="FILE", help="write all measurements")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = arguments(argv)
    try:
        layers = [la for path in args.tables for la in table.read(path) if la.matches(args.match)]
    except table.TableError as error:
        raise SystemExit(f"not a table of layers: {error}") from error
    machine.restrict(args.threads)
    found = machine.describe() | {"threads": machine.cores(), "kernels": on()}
    print(*machine.lines(found), on(), sep="\n")
    print(f"{args.statistic} of {args.rounds} rounds, {'CPU' if args.cpu else 'elapsed'} time")
    print("ratio, jaxgroups, lax, implementation, compile times of jaxgroups and lax")
    how = Turns(args.rounds, budget=args.budget, statistic=args.statistic, cpu=args.cpu)
    rows, left_out = [], 0
    jobs = [
        (layer, batch, mode, dtype)
        for dtype in args.dtype
        for layer in layers
        for batch in layer.batches(args.batch)
        for mode in args.mode
    ]
    with Workers(STARTS) as workers:
        for layer, batch, mode, dtype in jobs:
            row = row_of(workers, layer, batch, mode, dtype, how, args.again)
            if row is None:
                left_out += 1
                continue
            rows.append(row)
            print(line(row), flush=True)
    slower = [row for row in rows if ratio(row) > LIMIT]
    print(
        f"\n{len(rows)} problems: {len(slower)} above {LIMIT}, "
        f"{sum(map(compiles_slowly, rows))} above {COMPILE_FACTOR:g} times lax's compile time "
        f"plus {COMPILE_SECONDS} s; {left_out} left out, of which a call takes over {LONG:g} s"
    )
    for row in sorted(slower, key=ratio, reverse=True):
        print(line(row))
    if args.json is not None:
        args.json.write_text(json.dumps({"machine": found, "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
