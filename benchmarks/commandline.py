"""The command-line options of both benchmarks, and how both begin and end."""

import argparse
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from benchmarks import machine, measure, peak, plot, report, text
from benchmarks.turns import Turns, WorkerFailed

DEFAULTS = Turns()


def parser(program: str, about: str, modes: tuple[str, ...]) -> argparse.ArgumentParser:
    """A parser with the options of both benchmarks."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.{program}", description=about)
    add = made.add_argument
    add("--batch", type=_positive, nargs="+", default=[1, 4], metavar="N", help="default: 1 4")
    add("--mode", nargs="+", choices=modes, default=list(modes), help="default: all")
    add("--threads", type=_positive, help="cores for each side; default: all")
    add(
        "--rounds",
        type=_positive,
        default=DEFAULTS.turns,
        help="turns of each contestant; default: %(default)s",
    )
    add(
        "--warm",
        type=float,
        default=DEFAULTS.warm,
        metavar="SECONDS",
        help="untimed calls at the beginning of a turn; default: %(default)s",
    )
    add(
        "--seconds",
        type=float,
        default=DEFAULTS.seconds,
        metavar="SECONDS",
        help="timed calls of a turn, at least one; default: %(default)s",
    )
    add(
        "--repeat",
        type=_positive,
        default=1,
        metavar="TIMES",
        help="repeat the whole run; a disturbance that lasts minutes then increases the iqr",
    )
    add(
        "--statistic",
        choices=("median", "min"),
        default=DEFAULTS.statistic,
        help="statistic that the ratios compare; both are written; default: %(default)s",
    )
    add(
        "--budget",
        type=float,
        default=DEFAULTS.budget,
        metavar="SECONDS",
        help="for all turns of a contestant; slow ones get fewer turns; default: %(default)s",
    )
    add("--cpu", action="store_true", help="CPU time instead of elapsed time; use --threads 1")
    add(
        "--patience",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="wait up to SECONDS before each row until other programs are idle",
    )
    add("--json", type=Path, metavar="FILE", help="write all measurements")
    add("--plot", type=Path, metavar="FILE", help="draw the result; needs matplotlib")
    return made


def _positive(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a positive integer, got {text!r}")
    return value


def turns(args: argparse.Namespace) -> Turns:
    return Turns(args.rounds, args.warm, args.seconds, args.budget, args.statistic, args.cpu)


def begin(args: argparse.Namespace) -> dict:
    """Restrict the threads of all contestants, measure the limits, and print the machine."""
    for path in (args.json, args.plot):
        if path is not None and not path.absolute().parent.is_dir():
            raise SystemExit(f"{path}: the folder does not exist")
    machine.restrict(args.threads)
    torch.set_num_threads(machine.cores())
    found = machine.describe() | {"threads": machine.cores()}
    machine.wait_for_quiet(args.patience)
    found["limits"] = peak.limits(found["threads"])
    for line in machine.lines(found):
        print(line)
    print(
        f"{args.statistic} of {args.rounds} turns (fewer if they exceed {args.budget:g} s) of "
        f"{1e3 * args.warm:g} ms untimed and {1e3 * args.seconds:g} ms timed calls; "
        f"each contestant has a process of its own; {args.repeat} pass(es)"
    )
    return found


def run(args: argparse.Namespace, jobs: Sequence[Callable[[], dict]], found: dict) -> list[dict]:
    """Run every job `args.repeat` times, print each row, and merge the passes.

    After an interrupt from the keyboard, the rows measured so far are returned.
    """
    print(text.LEGEND)
    print(text.HEADER)
    rows: list[dict] = []
    mode = None
    try:
        for turn in range(args.repeat):
            if turn:
                print(f"pass {turn + 1} of {args.repeat}")
            for i, job in enumerate(jobs):
                machine.wait_for_quiet(args.patience)
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
        raise SystemExit(f"wrong result, so nothing is reported: {error}") from error
    except WorkerFailed as error:
        raise SystemExit(f"nothing is reported: {error}") from error
    except KeyboardInterrupt:
        print(f"interrupted after {len(rows)} of {len(jobs)}")
    return rows


def finish(
    args: argparse.Namespace,
    command: Sequence[str],
    found: dict,
    rows: list[dict],
    left_out: Mapping[str, str] | None = None,
) -> None:
    """Print the means, write the file and draw the picture.

    The file has the `command`, a module and its arguments, and the contestants `left_out` of all
    rows with the reasons.
    """
    found["load_after"] = machine.load()
    means = report.summary(rows)
    for line in text.summary_lines(means, found["limits"]):
        print(line)
    print()
    print(f"load after {found['load_after']}")
    for line in text.warning_lines(rows):
        print(line)
    asked = {
        name: [str(v) for v in value] if isinstance(value, list) else value
        for name, value in vars(args).items()
        if name not in ("json", "plot")
    }
    if args.json is not None:
        content = {
            "command": shlex.join(["python", "-m", *command]),
            "commit": found["commit"],
            "machine": found,
            "settings": asked,
            "left_out": dict(left_out or {}),
            "summary": means,
            "rows": rows,
        }
        args.json.write_text(json.dumps(content, indent=1) + "\n")
    if args.plot is not None:
        plot.save(rows, args.plot, "\n".join(machine.lines(found)))


def add_contestants(to: argparse.ArgumentParser, kinds: Sequence[str]) -> None:
    """Add ``--contestants`` with these choices."""
    to.add_argument(
        "--contestants",
        nargs="+",
        choices=kinds,
        default=[name for name in kinds if name != "without_kernels"],
        help="default: all but without_kernels, which is jaxgroups without its C++ kernels",
    )
