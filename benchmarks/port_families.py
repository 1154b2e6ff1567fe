"""Port one network of each of pytorchcv's families: ``python -m benchmarks.port_families``.

Each network runs in a process of its own: it is ported, filled with the original's weights, and
compared with it in float64: the outputs, and the gradients of a random linear functional of them
for every parameter and the input. The rows are appended to a CSV file. Networks that have a row
are skipped, so that an interrupted run can be continued.

Needs pytorchcv (``pip install --no-deps pytorchcv requests``), torch and the extra `port`.
"""

import argparse
import csv
import json
import re
import subprocess
import sys
import time
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

NETWORKS = Path(__file__).parent / "port_networks.csv"
FIELDS = (
    "family", "model", "parameters", "lines", "classes", "transpositions", "unused",
    "port_seconds", "outputs", "gradients", "error",
)  # fmt: skip


def main() -> None:
    """Run the networks that have no row yet, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*", help="names of pytorchcv (default: one a family)")
    parser.add_argument("-o", "--output", default="docs/port-families.csv")
    parser.add_argument("--sources", metavar="FOLDER", help="also write the ported sources there")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(measured(json.loads(arguments.models[0]), arguments.sources)))
        return
    output = Path(arguments.output)
    done = {row["model"] for row in rows(output)} if output.exists() else set()
    for entry in rows(NETWORKS):
        name = entry["model"]
        if name in done or (arguments.models and name not in arguments.models):
            continue
        append(output, FIELDS, _in_process(entry, arguments.sources))


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def append(path: Path, fields: Sequence[str], row: dict[str, Any]) -> None:
    """Add a row to a CSV file, which is made if it does not exist, and print it."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fields, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)
    print(row, flush=True)


def _in_process(entry: dict[str, str], sources: str | None) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.port_families", "--worker", json.dumps(entry)]
    command += ["--sources", sources] if sources else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    found = {name: entry.get(name, "") for name in FIELDS}
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return found | {"error": f"exit {done.returncode}: {last}"[:200]}
    return found | json.loads(lines[-1])


def measured(entry: dict[str, str], sources: str | None = None) -> dict[str, Any]:
    """Port and compare one network."""
    import torch

    module = network(entry["model"])
    size = tuple(map(int, entry["size"].split("x")))
    shape = (1, int(entry["channels"]), *size)
    found: dict[str, Any] = {"parameters": sum(p.numel() for p in module.parameters())}
    from jaxgroups.port import PortError, port

    start = time.perf_counter()
    try:
        ported = port(module, shape)
    except PortError as error:
        text = re.sub(r"\S*/site-packages/", "", " ".join(str(error).split()))
        return found | {"error": text[:200]}
    found["port_seconds"] = round(time.perf_counter() - start, 1)
    found["lines"] = len(ported.source.splitlines())
    found["classes"] = ported.source.count("\nclass ")
    found["transpositions"] = len(ported.transpositions)
    found["unused"] = len(ported.unused)
    if sources:
        folder = Path(sources)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{entry['model']}.py").write_text(ported.source, encoding="utf-8")
    outputs, gradients = compared(torch, ported, shape)
    told = "; ".join(note for note in ported.notes if "rule of its own" in note)
    found |= {"outputs": f"{outputs:.1e}", "gradients": f"{gradients:.1e}", "error": told}
    return found


def stub_torchvision() -> None:
    """Let pytorchcv be imported without torchvision, which one of its networks needs."""
    import torch

    class DeformConv2d(torch.nn.Module):
        """A placeholder for torchvision's."""

    if "torchvision" not in sys.modules:
        vision, operations = types.ModuleType("torchvision"), types.ModuleType("torchvision.ops")
        operations.DeformConv2d = DeformConv2d  # type: ignore[attr-defined]
        vision.ops = operations  # type: ignore[attr-defined]
        sys.modules |= {"torchvision": vision, "torchvision.ops": operations}


def network(name: str) -> Any:
    """A network of pytorchcv with random weights and random running statistics."""
    import torch

    stub_torchvision()
    from pytorchcv.model_provider import get_model  # type: ignore[import-not-found]

    torch.manual_seed(0)
    module = get_model(name, pretrained=False).eval()
    with torch.no_grad():
        for key, tensor in module.state_dict().items():
            if key.endswith(("running_mean", "running_var")):
                tensor.add_(torch.rand_like(tensor) / 4)
    return module


def compared(torch: Any, ported: Any, shape: tuple[int, ...]) -> tuple[float, float]:
    """The largest relative differences of outputs and of gradients, in float64."""
    import jax
    from flax import nnx

    from jaxgroups.convert import plan
    from jaxgroups.prove._mapping import pairs
    from jaxgroups.prove._tolerance import relative

    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape)
    torch.set_default_dtype(torch.float64)
    module = ported.module.double().eval()
    tensor = torch.from_numpy(x).requires_grad_(True)
    theirs = [y for y in jax.tree.leaves(module(tensor)) if y.is_floating_point()]
    weights = [rng.standard_normal(tuple(y.shape)) for y in theirs]
    total = sum((y * torch.from_numpy(w)).sum() for y, w in zip(theirs, weights, strict=True))
    named = dict(module.named_parameters())
    differentiated = [name for name, p in named.items() if p.requires_grad]
    grads = torch.autograd.grad(total, [*map(named.get, differentiated), tensor], allow_unused=True)
    with jax.enable_x64(True):
        model = ported.model()
        graph, params, rest = nnx.split(model, nnx.Param, ...)
        moved = [w.transpose(o) for w, o in zip(weights, ported.outputs, strict=True)]

        def value(params: Any, x: Any) -> Any:
            ours = jax.tree.leaves(nnx.merge(graph, params, rest)(x))
            return sum((y * w).sum() for y, w in zip(ours, moved, strict=True)), ours

        step = jax.jit(jax.value_and_grad(value, (0, 1), has_aux=True))
        (_, ours), (of_params, of_x) = step(params, x.transpose(ported.inputs[0]))
        outputs = max(
            relative(y.detach().numpy().transpose(o), np.asarray(z))
            for y, z, o in zip(theirs, ours, ported.outputs, strict=True)
        )
        found = plan(model, module.state_dict(), **ported.how(model))
        by_torch = {
            name: np.zeros(tuple(named[name].shape)) if g is None else g.numpy()
            for name, g in zip(differentiated, grads, strict=False)
        }
        flat = {
            ".".join(map(str, path)): np.asarray(leaf.get_value())
            for path, leaf in nnx.to_flat_state(of_params)
        }
        largest = max(float(np.abs(g).max()) for g in by_torch.values())
        gaps = [relative(p.theirs, p.ours, 1e-3 * largest) for p in pairs(found, by_torch, flat)]
        gaps.append(relative(grads[-1].numpy().transpose(ported.inputs[0]), np.asarray(of_x)))
    return outputs, max(gaps)


if __name__ == "__main__":
    main()
