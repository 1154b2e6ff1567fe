"""Single layers: ``python -m benchmarks.ops [layers.csv ...]``.

``python -m benchmarks.ops --features`` times pools, resizes and norms in place of convolutions.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax
import torch

from benchmarks import commandline, features, measure, table, text
from benchmarks.contestants import MODES
from jaxgroups._lowerings import dispatch

KINDS = ("torch", "lax", "jaxgroups")


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    about = (
        "Time of convolutions by PyTorch (both memory layouts), lax and jaxgroups: forward and "
        "both gradients. Results are compared with PyTorch's before anything is timed. With "
        "--features first: pools, resizes and norms (see --features --help)."
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
    add("--contestants", nargs="+", choices=KINDS, default=list(KINDS), help="default: all")
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
    if args.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    forced = dispatch.names() if "all" in args.implementation else args.implementation
    names = [*args.contestants, *(f"jaxgroups.{name}" for name in forced)]
    found = commandline.begin(args)
    how = commandline.rounds(args)
    jobs = [
        partial(measure.layer_row, layer, batch, mode, names, how, args.dtype, args.limit)
        for mode in args.mode
        for layer in layers
        for batch in layer.batches(args.batch)
    ]
    print(text.LEGEND)
    print(text.HEADER)
    with torch.inference_mode():
        rows = commandline.run(args, jobs, found)
    commandline.finish(args, found, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
