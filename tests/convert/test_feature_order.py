"""Flattened features: torch's outputs decide, with torch's weights in a channels-last model.

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


def _decoder_of_any_batch():
    """Without the number of images in its reshape, it takes an image for its vector, too."""
    x, theirs, ours, rules = _decoder()
    return x, theirs, ours | {"map": lambda x: x.reshape(-1, 3, 2, 4)}, rules


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
    "unflatten, any batch": _decoder_of_any_batch,
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


# --- what a rule says is checked ------------------------------------------------------------------


def _pooled():
    theirs = {"conv": tnn.Conv2d(2, 4, 3), "pool": lambda x: x.mean((2, 3)), "fc": tnn.Linear(4, 5)}
    ours = {"conv": conv(2, 4, 3), "pool": lambda x: x.mean((1, 2)), "fc": linear(4, 5)}
    return IMAGE, theirs, ours, None


WRONG = {
    "sizes in Flax's order": (_flatten, {"fc": jc.FlattenLinear(3, 4, 4)}, "3 channels and 16 pos"),
    "channels of another layer": (_flatten, {"fc": jc.FlattenLinear(2, 4, 6)}, "2 channels and 24"),
    "unflattened, Flax's order": (_decoder, {"fc": jc.UnflattenLinear(2, 3, 4)}, "2 channels and"),
    "a vector": (_batch_norm, {"bn": jc.FlattenVector(3, 4, 4)}, "3 channels and 16 positions"),
    "a layer that reads pooled channels": (
        _pooled,
        {"fc": jc.FlattenLinear(2, 2, 1)},
        "2 channels and 2 positions",
    ),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("given", ["example", "nothing"])
def test_a_rule_that_the_model_contradicts_is_refused(name, given):
    network, rules, message = WRONG[name]
    x, theirs, ours, _ = network()
    module, _ = theirs_and(x, **theirs)
    model = flax_net(**ours)
    how = {"example": example_of(x)} if given == "example" else {}
    with warnings.catch_warnings(), pytest.raises(jc.ConversionError, match=message) as error:
        warnings.simplefilter("ignore")
        jc.load_torch(model, module.state_dict(), rules=rules, **how)
    assert "order mismatch for " in str(error.value)
    assert "Sizes are channels first" in str(error.value)


def test_a_rule_for_a_model_that_permutes_by_itself_is_refused():
    x, theirs, ours, rules = _flatten()
    module, _ = theirs_and(x, **theirs)
    model = flax_net(**ours | {"flat": flat_by_itself})
    with pytest.raises(jc.ConversionError, match="the model itself has torch's order"):
        jc.load_torch(model, module.state_dict(), rules=rules)


def test_an_operation_is_not_checked():
    x, theirs, ours, _ = _flatten()
    theirs["flat"] = lambda x: x.permute(0, 3, 2, 1).flatten(1)  # (W, H, C)
    module, expected = theirs_and(x, **theirs)
    swap = (jc.Permute((1, 0)), jc.Reshape((48, 48), (3, 4, 4, 48)), jc.Permute((1, 0, 2, 3)))
    rules = {"fc.kernel": jc.Chain((*swap, jc.Reshape((4, 3, 4, 48), (48, 48))))}
    model, report = loaded(flax_net(**ours), module, rules=rules, example=example_of(x))
    assert report.warnings == []
    assert_same(output(model, x), expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jc.FlattenLinear(7), r"sizes must be those of \(C, \*spatial\)"),
        (lambda: jc.UnflattenLinear(7, 0), r"sizes must be those of \(C, \*spatial\)"),
        (lambda: jc.FlattenVector(-1, 2), "sizes must be an integer >= 0"),
        (lambda: jc.FlattenLinear(7, 2, output=(3,)), r"sizes must be those of \(C, \*spatial\)"),
    ],
)
def test_sizes_are_checked_at_once(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_rule_on_a_layer_that_it_is_not_for():
    _, theirs, ours, _ = _flatten()
    module, _ = theirs_and(IMAGE, **theirs)
    for rule, message in (
        (jc.FlattenVector(2, 2, 2), "is for a layer of vectors, but kernel has shape"),
        (jc.UnflattenLinear(2, 2, 2), "UnflattenLinear is for a Linear or Dense layer"),
    ):
        with pytest.raises(jc.ConversionError, match=message):
            jc.load_torch(flax_net(**ours), module.state_dict(), rules={"conv": rule})


# --- warnings on what is not known ----------------------------------------------------------------


class Several(nnx.Module):
    """A call that no suggested input fits."""

    def __init__(self, rngs):
        self.conv = jnn.Conv2d(2, 4, 3, rngs=rngs)
        self.bn = nnx.BatchNorm(48, momentum=0.9, use_running_average=True, rngs=rngs)
        self.fc = nnx.Linear(48, 7, rngs=rngs)
        self.up = nnx.Linear(7, 24, rngs=rngs)
        self.tconv = jnn.ConvTranspose2d(4, 3, 2, rngs=rngs)

    def __call__(self, x, y):
        z = self.fc(self.bn(flat(self.conv(x)))) + y
        return self.tconv(self.up(z).reshape(-1, 3, 2, 4))


def several_and_torch():
    steps = {
        "conv": tnn.Conv2d(2, 4, 3),
        "bn": tnn.BatchNorm1d(48),
        "fc": tnn.Linear(48, 7),
        "up": tnn.Linear(7, 24),
        "tconv": tnn.ConvTranspose2d(4, 3, 2),
    }
    module = random_state(TorchNet(**steps), 1)
    y = data((3, 7))
    with torch.no_grad():
        z = module.fc(module.bn(module.conv(torch.from_numpy(IMAGE)).flatten(1)))
        z = module.up(z + torch.from_numpy(y)).unflatten(1, (4, 3, 2))
        expected = module.tconv(z).numpy()
    return nnx.eval_shape(lambda: Several(nnx.Rngs(0))), module, y, expected


def test_one_line_asks_where_the_model_cannot_be_followed():
    model, module, y, expected = several_and_torch()
    _, report = loaded(model, module)
    (warning,) = report.warnings
    assert warning == (
        "feature order is not known: fc reads 48 = 4 * 12 features: if they are a flattened "
        'feature map, pass rules={"fc": FlattenLinear(4, h, w)} with h * w = 12; up makes 24 = '
        "4 * 6 features: if they become a feature map, pass "
        'rules={"up": UnflattenLinear(4, h, w)} with '
        "h * w = 6; bn has 48 features: if they are a flattened feature map, pass "
        'rules={"bn": FlattenVector(4, h, w)} with h * w = 12; or KeepOrder() where torch has '
        "Flax's order, or example= an input of the model to follow them"
    )
    model, module, y, expected = several_and_torch()
    example = (example_of(IMAGE), jnp.asarray(y))
    model, report = loaded(model, module, example=example)
    assert len(report.warnings) == 1
    z = np.asarray(model(jnp.asarray(last(IMAGE)), jnp.asarray(y)))
    assert_same(np.moveaxis(z, -1, 1), expected)


def test_a_vector_is_asked_about_beside_a_rule_for_its_linear():
    model, module, *_ = several_and_torch()
    rules = {"fc": jc.FlattenLinear(4, 4, 3), "up": jc.UnflattenLinear(4, 3, 2)}
    _, report = loaded(model, module, rules=rules)
    (warning,) = report.warnings
    assert 'bn has 48 features: if they are a flattened feature map, pass rules={"bn": ' in warning
    assert "FlattenVector(4, 4, 3)" in warning
    model, module, *_ = several_and_torch()
    _, report = loaded(model, module, rules=rules | {"bn": jc.FlattenVector(4, 4, 3)})
    assert report.warnings == []


def test_channels_that_no_convolution_has_are_told_without_following():
    model, module, *_ = several_and_torch()
    rules = {"fc": jc.FlattenLinear(12, 2, 2), "up": jc.KeepOrder(), "bn": jc.KeepOrder()}
    _, report = loaded(model, module, rules=rules)
    (warning,) = report.warnings
    assert "FlattenLinear(12, 2, 2) for fc has 12 channels" in warning
    assert "the convolutions here have 2, 3, 4: the sizes are channels first, (c, h, w)" in warning


def test_an_example_that_the_model_does_not_take_is_an_error():
    model, module, *_ = several_and_torch()
    with pytest.raises(ValueError, match="example: the model cannot be called with it: TypeError"):
        jc.load_torch(model, module.state_dict(), example=example_of(IMAGE))


def test_an_image_that_is_flattened_itself_is_asked_about():
    x = data((4, 3, 5, 2))
    module, _ = theirs_and(x, flat=lambda x: x.flatten(1), fc=tnn.Linear(30, 5))
    model = flax_net(flat=flat, fc=linear(30, 5))
    _, report = loaded(model, module, example=example_of(x))
    (warning,) = report.warnings
    assert warning.startswith("feature order of fc is not known: it reads or makes an input or out")
    rules = {"fc": jc.FlattenLinear(3, 5, 2)}
    module, expected = theirs_and(x, flat=lambda x: x.flatten(1), fc=tnn.Linear(30, 5))
    model, report = loaded(flax_net(flat=flat, fc=linear(30, 5)), module, rules=rules)
    assert_same(output(model, x), expected)


def rows(x):
    """(N, W, H * C) of a feature map: an image read from left to right."""
    n, h, w, c = x.shape
    return x.swapaxes(1, 2).reshape(n, w, h * c)


class MixedPositions(Layer):
    """A Linear over the positions of a map of 4 by 4."""

    def __init__(self):
        self.make = lambda rngs: Mixing(rngs)


class Mixing(nnx.Module):
    def __init__(self, rngs):
        self.fc = nnx.Linear(16, 16, rngs=rngs)

    def __call__(self, x):
        n, h, w, c = x.shape
        y = self.fc(x.reshape(n, h * w, c).swapaxes(1, 2))
        return y.swapaxes(1, 2).reshape(n, h, w, c)


ITSELF = {
    "flattened": (
        {"flat": flat, "fc": linear(30, 5)},
        {"fc": tnn.Linear(30, 5)},
    ),
    "of one size only": (
        {"flat": flat, "cut": lambda x: x * jnp.ones(30), "fc": linear(30, 30)},
        {"fc": tnn.Linear(30, 30)},
    ),
    "rows after a pool": (
        {"pool": lambda x: nnx.avg_pool(x, (2, 2), (2, 2)), "rows": rows, "fc": linear(8, 8)},
        {"fc": tnn.Linear(8, 8)},
    ),
    "a norm": ({"flat": flat, "fc": norm(28)}, {"fc": tnn.BatchNorm1d(28)}),
    "a pool before": (
        {"pool": lambda x: nnx.max_pool(x, (2, 2), (2, 2)), "flat": flat, "fc": linear(32, 4)},
        {"fc": tnn.Linear(32, 4)},
    ),
    "positions mixed by a Linear": (
        {"mix": MixedPositions(), "flat": flat, "fc": linear(48, 5)},
        {"mix": tnn.ModuleDict({"fc": tnn.Linear(16, 16)}), "fc": tnn.Linear(48, 5)},
    ),
}


@pytest.mark.parametrize("case", ITSELF)
def test_without_an_example_it_is_asked_about_too(case):
    """No layer says that the input is an image; but the model takes one, and flattens it."""
    steps, modules = ITSELF[case]
    model, module = flax_net(**steps), TorchNet(**modules)
    _, report = loaded(model, module)
    (warning,) = report.warnings
    assert warning.startswith("feature order of fc is not known: it")
    _, report = loaded(model, module, rules={"fc": jc.KeepOrder()})
    assert report.warnings == []


def test_positions_that_a_linear_made_are_asked_about():
    """The model is followed, but not the positions: torch's Linear has them last."""
    ours = {"conv": conv(2, 3, 1), "mix": MixedPositions(), "flat": flat, "fc": linear(48, 48)}
    modules = {
        "conv": tnn.Conv2d(2, 3, 1),
        "mix": tnn.ModuleDict({"fc": tnn.Linear(16, 16)}),
        "fc": tnn.Linear(48, 48),
    }
    example = jax.ShapeDtypeStruct((1, 4, 4, 2), "float64")
    for how in ({"example": example}, {}):
        _, report = loaded(flax_net(**ours), TorchNet(**modules), **how)
        (warning,) = report.warnings
        assert warning.startswith(
            "feature order of fc is not known: it reads positions that a Linear made, and channels"
        )


def tokens(x):
    n, t, c = x.shape
    return x.reshape(n, t * c)


@pytest.mark.parametrize(
    ("steps", "modules"),
    [
        ({"a": linear(6, 6), "fc": linear(6, 6)}, {"a": tnn.Linear(6, 6), "fc": tnn.Linear(6, 6)}),
        (
            {"a": linear(6, 4), "flat": tokens, "fc": linear(20, 5)},
            {"a": tnn.Linear(6, 4), "fc": tnn.Linear(20, 5)},
        ),
        ({"a": linear(6, 4), "n": norm(4)}, {"a": tnn.Linear(6, 4), "n": tnn.BatchNorm1d(4)}),
        ({"mean": lambda x: x.mean(1), "fc": linear(6, 6)}, {"fc": tnn.Linear(6, 6)}),
    ],
)
def test_no_alarm_for_features_that_are_no_image(steps, modules):
    _, report = loaded(flax_net(**steps), TorchNet(**modules))
    assert report.warnings == []


class Own(nnx.Module):
    """Parameters of its own, in Flax's order of axes."""

    def __init__(self, rngs):
        self.weight = nnx.Param(jnp.zeros((5, 5)))
        self.gain = nnx.Param(jnp.zeros((5,)))

    def __call__(self, x):
        return x @ self.weight[...] * self.gain[...]


def test_a_square_parameter_outside_any_layer_is_asked_about():
    tensors = {"weight": data((5, 5)), "gain": data((5,))}
    make = lambda: nnx.eval_shape(lambda: Own(nnx.Rngs(0)))  # noqa: E731
    x = data((3, 5))
    expected = tnn.functional.linear(*map(torch.from_numpy, (x, tensors["weight"])))
    expected = (expected * torch.from_numpy(tensors["gain"])).numpy()
    with pytest.warns(jc.ConversionWarning, match=r"^weight \(5, 5\): taken as in torch") as seen:
        jc.load_torch(make(), tensors)
    assert 'pass rules={"weight": Permute((1, 0))} or another' in str(seen[0].message)
    model, report = jc.load_torch(make(), tensors, rules={"weight": jc.Permute((1, 0))})
    assert report.warnings == []
    np.testing.assert_allclose(model(jnp.asarray(x)), expected, rtol=1e-12)
    _, report = jc.load_torch(make(), tensors, rules={"weight": jc.Identity()})
    assert report.warnings == []


# --- saving ---------------------------------------------------------------------------------------


def test_a_load_is_remembered_for_saving(tmp_path):
    """Names, prefix and rules too; trained weights keep the order of the load."""
    x, theirs, ours, rules = _batch_norm()
    module, _ = theirs_and(x, **theirs)
    state = {f"net.{k.replace('fc', 'head')}": v for k, v in module.state_dict().items()}
    names = {"fc": "head"}
    model = flax_net(**ours)
    model, report = jc.load_torch(model, state, rules=rules, names=names, prefix="net.")
    model.fc.kernel.set_value(model.fc.kernel.get_value() * 2)
    plan = jc.save_torch(model, tmp_path / "a.safetensors", extras=report.extras)
    doubled = state | {"net.head.weight": state["net.head.weight"] * 2}
    assert_comes_back(tmp_path / "a.safetensors", doubled)
    assert plan.warnings == []
    copy = nnx.clone(model)  # knows nothing; the plan does
    jc.save_torch(copy, tmp_path / "b.safetensors", extras=report.extras, plan=report.plan)
    assert_comes_back(tmp_path / "b.safetensors", doubled)


def test_a_model_that_was_not_loaded_is_followed_when_it_is_saved(tmp_path):
    x, theirs, ours, _ = _batch_norm()
    module, _ = theirs_and(x, **theirs)
    model = FlaxNet(nnx.Rngs(0), **ours)
    with pytest.warns(jc.ConversionWarning, match="these are reordered, as the model computes"):
        jc.save_torch(model, tmp_path / "a.safetensors")
    from safetensors.torch import load_file

    module.load_state_dict(load_file(tmp_path / "a.safetensors"))
    with torch.no_grad():
        expected = module.float()(torch.from_numpy(x).float()).numpy()
    actual = output(model, x.astype("float32"))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_a_model_that_cannot_be_followed_is_asked_about_when_it_is_saved(tmp_path):
    model = Several(nnx.Rngs(0))
    with pytest.warns(jc.ConversionWarning, match="^feature order is not known: fc reads") as seen:
        jc.save_torch(model, tmp_path / "a.safetensors")
    assert len(seen) == 1
    assert seen[0].filename == __file__


def test_what_is_remembered_dies_with_the_model():
    from jaxgroups.convert._transfer import memory

    x, theirs, ours, rules = _flatten()
    module, _ = theirs_and(x, **theirs)
    model, _ = jc.load_torch(flax_net(**ours), module.state_dict(), rules=rules)
    place = id(model)
    assert place in memory._KNOWN
    del model
    gc.collect()
    assert place not in memory._KNOWN


def test_a_layer_that_was_replaced_after_the_load_is_saved_as_it_is_now(tmp_path):
    x, theirs, ours, rules = _flatten()
    module, _ = theirs_and(x, **theirs)
    rules = rules | {"out": jc.KeepOrder()}
    model, _ = jc.load_torch(flax_net(**ours), module.state_dict(), rules=rules)
    model.out = nnx.Linear(48, 2, rngs=nnx.Rngs(0))
    jc.save_torch(model, tmp_path / "a.safetensors")
    with jc.open_checkpoint(tmp_path / "a.safetensors") as back:
        np.testing.assert_array_equal(back.read("fc.weight"), module.fc.weight.detach().numpy())
        np.testing.assert_array_equal(back.read("out.weight"), model.out.kernel[...].T)
    model.fc = None  # its rule has no layer any more, and the model cannot be called
    with pytest.warns(jc.ConversionWarning, match="feature order is not known: out reads 48"):
        jc.save_torch(model, tmp_path / "b.safetensors")


# --- linen ----------------------------------------------------------------------------------------


class Vae(nn.Module):
    """A flatten in the encoder, an unflatten in the decoder."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3), padding="VALID", name="conv")(x))
        code = nn.Dense(7, name="fc")(flat(x))
        x = nn.Dense(24, name="up")(code).reshape(-1, 3, 2, 4)
        return nn.ConvTranspose(3, (2, 2), padding="VALID", name="tconv")(x)


def test_linen_is_followed_by_its_example(tmp_path):
    steps = {
        "conv": tnn.Conv2d(2, 4, 3),
        "relu": torch.relu,
        "flat": lambda x: x.flatten(1),
        "fc": tnn.Linear(48, 7),
        "up": tnn.Linear(7, 24),
        "map": lambda x: x.unflatten(1, (4, 3, 2)),
        "tconv": tnn.ConvTranspose2d(4, 3, 2),
    }
    module, expected = theirs_and(IMAGE, **steps)
    how = {"example": example_of(IMAGE)}
    with pytest.warns(jc.ConversionWarning) as seen:
        variables, report = jc.load_torch_linen(Vae(), module.state_dict(), **how)
    assert [str(w.message) for w in seen] == report.warnings
    assert seen[0].filename == __file__
    rules = '{"fc": FlattenLinear(4, 4, 3), "up": UnflattenLinear(4, 3, 2)}'
    assert f"pass rules={rules} to confirm it" in report.warnings[0]
    y = np.asarray(Vae().apply(variables, jnp.asarray(last(IMAGE))))
    assert_same(np.moveaxis(y, -1, 1), expected)
    rules = eval(rules, vars(jc))
    variables, report = jc.load_torch_linen(Vae(), module.state_dict(), rules=rules, **how)
    assert report.warnings == []
    jc.save_torch(Vae(), tmp_path / "a.safetensors", variables=variables, rules=rules, **how)
    assert_comes_back(tmp_path / "a.safetensors", module.state_dict())
