"""Whole networks: ``python -m benchmarks.models [--model NAME ...]``."""

import argparse
import copy
import sys
from collections.abc import Sequence
from functools import cache, partial

from torch.utils.flop_counter import FlopCounterMode

from benchmarks import commandline, measure, networks, text
from benchmarks import network_sides as sides
from benchmarks.timing import Rounds

KINDS = ("torch", "lax", "jaxgroups")
DEFAULT = ("mobilenetv2_w1", "resnext50_32x4d", "efficientnet_b0", "shufflenetv2_w1")

# relative to the largest value: output; loss, gradients, running means. Rounding can move a value
# across the corner of a relu: torch's gradients in its two layouts differ by 4% in float32.
TOLERANCES = {"inference": (1e-4,), "training": (1e-4, 0.1, 1e-4)}

_network = cache(networks.torch_network)


def network_row(name: str, batch: int, mode: str, names: Sequence[str], how: Rounds) -> dict:
    """One network in one mode, in the form of `measure.layer_row`."""
    model = _network(name)
    with FlopCounterMode(display=False) as counter:
        sides.by_torch(model, batch, "inference", "contiguous").call()
    forwards = 3 if mode == "training" else 1  # torch counts grouped gradients as if ungrouped
    exact = sides.by_torch(copy.deepcopy(model).double(), batch, mode, "contiguous")
    contestants = sides.all_of(name, model, batch, mode, tuple(names))
    flops = counter.get_total_flops() * forwards
    row = {"model": name, "batch": batch, "mode": mode, "flops": flops}
    where = f"{name}, {mode}, batch {batch}"
    return row | measure.contest(contestants, exact.results(), TOLERANCES[mode], how, where)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    about = (
        "Time of whole networks, inference and training step: PyTorch (both memory layouts), "
        "Flax with lax's convolutions, and Flax with jaxgroups; all with the same weights. "
        "Results are compared with PyTorch's before anything is timed."
    )
    parser = commandline.parser("models", about, sides.MODES)
    add = parser.add_argument
    add(
        "--model",
        nargs="+",
        choices=[*networks.NETWORKS, "all"],
        default=list(DEFAULT),
        help=f"default: {' '.join(DEFAULT)}",
    )
    add("--contestants", nargs="+", choices=KINDS, default=list(KINDS), help="default: all")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = arguments(argv)
    chosen = list(networks.NETWORKS) if "all" in args.model else args.model
    found = commandline.begin(args)
    how = commandline.rounds(args)
    jobs = [
        partial(network_row, name, batch, mode, args.contestants, how)
        for mode in args.mode
        for name in chosen
        for batch in args.batch
    ]
    print(text.LEGEND)
    print(text.HEADER)
    commandline.finish(args, found, commandline.run(args, jobs, found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
