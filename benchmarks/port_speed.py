"""Ported networks beside PyTorch: ``python -m benchmarks.port_speed [NAME ...]``.

Each network of ``port_networks.csv`` is ported, and takes turns with the original: PyTorch in two
memory layouts, the ported network under ``jax.jit``, and for inference ``jaxgroups.optimize`` of
it. Each has a process of its own (`benchmarks.turns`). A training step is forward in training mode,
the mean square of all outputs, backward, and SGD; dropout is off. The outputs, or the losses of
three steps, are compared before anything is timed.

The rows are appended to a CSV file: times in milliseconds, and ratios to PyTorch's faster layout.
Rows that are there are not measured again.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.measure import contest
from benchmarks.port_families import NETWORKS, append, network, rows
from benchmarks.turns import Start, Turns, WorkerFailed, Workers

FIELDS = ("model", "mode", "batch", "torch_ms", "ported", "optimized", "others", "error")
SIDES = {
    "torch contiguous": Start("benchmarks.port_sides:by_torch"),
    "torch channels_last": Start("benchmarks.port_sides:by_torch"),
    "ported": Start("benchmarks.port_sides:by_jax"),
    "optimized": Start("benchmarks.port_sides:by_jax", optional=True),
}
TOLERANCES = {"inference": 1e-3, "training": 1e-2}  # float32, networks of a hundred layers


def main() -> None:
    """Measure the networks that have no row yet, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("models", nargs="*", help="names of pytorchcv (default: all of port_networks.csv)")
    add("--mode", nargs="+", choices=[*TOLERANCES], default=[*TOLERANCES])
    add("--batch", type=int, nargs="+", default=[1, 4])
    add("-o", "--output", type=Path, default=Path("docs/port-speed.csv"))
    arguments = parser.parse_args()
    known = rows(arguments.output) if arguments.output.exists() else []
    done = {(row["model"], row["mode"], row["batch"]) for row in known}
    for entry in rows(NETWORKS):
        if arguments.models and entry["model"] not in arguments.models:
            continue
        wanted = [
            (mode, batch)
            for mode in arguments.mode
            for batch in arguments.batch
            if (entry["model"], mode, str(batch)) not in done
        ]
        if wanted:
            for row in measured(entry, wanted):
                append(arguments.output, FIELDS, row)


def measured(entry: dict[str, str], wanted: list[tuple[str, int]]) -> list[dict[str, Any]]:
    """The rows of one network."""
    import torch

    from jaxgroups.port import PortError, port

    size = [int(entry["channels"]), *map(int, entry["size"].split("x"))]
    module = network(entry["model"])
    for part in module.modules():
        if isinstance(part, torch.nn.modules.dropout._DropoutNd):
            part.p = 0.0
    found = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            ported = port(module, (1, *size))
        except PortError as error:
            text = " ".join(str(error).split())[:200]
            return [
                {"model": entry["model"], "mode": mode, "batch": batch, "error": text}
                for mode, batch in wanted
            ]
        ported.write(folder)
        torch.save(module, Path(folder) / "module.pt")
        request = {
            "folder": folder,
            "name": ported.name,
            "inputs": ported.inputs[0],
            "outputs": ported.outputs,
            "threads": machine.cores(),
        }
        del module, ported
        for mode, batch in wanted:
            row = {"model": entry["model"], "mode": mode, "batch": batch}
            found.append(row | _row(request | {"mode": mode, "shape": [batch, *size]}))
    return found


def _row(request: dict[str, Any]) -> dict[str, Any]:
    mode = request["mode"]
    sides = {k: v for k, v in SIDES.items() if mode == "inference" or k != "optimized"}
    where = f"{request['name']}, {mode}, {request['shape']}"
    try:
        with Workers(sides) as workers:
            found = contest(workers, request, None, TOLERANCES[mode], Turns(), where)
    except WorkerFailed as error:
        return {"error": " ".join(str(error).split())[:200]}
    times = {name: entry["seconds"] for name, entry in found["contestants"].items()}
    torch = min(seconds for name, seconds in times.items() if name.startswith("torch"))
    row: dict[str, Any] = {"torch_ms": f"{1e3 * torch:.2f}"}
    row |= {name: f"{times[name] / torch:.2f}" for name in ("ported", "optimized") if name in times}
    row["others"] = f"{found['others'] or 0:.2f}"
    return row | {"error": "; ".join(f"{name}: {why}" for name, why in found["absent"].items())}


if __name__ == "__main__":
    sys.exit(main())
