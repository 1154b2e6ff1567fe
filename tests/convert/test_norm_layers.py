"""Norms and PReLU of jaxgroups: weights, statistics and counters there and back, and hints."""

import numpy as np
import pytest
from flax import nnx

import jaxgroups.convert as jc
from jaxgroups import nnx as jnn

torch = pytest.importorskip("torch", reason="torch is NOT installed: nothing to convert")
load_file = pytest.importorskip("safetensors.torch").load_file
bridge = pytest.importorskip("support.torch_bridge")
to_numpy, to_torch = bridge.to_numpy, bridge.to_torch
tnn = torch.nn


class Torchs(tnn.Module):
    def __init__(self):
        super().__init__()
        self.batch = tnn.BatchNorm2d(4)
        self.mean = tnn.BatchNorm2d(4, momentum=None, affine=False)
        self.instance = tnn.InstanceNorm2d(4, affine=True, track_running_stats=True)
        self.group = tnn.GroupNorm(2, 4)
        self.act = tnn.PReLU(4)
        self.one = tnn.PReLU()
        self.plain = tnn.InstanceNorm2d(4)

    def forward(self, x):
        for layer in self.children():
            x = layer(x)
        return x


class Ours(nnx.Module):
    def __init__(self):
        self.batch = jnn.BatchNorm2d(4)
        self.mean = jnn.BatchNorm2d(4, momentum=None, affine=False)
        self.instance = jnn.InstanceNorm2d(4, affine=True, track_running_stats=True)
        self.group = jnn.GroupNorm(2, 4)
        self.act = jnn.PReLU(4)
        self.one = jnn.PReLU()
        self.plain = jnn.InstanceNorm2d(4)

    def __call__(self, x):
        for name in ("batch", "mean", "instance", "group", "act", "one", "plain"):
            x = getattr(self, name)(x)
        return x


def test_there_train_and_back(rng, tmp_path):
    """Without a warning: the defaults are torch's. Training goes on from the loaded counters."""
    theirs = Torchs()
    with torch.no_grad():
        for tensor in theirs.parameters():
            tensor.uniform_(0.5, 2)
    x = rng.normal(size=(3, 4, 5, 6)).astype("float32")
    theirs(to_torch(x))
    theirs(to_torch(2 * x + 1))
    state = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    torch.save(state, tmp_path / "net.pth")
    model, report = jc.load_torch(Ours(), tmp_path / "net.pth")
    assert int(model.mean.num_batches_tracked[...]) == 2
    y = model(np.moveaxis(x, 1, -1))
    np.testing.assert_allclose(
        np.moveaxis(y, -1, 1), to_numpy(theirs(to_torch(x))), rtol=1e-4, atol=1e-4
    )
    jc.save_torch(model, tmp_path / "more.safetensors", extras=report.extras)
    saved = load_file(tmp_path / "more.safetensors")
    expected = theirs.state_dict()
    assert sorted(saved) == sorted(expected)
    for name, tensor in expected.items():
        assert saved[name].shape == tensor.shape
        np.testing.assert_allclose(to_numpy(saved[name]), to_numpy(tensor), rtol=1e-5, atol=1e-6)
    assert int(saved["mean.num_batches_tracked"]) == 3


@pytest.mark.parametrize("kind", ["LayerNorm", "RMSNorm"])
def test_norms_over_a_feature_map(rng, kind):
    """Torch's (C, H, W) are (H, W, C) here, and one warning says so."""
    theirs = getattr(tnn, kind)((4, 5, 3))
    with torch.no_grad():
        for tensor in theirs.parameters():
            tensor.uniform_(0.5, 2)
    x = rng.normal(size=(2, 4, 5, 3)).astype("float32")
    with pytest.warns(jc.ConversionWarning, match="a norm over 3 axes"):
        model, _ = jc.load_torch(getattr(jnn, kind)((5, 3, 4)), theirs.state_dict())
    y = np.moveaxis(model(np.moveaxis(x, 1, -1)), -1, 1)
    np.testing.assert_allclose(y, to_numpy(theirs(to_torch(x))), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "state", "hint"),
    [
        (
            jnn.BatchNorm2d(4, affine=False),
            tnn.BatchNorm2d(4).state_dict(),
            "torch's layer has affine=True: make the model's BatchNorm2d with affine=True",
        ),
        (
            jnn.BatchNorm2d(4),
            tnn.BatchNorm2d(4, track_running_stats=False).state_dict(),
            "torch's layer has track_running_stats=False: make the model's BatchNorm2d with "
            "track_running_stats=False",
        ),
        (
            jnn.InstanceNorm1d(4, affine=True),
            tnn.InstanceNorm1d(4, affine=True, track_running_stats=True).state_dict(),
            "torch's layer has track_running_stats=True: make the model's InstanceNorm1d with "
            "track_running_stats=True",
        ),
        (
            jnn.PReLU(),
            tnn.PReLU(4).state_dict(),
            "weight has a slope for each of 4 channels: make the model's layer with as many, "
            "PReLU(4)",
        ),
    ],
    ids=["affine", "no-statistics", "statistics", "slopes"],
)
def test_other_settings_are_hinted_at(layer, state, hint):
    with pytest.raises(jc.ConversionError) as caught:
        jc.load_torch(layer, state)
    assert hint in str(caught.value)
