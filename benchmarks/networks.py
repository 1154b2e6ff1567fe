"""Networks of the package pytorchcv in PyTorch, and twins in Flax with the same weights."""

import importlib
import importlib.util
import tempfile
from pathlib import Path

import numpy as np
import torch
from flax import nnx
from safetensors.numpy import load_file

import jaxgroups as jg
import jaxgroups.convert as jc
import jaxgroups.nnx as jnn
from benchmarks.twins import pytorchcv, pytorchcv_more

# function of pytorchcv and of the twin -> module of pytorchcv
NETWORKS = {
    "mobilenetv2_w1": "mobilenetv2",
    "resnext50_32x4d": "resnext",
    "efficientnet_b0": "efficientnet",
    "shufflenetv2_w1": "shufflenetv2",
    "mnasnet_b1": "mnasnet",
    "mobilenetv3_large_w1": "mobilenetv3",
    "regnetx002": "regnet",
}
SIZE, CLASSES = 224, 1000
COUNTERS = ("running_mean", "running_var", "num_batches_tracked")


def torch_network(name: str) -> torch.nn.Module:
    """A network with random weights, the running statistics of a random batch, no dropout."""
    try:
        package = importlib.import_module(f"pytorchcv.models.{NETWORKS[name]}")
    except ImportError as error:
        raise SystemExit(
            f"whole networks need the package pytorchcv ({error}): pip install --no-deps pytorchcv"
        ) from error
    torch.manual_seed(0)
    model = getattr(package, name)()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.2, generator=generator)
                module.momentum = None  # the mean over all batches, here one batch
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.train()(torch.randn(2, 3, SIZE, SIZE, generator=generator))
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 0.1
    return model


def _twins(name: str):
    """The function that builds the twin."""
    for module in (pytorchcv, pytorchcv_more):
        found = getattr(module, name, None)
        if found is not None:
            return found
    raise ValueError(f"{name} has no twin in Flax")


def flax_network(name: str, state: dict[str, torch.Tensor], by: str) -> nnx.Module:
    """The twin with torch's weights; every convolution computed by ``lax`` or ``jaxgroups``."""
    model = nnx.eval_shape(lambda: _twins(name)(nnx.Rngs(0)))
    model, _ = jc.load_torch(model, state)
    for _, module in nnx.iter_modules(model):
        if isinstance(module, jnn.Conv2d):
            module.implementation = "xla" if by == "lax" else None
        elif isinstance(module, nnx.Conv) and by != "lax":
            module.conv_general_dilated = jg.conv_general_dilated
    return model


def torch_state(model: nnx.Module) -> dict[str, np.ndarray]:
    """The weights and statistics of a twin in torch's layout."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        jc.save_torch(model, path)
        return load_file(path)


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
