"""Flattened features: torch's outputs decide, with torch's weights in a model that is channels last.

Every network here loads strictly in either order, because only the order of entries differs.
"""

import gc
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from support.flax_twins import assert_comes_back, data, last, random_state, tnn, torch

import jaxgroups.convert as jc
import jaxgroups.nnx as jnn

pytestmark = pytest.mark.usefixtures("flax_promotion")


class TorchNet(tnn.Module):
    """Modules by name, called in order; a function stands for a step without weights."""

    def __init__(self, **steps):
        super().__init__()
        self.steps = list(steps.items())
        for name, step in steps.items():
            if isinstance(step, tnn.Module):
                self.add_module(name, step)

    def forward(self, x):
        for name, step in self.steps:
            x = getattr(self, name)(x) if isinstance(step, tnn.Module) else step(x)
        return x


class FlaxNet(nnx.Module):
    """The same in nnx; the steps are static, their layers attributes."""

    def __init__(self, rngs, **steps):
        self.names = nnx.static(tuple(steps))
        self.functions = nnx.static({n: s for n, s in steps.items() if not isinstance(s, Layer)})
        for name, step in steps.items():
            if isinstance(step, Layer):
                setattr(self, name, step.make(rngs))

    def __call__(self, x):
        for name in self.names:
            x = self.functions[name](x) if name in self.functions else getattr(self, name)(x)
        return x


class Layer:
    def __init__(self, kind, *args, **kwargs):
        self.make = lambda rngs: kind(*args, **kwargs, rngs=rngs)


def flax_net(**steps):
    return nnx.eval_shape(lambda: FlaxNet(nnx.Rngs(0), **steps))


def flat(x):
    return x.reshape(len(x), -1)


def flat_by_itself(x):
    """The model permutes to torch's order before it flattens."""
    return jnp.moveaxis(x, -1, 1).reshape(len(x), -1)


def conv(*args, **kwargs):
    return Layer(jnn.Conv2d, *args, **kwargs)


def linear(*args, **kwargs):
    return Layer(nnx.Linear, *args, **kwargs)


def norm(features):
    return Layer(nnx.BatchNorm, features, momentum=0.9, use_running_average=True)


def unflatten(*sizes):
    return lambda x: x.reshape(len(x), *sizes)


def theirs_and(x, **steps):
    """Torch's module with random float64 tensors, and its output."""
    module = random_state(TorchNet(**steps), 5)
    with torch.no_grad():
        return module, module(torch.from_numpy(x)).numpy()


def loaded(model, module, **how):
    """The model and the warnings of its load, each of them also in the report."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model, report = jc.load_torch(model, module.state_dict(), **how)
    texts = [str(w.message) for w in caught if w.category is jc.ConversionWarning]
    assert texts == report.warnings
    assert all(w.filename == __file__ for w in caught)
    return model, report


def output(model, x):
    y = np.asarray(model(jnp.asarray(last(x) if x.ndim > 2 else x)))
    return np.moveaxis(y, -1, 1) if y.ndim > 2 else y


def assert_same(actual, expected):
    assert np.std(expected) > 0.01
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10)


# --- the networks ---------------------------------------------------------------------------------

# name: input, torch's steps, Flax's steps, the rules that say the same, what saves without them

IMAGE = data((3, 2, 6, 5))
CODE = data((3, 7))


def _flatten():
    """in_features equals the width of another layer, so widths alone do not show a flatten."""
    theirs = {
        "conv": tnn.Conv2d(2, 4, 3),
        "flat": lambda x: x.flatten(1),
        "fc": tnn.Linear(48, 48),
        "out": tnn.Linear(48, 5),
    }
    ours = {"conv": conv(2, 4, 3), "flat": flat, "fc": linear(48, 48), "out": linear(48, 5)}
    return IMAGE, theirs, ours, {"fc": jc.FlattenLinear(4, 4, 3)}


def _flatten_square():
    """As many channels as rows and columns."""
    theirs = {
        "conv": tnn.Conv2d(2, 3, (4, 3)),
        "flat": lambda x: x.flatten(1),
        "fc": tnn.Linear(27, 5),
    }
    ours = {"conv": conv(2, 3, (4, 3)), "flat": flat, "fc": linear(27, 5)}
    return IMAGE, theirs, ours, {"fc": jc.FlattenLinear(3, 3, 3)}


def _batch_norm():
    theirs = {
        "conv": tnn.Conv2d(2, 4, 3),
        "flat": lambda x: x.flatten(1),
        "bn": tnn.BatchNorm1d(48),
        "fc": tnn.Linear(48, 5),
    }
    ours = {"conv": conv(2, 4, 3), "flat": flat, "bn": norm(48), "fc": linear(48, 5)}
    return IMAGE, theirs, ours, {"fc": jc.FlattenLinear(4, 4, 3), "bn": jc.FlattenVector(4, 4, 3)}


def _decoder():
    theirs = {
        "fc": tnn.Linear(7, 4 * 3 * 2),
        "map": lambda x: x.unflatten(1, (4, 3, 2)),
        "up": tnn.ConvTranspose2d(4, 6, 2, stride=2, groups=2),
    }
    ours = {
        "fc": linear(7, 4 * 3 * 2),
        "map": unflatten(3, 2, 4),
        "up": Layer(jnn.ConvTranspose2d, 4, 6, 2, stride=2, groups=2),
    }
    return CODE, theirs, ours, {"fc": jc.UnflattenLinear(4, 3, 2)}


def _decoder_flax():
    """Flax's own transposed convolution, behind a norm of the unflattened map."""
    theirs = {
        "fc": tnn.Linear(7, 4 * 3 * 2),
        "map": lambda x: x.unflatten(1, (4, 3, 2)),
        "bn": tnn.BatchNorm2d(4),
        "up": tnn.ConvTranspose2d(4, 6, (3, 2)),
    }
    ours = {
        "fc": linear(7, 4 * 3 * 2),
        "map": unflatten(3, 2, 4),
        "bn": norm(4),
        "up": Layer(nnx.ConvTranspose, 4, 6, (3, 2), padding="VALID"),
    }
    return CODE, theirs, ours, {"fc": jc.UnflattenLinear(4, 3, 2)}


def _both():
    """One Linear between two feature maps."""
    theirs = {
        "conv": tnn.Conv2d(2, 4, 3),
        "flat": lambda x: x.flatten(1),
        "fc": tnn.Linear(48, 3 * 2 * 5),
        "map": lambda x: x.unflatten(1, (3, 2, 5)),
        "up": tnn.ConvTranspose2d(3, 2, 2),
    }
    ours = {
        "conv": conv(2, 4, 3),
        "flat": flat,
        "fc": linear(48, 3 * 2 * 5),
        "map": unflatten(2, 5, 3),
        "up": Layer(jnn.ConvTranspose2d, 3, 2, 2),
    }
    return IMAGE, theirs, ours, {"fc": jc.FlattenLinear(4, 4, 3, output=(3, 2, 5))}


def _general():
    """LinearGeneral reads (H, W, C) and makes (H, W, C)."""
    theirs = {
        "conv": tnn.Conv2d(2, 4, 3),
        "flat": lambda x: x.flatten(1),
        "fc": tnn.Linear(48, 3 * 2 * 5),
        "map": lambda x: x.unflatten(1, (3, 2, 5)),
        "up": tnn.ConvTranspose2d(3, 2, 2),
    }
    ours = {
        "conv": conv(2, 4, 3),
        "fc": Layer(nnx.LinearGeneral, (4, 3, 4), (2, 5, 3), axis=(1, 2, 3)),
        "up": Layer(jnn.ConvTranspose2d, 3, 2, 2),
    }
    return IMAGE, theirs, ours, {"fc": jc.FlattenLinear(4, 4, 3, output=(3, 2, 5))}


def _three_dimensions():
    theirs = {
        "conv": tnn.Conv3d(2, 3, 2),
        "flat": lambda x: x.flatten(1),
        "fc": tnn.Linear(3 * 3 * 2 * 1, 5),
    }
    ours = {"conv": Layer(jnn.Conv3d, 2, 3, 2), "flat": flat, "fc": linear(18, 5)}
    return data((2, 2, 4, 3, 2)), theirs, ours, {"fc": jc.FlattenLinear(3, 3, 2, 1)}


def _pooled_and_grouped():
    """What lies between the convolution and the flatten does not hide it."""
    theirs = {
        "conv": tnn.Conv2d(2, 4, 3, padding=1, groups=2),
        "bn": tnn.BatchNorm2d(4),
        "act": lambda x: torch.relu(x).mul(2),
        "pool": tnn.MaxPool2d(2),
        "flat": lambda x: x.flatten(1),
        "fc": tnn.Linear(24, 5),
    }
    ours = {
        "conv": conv(2, 4, 3, padding=1, groups=2),
        "bn": norm(4),
        "act": lambda x: nnx.relu(x) * 2,
        "pool": lambda x: nnx.max_pool(x, (2, 2), strides=(2, 2)),
        "flat": flat,
        "fc": linear(24, 5),
    }
    return IMAGE, theirs, ours, {"fc": jc.FlattenLinear(4, 3, 2)}


def _beside_others():
    """The flattened map is a part of what the Linear reads."""
    theirs = {
        "conv": tnn.Conv2d(2, 4, 3),
        "flat": lambda x: torch.cat([x.mean((2, 3)), x.flatten(1), x.amax((2, 3))[:, :3]], 1),
        "fc": tnn.Linear(4 + 48 + 3, 5),
    }
    ours = {
        "conv": conv(2, 4, 3),
        "flat": lambda x: jnp.concatenate([x.mean((1, 2)), flat(x), x.max((1, 2))[:, :3]], 1),
        "fc": linear(4 + 48 + 3, 5),
    }
    op = jc.Chain((jc.Permute((1, 0)), jc.ChannelsLast(0, (4, 4, 3), (4, 3))))
    return IMAGE, theirs, ours, {"fc.kernel": op}


def _pixel_shuffle():
    """Depth to space in Flax's order: the channels of the convolution are (r, r, C)."""
    theirs = {
        "conv": tnn.Conv2d(2, 3 * 4, 3),
        "up": tnn.PixelShuffle(2),
        "end": tnn.Conv2d(3, 2, 1),
    }

    def up(x):
        n, h, w, c = x.shape
        y = x.reshape(n, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5)
        return y.reshape(n, 2 * h, 2 * w, c // 4)

    ours = {"conv": conv(2, 12, 3), "up": up, "end": conv(3, 2, 1)}
    return IMAGE, theirs, ours, None


NETWORKS = {
    "flatten, a width that is another's": _flatten,
    "flatten, all sizes equal": _flatten_square,
    "flatten, BatchNorm1d": _batch_norm,
    "unflatten": _decoder,
    "unflatten, Flax's layers": _decoder_flax,
    "one Linear for both": _both,
    "LinearGeneral": _general,
    "three dimensions": _three_dimensions,
    "pooled and grouped": _pooled_and_grouped,
    "a map beside other features": _beside_others,
    "pixel shuffle": _pixel_shuffle,
}
every_network = pytest.mark.parametrize("name", NETWORKS)


def example_of(x):
    return jax.ShapeDtypeStruct(last(x).shape if x.ndim > 2 else x.shape, "float64")


@every_network
@pytest.mark.parametrize("given", ["example", "nothing"])
def test_the_order_is_followed_through_the_model(name, given, tmp_path):
    """With an example, and with nothing: then inputs that the layers suggest are tried."""
    x, theirs, ours, _ = NETWORKS[name]()
    module, expected = theirs_and(x, **theirs)
    how = {"example": example_of(x)} if given == "example" else {}
    model, report = loaded(flax_net(**ours), module, **how)
    assert_same(output(model, x), expected)
    (warning,) = report.warnings
    assert warning.startswith("feature order: torch flattens (C, *spatial), Flax (*spatial, C)")
    assert "these are reordered" in warning
    jc.save_torch(model, tmp_path / "back.safetensors", extras=report.extras)
    assert_comes_back(tmp_path / "back.safetensors", module.state_dict())


@every_network
def test_a_rule_says_the_same_and_is_not_asked_about(name, tmp_path):
    x, theirs, ours, rules = NETWORKS[name]()
    if rules is None:
        pytest.skip("the operations of the warning are its rule")
    module, expected = theirs_and(x, **theirs)
    model, report = loaded(flax_net(**ours), module, rules=rules, example=example_of(x))
    assert report.warnings == []
    assert_same(output(model, x), expected)
    jc.save_torch(model, tmp_path / "back.safetensors", extras=report.extras)
    assert_comes_back(tmp_path / "back.safetensors", module.state_dict())


@every_network
def test_the_rules_of_the_warning_can_be_pasted(name):
    x, theirs, ours, _ = NETWORKS[name]()
    module, expected = theirs_and(x, **theirs)
    _, report = loaded(flax_net(**ours), module, example=example_of(x))
    text = report.warnings[0].partition("rules=")[2].partition(" to confirm")[0]
    rules = eval(text, vars(jc))
    model, report = loaded(flax_net(**ours), module, rules=rules, example=example_of(x))
    assert report.warnings == []
    assert_same(output(model, x), expected)


# --- no false alarm -------------------------------------------------------------------------------


def quiet_networks():
    image = {"conv": tnn.Conv2d(2, 4, 3)}
    flax = {"conv": conv(2, 4, 3)}
    flatten = {"flat": lambda x: x.flatten(1), "fc": tnn.Linear(48, 48), "out": tnn.Linear(48, 5)}
    ends = {"fc": linear(48, 48), "out": linear(48, 5)}
    yield "permutes by itself", IMAGE, image | flatten, flax | {"flat": flat_by_itself} | ends
    pooled = {"pool": lambda x: x.mean((2, 3)), "fc": tnn.Linear(4, 16), "out": tnn.Linear(16, 5)}
    mean = {"pool": lambda x: x.mean((1, 2)), "fc": linear(4, 16), "out": linear(16, 5)}
    yield "pools, then is as wide as four maps", IMAGE, image | pooled, flax | mean
    tokens = {
        "tokens": lambda x: x.flatten(2).transpose(1, 2),
        "up": tnn.Linear(4, 16),
        "down": tnn.Linear(16, 4),
        "flat": lambda x: x.flatten(1),
        "fc": tnn.Linear(48, 5),
    }
    ours = {
        "tokens": lambda x: x.reshape(len(x), -1, x.shape[-1]),
        "up": linear(4, 16),
        "down": linear(16, 4),
        "flat": flat,
        "fc": linear(48, 5),
    }
    yield "tokens, which torch has last, too", IMAGE, image | tokens, flax | ours
    theirs = {
        "fc": tnn.Linear(7, 24),
        "map": lambda x: x.unflatten(1, (4, 3, 2)),
        "up": tnn.ConvTranspose2d(4, 6, 2),
    }
    ours = {
        "fc": linear(7, 24),
        "map": lambda x: jnp.moveaxis(x.reshape(len(x), 4, 3, 2), 1, -1),
        "up": Layer(jnn.ConvTranspose2d, 4, 6, 2),
    }
    yield "unflattens as torch does", CODE, theirs, ours


QUIET = {name: rest for name, *rest in quiet_networks()}


@pytest.mark.parametrize("name", QUIET)
@pytest.mark.parametrize("given", ["example", "nothing"])
def test_no_alarm_where_the_order_is_torchs(name, given, tmp_path):
    x, theirs, ours = QUIET[name]
    module, expected = theirs_and(x, **theirs)
    how = {"example": example_of(x)} if given == "example" else {}
    model, report = loaded(flax_net(**ours), module, **how)
    assert report.warnings == []
    assert_same(output(model, x), expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jc.save_torch(nnx.clone(model), tmp_path / "back.safetensors")


def test_a_torch_model_that_permutes_before_it_flattens_takes_keep_order(tmp_path):
    x, theirs, ours, _ = _batch_norm()
    theirs["flat"] = lambda x: x.permute(0, 2, 3, 1).flatten(1)
    module, expected = theirs_and(x, **theirs)
    rules = {"fc": jc.KeepOrder(), "bn": jc.KeepOrder()}
    model, report = loaded(flax_net(**ours), module, rules=rules)
    assert report.warnings == []
    assert_same(output(model, x), expected)
    jc.save_torch(model, tmp_path / "back.safetensors", extras=report.extras)
    assert_comes_back(tmp_path / "back.safetensors", module.state_dict())
