"""`compare`: both models on one input, layer by layer, and the first that differs by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxgroups.convert as jc
import jaxgroups.nnx as jnn

torch = pytest.importorskip("torch", reason="torch is NOT installed: there is nothing to compare")
tnn = torch.nn


pytestmark = pytest.mark.usefixtures("flax_promotion")


class Theirs(tnn.Module):
    def __init__(self):
        super().__init__()
        self.conv = tnn.Conv2d(4, 6, 3, groups=2)
        self.bn = tnn.BatchNorm2d(6)
        self.up = tnn.ConvTranspose2d(6, 4, 2, stride=2)
        self.fc = tnn.Linear(4, 5)

    def forward(self, x):
        x = self.up(torch.relu(self.bn(self.conv(x))))
        return self.fc(x.mean((2, 3)))


class Ours(nnx.Module):
    def __init__(self, rngs, epsilon=1e-5):
        self.conv = jnn.Conv2d(4, 6, 3, groups=2, rngs=rngs)
        self.bn = nnx.BatchNorm(6, momentum=0.9, epsilon=epsilon, rngs=rngs)
        self.up = jnn.ConvTranspose2d(6, 4, 2, stride=2, rngs=rngs)
        self.fc = nnx.Linear(4, 5, rngs=rngs)

    def __call__(self, x):
        x = self.up(nnx.relu(self.bn(self.conv(x))))
        return self.fc(x.mean((1, 2)))


X = np.random.default_rng(0).standard_normal((2, 4, 7, 5)).astype("f4")


def pair(**how):
    torch.manual_seed(0)
    theirs = Theirs()
    theirs(torch.from_numpy(X))
    theirs.eval()
    model, _ = jc.load_torch(nnx.eval_shape(lambda: Ours(nnx.Rngs(0), **how)), theirs.state_dict())
    model.eval()
    return theirs, model


def test_equal_models():
    theirs, model = pair()
    found = jc.compare(theirs, model, X, rtol=1e-5)
    assert found.first is None
    # in torch's order of execution; the whole model is a layer too
    assert [d.torch for d in found.layers] == ["conv", "bn", "up", "fc", ""]
    assert [d.flax for d in found.layers] == ["conv", "bn", "up", "fc", ""]
    assert found.layers[0].torch_shape == (2, 6, 5, 3)
    assert found.layers[0].flax_shape == (2, 5, 3, 6)
    assert str(found) == "5 layers agree within 1e-05"
    with torch.no_grad():
        expected = theirs.conv(torch.from_numpy(X)).numpy()
    actual = np.moveaxis(np.asarray(model.conv(np.moveaxis(X, 1, -1))), -1, 1)
    error = np.abs(expected - actual).max() / np.abs(expected).max()
    assert found.layers[0].relative == pytest.approx(error, rel=1e-6)


def test_the_first_layer_that_differs():
    theirs, model = pair(epsilon=1e-1)
    found = jc.compare(theirs, model, X)
    assert found.first is not None
    assert found.first.torch == found.first.flax == "bn"
    assert found.first.relative > 1e-3
    text = str(found)
    assert text.startswith("first difference at bn (bn): 0.0")
    assert text.endswith("relative, allowed 0.0001; torch (2, 6, 5, 3), Flax (2, 5, 3, 6)")
    assert found.layers[0].relative < 1e-5


class Several(tnn.Module):
    """Two outputs, of which the first is compared."""

    def __init__(self):
        super().__init__()
        self.fc = tnn.Linear(4, 4)
        self.rnn = tnn.LSTM(4, 3, batch_first=True)
        self.head = tnn.Linear(3, 5)

    def forward(self, x):
        y, state = self.rnn(self.fc(x))
        return self.head(y), state


class SeveralHere(nnx.Module):
    def __init__(self, rngs, head="head"):
        self.fc = nnx.Linear(4, 4, rngs=rngs)
        self.rnn = jnn.LSTM(4, 3, batch_first=True, rngs=rngs)
        setattr(self, head, nnx.Linear(3, 5, rngs=rngs))
        self.name = head

    def __call__(self, x):
        y, state = self.rnn(self.fc(x))
        return getattr(self, self.name)(y), state


def test_outputs_of_several_arrays_and_layers_without_a_counterpart():
    theirs = Several().eval()
    x = np.random.default_rng(1).standard_normal((2, 3, 4)).astype("f4")
    model, _ = jc.load_torch(SeveralHere(nnx.Rngs(0)), theirs.state_dict())
    found = jc.compare(theirs, model, x, channels_last=False)
    assert [d.torch for d in found.layers] == ["fc", "rnn", "head", ""]
    assert str(found) == "4 layers agree within 0.0001"
    names = {"out": "head"}
    model, _ = jc.load_torch(SeveralHere(nnx.Rngs(0), "out"), theirs.state_dict(), names=names)
    found = jc.compare(theirs, model, x, channels_last=False)
    assert found.uncompared == ["head"]
    assert str(found).splitlines() == [
        "3 layers agree within 0.0001",
        "not compared: head: no array of that name in the Flax model",
    ]


def test_names_of_others():
    theirs, model = pair()
    wrapped = tnn.ModuleDict({"net": theirs}).eval()
    wrapped.forward = theirs.forward
    found = jc.compare(wrapped, model, X, names=lambda name: f"net.{name}" if name else "net")
    assert found.first is None
    assert [d.torch for d in found.layers][:4] == ["net.conv", "net.bn", "net.up", "net.fc"]
    with pytest.raises(ValueError, match="no layer of the torch module has a counterpart"):
        jc.compare(wrapped, model, X, names=lambda name: f"other.{name}")


def test_neither_model_is_changed():
    theirs, model = pair()
    model.train()
    before = {k: v.clone() for k, v in theirs.state_dict().items()}
    state = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model)))
    assert jc.compare(theirs, model, X).first.torch == "bn"  # of the batch, not of the file
    for key, tensor in theirs.state_dict().items():
        assert torch.equal(tensor, before[key])
    after = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model)))
    jax.tree.map(np.testing.assert_array_equal, after, state)
    assert not theirs.conv._forward_hooks
    assert "wrap" not in jnn.Conv2d.__call__.__qualname__
    theirs.train()
    with pytest.raises(ValueError, match=r"call \.eval\(\) on both models first"):
        jc.compare(theirs, model, X)


def test_a_failing_model_leaves_the_classes_as_they_were():
    theirs, model = pair()
    call = jnn.Conv2d.__call__
    with pytest.raises(Exception, match="channel"):
        jc.compare(theirs, model.fc, X[:, :3])
    with pytest.raises(ValueError):
        jc.compare(tnn.Conv2d(3, 4, 1).eval(), model, X[:, :3])
    assert jnn.Conv2d.__call__ is call


def test_nan_is_a_difference():
    theirs, model = pair()
    with torch.no_grad():
        theirs.up.bias[1] = float("nan")
    assert jc.compare(theirs, model, X).first.torch == "up"
    model.up.bias[1] = np.nan
    assert jc.compare(theirs, model, X).first.torch == "up"


def test_equal_sizes_do_not_hide_a_difference():
    """Where channels and positions are as many, both orders fit; swapped values do not pass."""
    theirs = tnn.Conv2d(4, 4, 1, bias=False).eval()
    model, _ = jc.load_torch(
        nnx.eval_shape(lambda: jnn.Conv2d(4, 4, 1, bias=False, rngs=nnx.Rngs(0))),
        theirs.state_dict(),
    )
    x = np.random.default_rng(1).standard_normal((2, 4, 4, 4)).astype("f4")
    assert jc.compare(theirs, model, x).first is None
    model.kernel.set_value(jnp.swapaxes(model.kernel.get_value(), 2, 3))
    assert jc.compare(theirs, model, x).first is not None


def test_sequences_and_several_arguments():
    theirs = tnn.MultiheadAttention(6, 2, batch_first=True).eval()
    model = nnx.eval_shape(lambda: nnx.MultiHeadAttention(2, 6, decode=False, rngs=nnx.Rngs(0)))
    model, _ = jc.load_torch(model, theirs.state_dict())
    rng = np.random.default_rng(0)
    q, k = (rng.standard_normal((3, n, 6)).astype("f4") for n in (4, 5))
    found = jc.compare(theirs, model, (q, k, k), channels_last=False)
    assert found.first is None
    assert found.layers[-1].torch_shape == found.layers[-1].flax_shape == (3, 4, 6)
    model.out.bias.set_value(jnp.ones(6, "float32"))
    assert jc.compare(theirs, model, (q, k, k), channels_last=False).first is not None


def test_bfloat16():
    theirs = tnn.Sequential(tnn.Linear(4, 6)).to(torch.bfloat16).eval()
    make = nnx.eval_shape(lambda: nnx.Sequential(nnx.Linear(4, 6, rngs=nnx.Rngs(0))))
    model, _ = jc.load_torch(make, theirs.state_dict())
    theirs.register_forward_pre_hook(lambda _, args: tuple(a.to(torch.bfloat16) for a in args))
    x = np.random.default_rng(0).integers(-3, 4, (5, 4)).astype("f4")
    found = jc.compare(theirs, model, x, rtol=2e-2)
    assert found.first is None
    assert found.layers
