"""Networks of the package pytorchcv with random weights: from a file of torch to equal output.

The networks use different file formats, and their tensors come back to torch bit for bit.
"""

import importlib
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support import wheels
from support.layer_tables import ROOT  # noqa: F401  makes `benchmarks` importable

import jaxgroups.convert as jc
from benchmarks.twins import pytorchcv as ours

torch = pytest.importorskip(
    "torch", reason="torch is NOT installed, so no network of pytorchcv is compared with it"
)
save_file = importlib.import_module("safetensors.torch").save_file
load_file = importlib.import_module("safetensors.torch").load_file


class Network(NamedTuple):
    module: str  # of pytorchcv.models
    size: int
    save: Callable
    suffix: str
    reader: str | None = None


def legacy(state, path):
    torch.save(state, path, _use_new_zipfile_serialization=False)


NETWORKS = {
    "resnext50_32x4d": Network("resnext", 224, torch.save, "pth"),
    "shufflenetv2_wd2": Network("shufflenetv2", 224, legacy, "pth", "own"),
    "regnety002": Network("regnet", 160, save_file, "safetensors"),
    "mobilenetv3_small_w1": Network("mobilenetv3", 224, torch.save, "pth", "own"),
    "erfnet_cityscapes": Network("erfnet", 128, legacy, "pt"),
}


def calibrated(model, x):
    """Random parameters and the running statistics of `x`: every tensor is different."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.2, generator=generator)
                module.momentum = None  # the mean over all batches, here one batch
            elif getattr(module, "bias", None) is not None:
                module.bias.normal_(0, 0.1, generator=generator)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.train()(x)
    return model.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_output_equals_torch_and_the_tensors_come_back(
    name, tmp_path, monkeypatch, record_testsuite_property
):
    network = NETWORKS[name]
    wheels.importable("pytorchcv==0.0.74", monkeypatch)
    torch.manual_seed(0)
    theirs = getattr(importlib.import_module(f"pytorchcv.models.{network.module}"), name)()
    x = torch.randn(2, 3, network.size, network.size, generator=torch.Generator().manual_seed(2))
    calibrated(theirs, x)
    state = theirs.state_dict()
    path = tmp_path / f"{name}.{network.suffix}"
    network.save(state, path)

    model = nnx.eval_shape(lambda: getattr(ours, name)(nnx.Rngs(0)))
    with jc.open_checkpoint(path, reader=network.reader) as checkpoint:
        model, report = jc.load_torch(model, checkpoint)
    assert {e.status for e in report.plan.entries} == {"ok", "counter"}
    assert sorted(e.torch[0] for e in report.plan.entries) == sorted(state)
    assert not report.warnings
    model.eval()

    with torch.no_grad():
        expected = theirs(x).numpy()
    out = nnx.jit(lambda m, y: m(y))(model, jnp.asarray(np.moveaxis(x.numpy(), 1, -1)))
    out = np.moveaxis(np.asarray(out), -1, 1)
    assert (out.shape, out.dtype) == (expected.shape, expected.dtype)
    assert np.std(expected) > 1e-3
    error = np.abs(out - expected).max() / np.abs(expected).max()
    record_testsuite_property(f"{name} and torch: relative error", f"{error:.2e}")
    assert error <= 1e-4

    back = tmp_path / "back.safetensors"
    jc.save_torch(model, back, extras=report.extras)
    returned = load_file(back)
    theirs.load_state_dict(returned, strict=True)
    assert returned.keys() == state.keys()
    for key, tensor in state.items():
        assert returned[key].dtype == tensor.dtype, key
        assert returned[key].numpy().tobytes() == tensor.numpy().tobytes(), key


def test_the_first_layer_that_differs_is_named(monkeypatch):
    """`compare` finds a wrong epsilon, which no file contains."""
    wheels.importable("pytorchcv==0.0.74", monkeypatch)
    torch.manual_seed(0)
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    package = importlib.import_module("pytorchcv.models.regnet")
    theirs = calibrated(package.regnety002(), x)
    model = nnx.eval_shape(lambda: ours.regnety002(nnx.Rngs(0)))
    jc.load_torch(model, theirs.state_dict())
    model.eval()
    right = jc.compare(theirs, model, x.numpy())
    assert right.first is None
    assert len(right.layers) > 150
    assert str(right) == f"{len(right.layers)} layers agree within 0.0001"
    model.features.stage3.unit2.body.conv1.bn.epsilon = 1e-1
    wrong = jc.compare(theirs, model, x.numpy()).first
    assert wrong is not None
    assert wrong.torch == wrong.flax == "features.stage3.unit2.body.conv1.bn"
