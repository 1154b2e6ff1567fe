"""What both benchmarks ask on the command line, and how both begin and end."""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks import machine, measure, plot, report, text
from benchmarks.timing import Rounds

DEFAULTS = Rounds()


def parser(program: str, about: str, modes: tuple[str, ...]) -> argparse.ArgumentParser:
    """The options that both have."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.{program}", description=about)
    add = made.add_argument
    add("--batch", type=_positive, nargs="+", default=[1, 4], metavar="N", help="default: 1 4")
    add("--mode", nargs="+", choices=modes, default=list(modes), help="default: all")
    add("--threads", type=_positive, help="cores to use, of both sides; default: all there are")
    add(
        "--rounds",
        type=_positive,
        default=DEFAULTS.rounds,
        help="measurements of each contestant, in turns; default: %(default)s",
    )
    add(
        "--repeat",
        type=_positive,
        default=1,
        metavar="TIMES",
        help="go through everything again, so that a disturbance of minutes shows as spread",
    )
    add(
        "--statistic",
        choices=("median", "min"),
        default=DEFAULTS.statistic,
        help="what counts of a contestant's measurements; default: %(default)s",
    )
    add(
        "--budget",
        type=float,
        default=DEFAULTS.budget,
        metavar="SECONDS",
        help="for all rounds of one contestant; a slow one gets fewer; default: %(default)s",
    )
    add("--json", type=Path, metavar="FILE", help="write everything measured")
    add("--plot", type=Path, metavar="FILE", help="draw it; needs matplotlib")
    return made


def _positive(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return value


def rounds(args: argparse.Namespace) -> Rounds:
    return Rounds(rounds=args.rounds, budget=args.budget, statistic=args.statistic)


def begin(args: argparse.Namespace) -> dict:
    """Threads set and equal on both sides, limits measured, and the machine told."""
    for path in (args.json, args.plot):
        if path is not None and not path.absolute().parent.is_dir():
            raise SystemExit(f"{path}: there is no such folder")
    machine.restrict(args.threads)
    torch.set_num_threads(machine.cores())
    found = machine.describe() | {"threads": machine.cores()}
    found["limits"] = machine.limits()
    for line in machine.lines(found):
        print(line)
    print(
        f"{args.statistic} of {args.rounds} rounds (fewer where {args.budget:g} s are over), "
        f"contestants in turns, {args.repeat} time(s) through everything"
    )
    return found


def run(args: argparse.Namespace, jobs: Sequence[Callable[[], dict]], found: dict) -> list[dict]:
    """Every job, `args.repeat` times; a row is shown as it comes, passes are merged.

    Interrupted from the keyboard, what was measured until then is reported.
    """
    rows: list[dict] = []
    mode = None
    try:
        for turn in range(args.repeat):
            if turn:
                print(f"once more, {turn + 1} of {args.repeat}")
            for i, job in enumerate(jobs):
                row = job()
                if row["mode"] != mode:
                    mode = row["mode"]
                    print(f"-- {mode}")
                for line in text.row_lines(row, found["limits"]):
                    print(line, flush=True)
                if turn:
                    measure.merge(rows[i], row, args.statistic)
                else:
                    rows.append(row)
    except measure.WrongResult as error:
        raise SystemExit(f"wrong result, nothing is reported: {error}") from error
    except KeyboardInterrupt:
        print(f"interrupted after {len(rows)} of {len(jobs)}")
    return rows


def finish(args: argparse.Namespace, found: dict, rows: list[dict]) -> None:
    """Means, file, picture."""
    means = report.summary(rows)
    for line in text.summary_lines(means, found["limits"]):
        print(line)
    if (count := report.disturbed(rows)) > 0:
        print(
            f"\n{count} of {len(rows)} rows were measured while other programs took more than 5% "
            "of the cores: compare nothing closely"
        )
    asked = {
        name: [str(v) for v in value] if isinstance(value, list) else value
        for name, value in vars(args).items()
        if name not in ("json", "plot")
    }
    if args.json is not None:
        content = {"machine": found, "settings": asked, "summary": means, "rows": rows}
        args.json.write_text(json.dumps(content, indent=1) + "\n")
    if args.plot is not None:
        plot.save(rows, args.plot, "\n".join(machine.lines(found)))
