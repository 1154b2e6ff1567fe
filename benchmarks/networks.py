"""Networks of the package pytorchcv, their twins in Flax, and what a step computes."""

from dataclasses import dataclass

import numpy as np

SIZE, CLASSES = 224, 1000
COUNTERS = ("running_mean", "running_var", "num_batches_tracked")
MODES = ("inference", "training")
RATE = 1e-3  # small, so that the network does not diverge while it is timed
UNIT_RATE = 1.0  # for comparing a step: the change of the parameters is then the gradient


@dataclass(frozen=True)
class Network:
    """Two functions as ``MODULE:FUNCTION``: of a torch module, and of its twin for ``nnx.Rngs``."""

    torch: str
    twin: str


def _of_pytorchcv(name: str, module: str, twins: str) -> Network:
    return Network(f"pytorchcv.models.{module}:{name}", f"benchmarks.twins.{twins}:{name}")


NETWORKS = {
    name: _of_pytorchcv(name, module, twins)
    for name, module, twins in (
        ("mobilenetv2_w1", "mobilenetv2", "pytorchcv_more"),
        ("resnext50_32x4d", "resnext", "pytorchcv"),
        ("efficientnet_b0", "efficientnet", "pytorchcv_more"),
        ("shufflenetv2_w1", "shufflenetv2", "pytorchcv_more"),
        ("mnasnet_b1", "mnasnet", "pytorchcv_more"),
        ("mobilenetv3_large_w1", "mobilenetv3", "pytorchcv_more"),
        ("regnetx002", "regnet", "pytorchcv_more"),
        ("resnet50b", "resnet", "pytorchcv"),
    )
}


def inputs(batch: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Images in torch's layout, and their classes."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch, 3, size, size), dtype="float32")
    return images, rng.integers(0, CLASSES, batch)


def step_results(loss: float, before: dict, after: dict) -> list[np.ndarray]:
    """A training step as arrays to compare: loss, change of all parameters, running means.

    Running variances are not compared: torch's are unbiased, Flax's are not.
    """
    names = sorted(name for name in before if not name.endswith(COUNTERS))
    means = sorted(name for name in before if name.endswith("running_mean"))
    return [
        np.asarray([loss]),
        np.concatenate([(before[n] - after[n]).ravel() for n in names]),
        np.concatenate([after[n].ravel() for n in means]),
    ]
