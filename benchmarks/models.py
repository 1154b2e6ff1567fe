"""Whole networks: ``python -m benchmarks.models [--model NAME ...]``."""

import argparse
import copy
import sys
import warnings
from collections.abc import Iterable, Sequence
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import commandline, measure, networks
from benchmarks.contestants import WITHOUT_KERNELS
from benchmarks.network_torch import by_torch, random_network
from benchmarks.networks import MODES, NETWORKS
from benchmarks.torch_side import LAYOUTS
from benchmarks.turns import Start, Turns, Workers

TARGETS = {
    "torch": "benchmarks.network_torch:prepare",
    "flax": "benchmarks.network_flax:prepare",
    "keeping": "benchmarks.network_flax:prepare_keeping",
    "rivals": "benchmarks.network_rivals:prepare",
}
KINDS = {
    "torch": Start(TARGETS["torch"]),
    "torch-compile": Start(TARGETS["torch"], optional=True),
    "onnxruntime": Start(TARGETS["rivals"], optional=True),
    "openvino": Start(TARGETS["rivals"], optional=True),
    "lax": Start(TARGETS["flax"]),
    "jaxgroups": Start(TARGETS["flax"]),
    "jaxgroups-optimize": Start(TARGETS["flax"]),
    "jaxgroups-keep_memory": Start(TARGETS["keeping"]),
    "without_kernels": Start(TARGETS["flax"], environment=WITHOUT_KERNELS),
}
INFERENCE_ONLY = ("torch-compile", "onnxruntime", "openvino", "jaxgroups-optimize")
PACKAGES = {"onnxruntime": ("onnxruntime", "onnx"), "openvino": ("openvino", "onnx")}
DEFAULT = ("mobilenetv2_w1", "resnext50_32x4d", "efficientnet_b0", "shufflenetv2_w1")

# relative to the largest value: output; loss, gradients, running means. Rounding can move a value
# across the corner of a relu: torch's gradients in its two layouts differ by 4% in float32.
TOLERANCES = {"inference": (1e-4,), "training": (1e-4, 0.1, 1e-4)}


@cache
def _network(name: str) -> torch.nn.Module:
    return random_network(NETWORKS[name].torch, networks.SIZE)


def starts(names: Iterable[str]) -> dict[str, Start]:
    """The processes of the contestants; torch is two."""
    found = {}
    for name in names:
        each = [f"torch {layout}" for layout in LAYOUTS] if name == "torch" else [name]
        found |= dict.fromkeys(each, KINDS[name])
    return found


def without_packages(names: Iterable[str]) -> dict[str, str]:
    """The contestants whose packages are not installed, with what to install."""
    left_out = {}
    for name in names:
        missing = [package for package in PACKAGES.get(name, ()) if find_spec(package) is None]
        if missing:
            left_out[name] = (
                f"{' and '.join(missing)} not installed: pip install {' '.join(missing)}"
            )
    return left_out


def runs(name: str, mode: str) -> bool:
    """Whether a contestant takes part in a mode."""
    return mode == "inference" or name not in INFERENCE_ONLY


def network_row(
    workers: Workers, name: str, batch: int, mode: str, how: Turns, threads: int
) -> dict:
    """One network in one mode, in the form of `contestants.layer_row`."""
    model, size = _network(name), networks.SIZE
    with FlopCounterMode(display=False) as counter:
        by_torch(model, batch, "inference", "contiguous", size).call()
    forwards = 3 if mode == "training" else 1  # torch counts grouped gradients as if ungrouped
    exact = by_torch(copy.deepcopy(model).double(), batch, mode, "contiguous", size).results()
    names = [one for one in workers if runs(one, mode)]
    state = workers.folder / f"{name}.safetensors"
    if not state.exists():
        save_file(model.state_dict(), state)
    request = {
        "torch": NETWORKS[name].torch,
        "twin": NETWORKS[name].twin,
        "state": str(state),
        "batch": batch,
        "mode": mode,
        "size": size,
        "threads": threads,
    }
    if any(one in PACKAGES for one in names):
        request["onnx"] = str(onnx_file(workers.folder, name, batch))
    flops = counter.get_total_flops() * forwards
    row = {"model": name, "batch": batch, "mode": mode, "flops": flops}
    where = f"{name}, {mode}, batch {batch}"
    return row | measure.contest(workers, request, exact, TOLERANCES[mode], how, where, names)


def onnx_file(folder: Path, name: str, batch: int) -> Path:
    """The network in evaluation, exported by torch for one batch."""
    path = folder / f"{name}-{batch}.onnx"
    if not path.exists():
        images, _ = networks.inputs(batch, networks.SIZE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the newer needs onnxscript
            torch.onnx.export(
                copy.deepcopy(_network(name)).eval(),
                (torch.from_numpy(images),),
                str(path),
                dynamo=False,
            )
    return path


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    about = (
        "Time of whole networks, inference and training step: PyTorch (both memory layouts), "
        "Flax with lax's convolutions, and Flax with jaxgroups; inference also by torch.compile "
        "with freezing, ONNX Runtime, OpenVINO, and jaxgroups.optimize. jaxgroups-keep_memory "
        "calls jaxgroups.keep_memory first. All have the same weights, and each has a process of "
        "its own. Results are compared with PyTorch's before anything is timed."
    )
    parser = commandline.parser("models", about, MODES)
    add = parser.add_argument
    add(
        "--model",
        nargs="+",
        choices=[*NETWORKS, "all"],
        default=list(DEFAULT),
        help=f"default: {' '.join(DEFAULT)}",
    )
    commandline.add_contestants(parser, KINDS)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if argv is None else argv)
    args = arguments(given)
    chosen = list(NETWORKS) if "all" in args.model else args.model
    left_out = without_packages(args.contestants)
    found = commandline.begin(args)
    for name, reason in left_out.items():
        print(f"LEFT OUT: {name}: {reason}")
    names = [name for name in args.contestants if name not in left_out]
    modes = [mode for mode in args.mode if any(runs(name, mode) for name in names)]
    if not modes:
        raise SystemExit(f"no contestant of {' '.join(args.contestants)} can run")
    how, threads = commandline.turns(args), found["threads"]
    with Workers(starts(names)) as workers:
        jobs = [
            partial(network_row, workers, name, batch, mode, how, threads)
            for mode in modes
            for name in chosen
            for batch in args.batch
        ]
        rows = commandline.run(args, jobs, found)
    commandline.finish(args, ["benchmarks.models", *given], found, rows, left_out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
