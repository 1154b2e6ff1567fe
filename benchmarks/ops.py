"""Single layers: ``python -m benchmarks.ops [layers.csv ...]``.

``python -m benchmarks.ops --features`` times pools, resizes and norms in place of convolutions.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks import commandline, features, measure, table
from benchmarks.contestants import KINDS, MODES, layer_row, starts
from benchmarks.turns import Workers
from jaxgroups._lowerings import dispatch


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    about = (
        "Time of convolutions by PyTorch (both memory layouts), lax and jaxgroups: forward and "
        "both gradients. Each has a process of its own. Results are compared with PyTorch's before "
        "anything is timed. With --features first: pools, resizes and norms (see --features "
        "--help)."
    )
    parser = commandline.parser("ops", about, MODES)
    add = parser.add_argument
    add(
        "tables",
        nargs="*",
        type=Path,
        default=list(table.OWN),
        help="CSV files; default: layers.csv and more_layers.csv",
    )
    add("--match", metavar="REGEX", help="only layers whose model, descriptor or family matches")
    add(
        "--implementation",
        nargs="+",
        default=[],
        choices=[*dispatch.names(), "all"],
        help="also time these implementations of jaxgroups, besides its own choice",
    )
    commandline.add_contestants(parser, KINDS)
    add("--dtype", choices=list(measure.TOLERANCE), default="float32", help="default: float32")
    add(
        "--limit",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="leave out a contestant if one call takes longer; default: %(default)s",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["--features"]:
        return features.main(given[1:])
    args = arguments(given)
    try:
        layers = [layer for path in args.tables for layer in table.read(path)]
    except table.TableError as error:
        raise SystemExit(f"not a table of layers: {error}") from error
    layers = [layer for layer in layers if layer.matches(args.match)]
    if not layers:
        raise SystemExit(f"no layer matches {args.match!r}")
    forced = dispatch.names() if "all" in args.implementation else args.implementation
    names = [*args.contestants, *(f"jaxgroups.{name}" for name in forced)]
    found = commandline.begin(args)
    how, more = commandline.turns(args), (args.dtype, args.limit, found["threads"])
    with Workers(starts(names)) as workers:
        jobs = [
            partial(layer_row, workers, layer, batch, mode, how, *more)
            for mode in args.mode
            for layer in layers
            for batch in layer.batches(args.batch)
        ]
        rows = commandline.run(args, jobs, found)
    commandline.finish(args, ["benchmarks.ops", *given], found, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
