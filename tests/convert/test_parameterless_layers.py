"""Checkpoints of networks with many layers that have no parameters: loaded without a warning."""

import warnings

import jax
import numpy as np
import pytest
from flax import nnx
from support.torch_bridge import to_numpy, to_torch, torch

import jaxgroups as jg
import jaxgroups.convert as jc
from jaxgroups import nnx as jnn

tnn = torch.nn


def theirs():
    return tnn.Sequential(
        tnn.ReflectionPad2d((1, 0, 2, 1)),
        tnn.Conv2d(3, 8, 3),
        tnn.GroupNorm(2, 8),
        tnn.PReLU(8),
        tnn.MaxPool2d(3, 2, 1, ceil_mode=True),
        tnn.LocalResponseNorm(3),
        tnn.ChannelShuffle(4),
        tnn.Upsample(scale_factor=2, mode="bilinear"),
        tnn.PixelShuffle(2),
        tnn.Conv2d(2, 6, 3, 2, 1, groups=2),
        tnn.BatchNorm2d(6),
        tnn.PixelUnshuffle(2),
        tnn.ZeroPad2d((0, 1, 1, 0)),
        tnn.AvgPool2d(2, 1, count_include_pad=False),
        tnn.AdaptiveAvgPool2d((2, 3)),
        tnn.Flatten(),
        tnn.Linear(24 * 6, 10),
        tnn.Unflatten(1, (5, 2)),
    )


class Ours(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List(
            [
                jnn.ReflectionPad2d((1, 0, 2, 1)),
                jnn.Conv2d(3, 8, 3, rngs=rngs),
                jnn.GroupNorm(2, 8),
                jnn.PReLU(8),
                jnn.MaxPool2d(3, 2, 1, ceil_mode=True),
                jnn.LocalResponseNorm(3),
                jnn.ChannelShuffle(4),
                jnn.Upsample(scale_factor=2, mode="bilinear"),
                jnn.PixelShuffle(2),
                jnn.Conv2d(2, 6, 3, 2, 1, groups=2, rngs=rngs),
                jnn.BatchNorm2d(6),
                jnn.PixelUnshuffle(2),
                jnn.ZeroPad2d((0, 1, 1, 0)),
                jnn.AvgPool2d(2, 1, count_include_pad=False),
                jnn.AdaptiveAvgPool2d((2, 3)),
                jnn.Flatten(),
                nnx.Linear(24 * 6, 10, rngs=rngs),
                jnn.Unflatten(1, (5, 2)),
            ]
        )

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def torch_names(path):
    return path.removeprefix("layers.")


def saved(module, rng, path):
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.uniform_(-0.5, 1)
        module(to_torch(rng.normal(size=(4, 3, 21, 19)).astype("float32")))
    module.eval()
    torch.save(module.state_dict(), path)
    return path


def test_a_network_of_many_layers(rng, tmp_path):
    module = theirs()
    path = saved(module, rng, tmp_path / "net.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model, report = jc.load_torch(Ours(nnx.Rngs(0)), path, names=torch_names)
    assert report.warnings == []
    model.eval()
    x = rng.normal(size=(2, 3, 21, 19)).astype("float32")
    with torch.no_grad():
        expected = to_numpy(module(to_torch(x)))
    y = nnx.jit(lambda model, x: model(x))(model, np.moveaxis(x, 1, -1))
    np.testing.assert_allclose(np.moveaxis(y, -1, 1), expected, rtol=1e-4, atol=1e-4)


def test_its_plan_by_an_example(rng, tmp_path):
    path = saved(theirs(), rng, tmp_path / "net.pth")
    example = jax.ShapeDtypeStruct((1, 21, 19, 3), "float32")
    model = nnx.eval_shape(lambda: Ours(nnx.Rngs(0)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan = jc.plan(model, path, names=torch_names, example=example)
    assert plan.complete
    assert plan.hints == plan.warnings == []


# --- the order of features around rearrangements --------------------------------------------------


class Around(nnx.Module):
    """A convolution, a rearrangement, and a Linear on all that comes out of it."""

    def __init__(self, between, features):
        rngs = nnx.Rngs(0)
        self.conv = jnn.Conv2d(3, 8, 3, padding=1, rngs=rngs)
        self.head = nnx.Linear(features, 5, rngs=rngs)
        self.between = nnx.static(between)

    def __call__(self, x):
        x = self.between(self.conv(x))
        return self.head(x.reshape(x.shape[0], -1))


def last(function, *how):
    return lambda x: function(x, *how, data_format="channels_last")


def shuffled_twice(x):
    return last(jg.pixel_shuffle, 2)(last(jg.channel_shuffle, 4)(x))


AROUND = {  # of a 4 x 6 image: what comes before the Linear in torch's order
    "shuffle": (last(jg.pixel_shuffle, 2), (2, 8, 12)),
    "shuffles": (shuffled_twice, (2, 8, 12)),
    "unshuffle": (last(jg.pixel_unshuffle, 2), (32, 2, 3)),
    "unfold": (last(jg.unfold, 2), (32, 15)),
    "vmap": (jax.vmap(last(jg.pixel_shuffle, 2)), (2, 8, 12)),
    "gradient": (jax.grad(lambda x: (shuffled_twice(x) ** 2).sum()), (8, 4, 6)),
}


@pytest.mark.parametrize("name", AROUND)
def test_flattened_features_after_a_rearrangement_are_reordered(name):
    """Those of the Linear alone: the channels of the convolution are torch's."""
    between, sizes = AROUND[name]
    features = int(np.prod(sizes))
    tensors = {
        "conv.weight": np.zeros((8, 3, 3, 3), "float32"),
        "conv.bias": np.zeros(8, "float32"),
        "head.weight": np.zeros((5, features), "float32"),
        "head.bias": np.zeros(5, "float32"),
    }
    example = jax.ShapeDtypeStruct((1, 4, 6, 3), "float32")
    with pytest.warns(jc.ConversionWarning, match="feature order") as caught:
        plan = jc.plan(Around(between, features), tensors, example=example)
    [warning] = caught
    rules = str(warning.message).partition("rules={")[2].partition("}")[0]
    assert rules == f'"head": {jc.FlattenLinear(*sizes)}'
    assert plan.complete
