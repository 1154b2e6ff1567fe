"""Settings that no file holds, and what a plan finds in nnx and linen structures."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from support.plan_models import Net

import jaxgroups.convert as jc
import jaxgroups.nnx as jnn

LINT = [
    (
        lambda rngs: nnx.Conv(2, 3, (3, 5), kernel_dilation=2, rngs=rngs),
        "padding='SAME', Flax's default, is torch's padding=(2, 4) here; torch's default is 0, and",
    ),
    (
        lambda rngs: nnx.Conv(2, 3, (3, 4), rngs=rngs),
        "padding='SAME', Flax's default, is no padding of torch's here; torch's default is 0, and",
    ),
    (
        lambda rngs: nnx.ConvTranspose(2, 3, (4, 3), strides=(2, 1), rngs=rngs),
        "padding='SAME', Flax's default, is torch's padding=(1, 1) here; torch's default is 0, and",
    ),
    (
        lambda rngs: nnx.Sequential(nnx.Linear(2, 3, rngs=rngs), nnx.gelu),
        "gelu is the approximation by tanh, the default in Flax; torch's default is exact",
    ),
    (
        lambda rngs: nnx.LinearGeneral(5, (2, 3, 4), rngs=rngs),
        "feature order is not known: layer makes the axes (2, 3, 4); torch unflattens to (C, H, W)",
    ),
    (lambda rngs: nnx.LayerNorm(5, rngs=rngs), "LayerNorm has epsilon=1e-06, its default in Flax"),
    (lambda rngs: nnx.GroupNorm(6, num_groups=2, rngs=rngs), "GroupNorm has epsilon=1e-06"),
    (lambda rngs: nnx.InstanceNorm(5, rngs=rngs), "InstanceNorm has epsilon=1e-06"),
    (
        lambda rngs: nnx.RMSNorm(5, rngs=rngs),
        "RMSNorm has epsilon=1e-06, its default in Flax; torch's d",
    ),
    (lambda rngs: nnx.BatchNorm(5, rngs=rngs), "BatchNorm has momentum=0.99, its default in Flax"),
    (
        lambda rngs: nnx.BatchNorm(5, momentum=0.1, rngs=rngs),
        "BatchNorm has momentum=0.1, torch's default, which is 0.9 here: Flax counts",
    ),
    (
        lambda rngs: nnx.Conv(2, 3, (3, 3), strides=(2, 1), rngs=rngs),
        "padding='SAME' with strides=(2, 1) pads by the input's size",
    ),
    (
        lambda rngs: nnx.ConvTranspose(2, 3, (3, 3), strides=2, padding="SAME_LOWER", rngs=rngs),
        "padding='SAME_LOWER', Flax's default, is no padding of torch's here",
    ),
    (
        lambda rngs: nnx.LinearGeneral((2, 3, 4), 5, axis=(1, 2, 3), rngs=rngs),
        "feature order is not known: layer reads the axes (1, 2, 3) together; torch flattens a",
    ),
]
QUIET = [
    lambda rngs: jnn.LayerNorm(5),
    lambda rngs: jnn.GroupNorm(2, 6),
    lambda rngs: jnn.RMSNorm(5),
    lambda rngs: jnn.BatchNorm2d(5, momentum=0.1),
    lambda rngs: nnx.LayerNorm(5, epsilon=1e-5, rngs=rngs),
    lambda rngs: nnx.RMSNorm(5, epsilon=1e-5, rngs=rngs),
    lambda rngs: nnx.BatchNorm(5, momentum=0.9, epsilon=1e-6, rngs=rngs),
    lambda rngs: nnx.Conv(2, 3, (3, 3), padding=1, rngs=rngs),
    lambda rngs: nnx.Conv(2, 3, (1, 1), strides=2, rngs=rngs),
    lambda rngs: nnx.ConvTranspose(2, 3, (2, 3), strides=(2, 3), rngs=rngs),
    lambda rngs: nnx.Conv(2, 3, (3, 3), strides=2, padding=((1, 1), (1, 1)), rngs=rngs),
    lambda rngs: jnn.Conv2d(2, 3, 3, stride=2, padding=1, rngs=rngs),
    lambda rngs: nnx.MultiHeadAttention(2, 6, rngs=rngs),
    lambda rngs: nnx.Sequential(nnx.Linear(4, 24, rngs=rngs), nnx.Linear(24, 4, rngs=rngs)),
]


def warnings_of(layer):
    model = nnx.eval_shape(lambda: nnx.Dict(layer=layer(nnx.Rngs(0))))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plan = jc.plan(model, {})
    assert [str(w.message) for w in caught] == plan.warnings
    assert all(w.filename == __file__ for w in caught)
    return plan.warnings


@pytest.mark.parametrize(("layer", "message"), LINT)
def test_lint(layer, message):
    (warning,) = warnings_of(layer)
    assert warning.startswith(message if message.startswith("feature") else f"layer: {message}")


@pytest.mark.parametrize("layer", QUIET)
def test_no_lint_without_a_reason(layer):
    assert warnings_of(layer) == []


def test_lint_says_a_thing_once():
    (warning,) = warnings_of(lambda rngs: nnx.List(nnx.LayerNorm(n, rngs=rngs) for n in (3, 4, 5)))
    assert warning.startswith("layer.0 and 2 more: LayerNorm has epsilon=1e-06")


POOLS = {
    "same": (
        {"window_shape": (3, 2), "strides": (2, 1), "padding": "SAME"},
        "max_pool: padding=((0, 1), (0, 1)) of a window (3, 2) with strides=(2, 1) is no padding "
        "of torch's, which has padding=p on both sides alike: give explicit pairs, not 'SAME'",
    ),
    "strides": (
        {"window_shape": (3, 2)},
        "max_pool: a window (3, 2) with strides=(1, 1), its default in Flax; torch's default is "
        "the window: give strides=(3, 2)",
    ),
    "explicit": ({"window_shape": (3, 3), "strides": (2, 2), "padding": ((1, 1), (1, 1))}, None),
    "same-but-even": ({"window_shape": (3, 3), "padding": "SAME"}, None),
    "window": ({"window_shape": (2, 3), "strides": (2, 3)}, None),
    "ours": ({"kernel_size": (3, 2), "stride": 1}, None),
    "ours-large": ({"kernel_size": (9, 9), "stride": 2, "ceil_mode": True}, None),
}


@pytest.mark.parametrize("name", POOLS)
def test_lint_of_pools(name):
    how, message = POOLS[name]

    class Model(nnx.Module):
        def __init__(self):
            self.conv = jnn.Conv2d(2, 3, 1, rngs=nnx.Rngs(0))
            self.pool = jnn.MaxPool2d(**how) if "kernel_size" in how else None

        def __call__(self, x):
            x = self.conv(x)
            return self.pool(x) if self.pool else nnx.max_pool(x, **how)

    tensors = {"conv.weight": np.zeros((3, 2, 1, 1), "f4"), "conv.bias": np.zeros(3, "f4")}
    example = jax.ShapeDtypeStruct((1, 12, 10, 2), "float32")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plan = jc.plan(Model(), tensors, example=example)
    assert [str(w.message) for w in caught] == plan.warnings == ([message] if message else [])


class Vgg(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(8, (3, 3), padding="VALID")(x)
        x = nn.Dense(20)(x.reshape(x.shape[0], -1))
        return nn.Dense(3)(nn.Dropout(0.5, deterministic=not train)(x))


def test_a_linen_flatten_is_followed_and_can_be_confirmed():
    """Its path has the collection in front, which must not lose the rule."""
    example = (jax.ShapeDtypeStruct((1, 5, 4, 2), "float32"), False)
    rng = np.random.default_rng(0)
    shapes = {"c.weight": (8, 2, 3, 3), "c.bias": (8,), "d.weight": (20, 48), "d.bias": (20,)}
    shapes |= {"e.weight": (3, 20), "e.bias": (3,)}
    tensors = {name: rng.standard_normal(shape).astype("f4") for name, shape in shapes.items()}
    how = {"example": example, "names": {"params.Conv_0": "c", "Dense_0": "d", "Dense_1": "e"}}
    with pytest.warns(jc.ConversionWarning, match=r'rules={"Dense_0": FlattenLinear\(8, 3, 2\)}'):
        jc.plan(Vgg(), tensors, **how)
    rules = {"params.Dense_0": jc.FlattenLinear(8, 3, 2)}
    variables, report = jc.load_torch_linen(Vgg(), tensors, rules=rules, **how)
    assert not report.warnings
    kernel = variables["params"]["Dense_0"]["kernel"].reshape(3, 2, 8, 20)
    weight = tensors["d.weight"].reshape(20, 8, 3, 2)
    for o, c, y, x in np.ndindex(weight.shape):
        assert kernel[y, x, c, o] == weight[o, c, y, x]


def test_a_norm_over_several_axes_is_told_and_can_be_told_otherwise():
    class Norm(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.LayerNorm(epsilon=1e-5, reduction_axes=(1, 2), feature_axes=(1, 2))(x)

    tensors = {n: np.arange(9, dtype="f4").reshape(3, 3) for n in ("n.weight", "n.bias")}
    how = {"example": jnp.ones((2, 3, 3), "float32"), "names": {"LayerNorm_0": "n"}}
    with pytest.warns(jc.ConversionWarning, match="a norm over 2 axes"):
        variables, report = jc.load_torch_linen(Norm(), tensors, **how)
    (warning,) = report.warnings
    assert warning.startswith("params.LayerNorm_0: a norm over 2 axes is taken as torch's (C, *s")
    held = variables["params"]["LayerNorm_0"]["scale"]
    np.testing.assert_array_equal(held, tensors["n.weight"].T)
    rules = {f"LayerNorm_0.{leaf}": jc.Identity() for leaf in ("scale", "bias")}
    variables, report = jc.load_torch_linen(Norm(), tensors, rules=rules, **how)
    assert not report.warnings
    held = variables["params"]["LayerNorm_0"]["scale"]
    np.testing.assert_array_equal(held, tensors["n.weight"])


# --- linen and nnx structures ---------------------------------------------------------------------


class Stack(nn.Module):
    def setup(self):
        self.stem = nn.Sequential([nn.Dense(4), nn.relu, nn.remat(nn.Dense)(5)])
        self.own = nn.remat(Own)()

    def __call__(self, x):
        return self.own(self.stem(x))


class Own(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x * self.param("gain", nn.initializers.ones, (5,), "float32")[None]


def test_a_linen_sequential_counts_as_torch_does():
    shapes = {"stem.0.weight": (4, 3), "stem.0.bias": (4,), "stem.2.weight": (5, 4)}
    shapes |= {"stem.2.bias": (5,), "own.gain": (5,)}
    tensors = {name: np.ones(shape, "f4") for name, shape in shapes.items()}
    variables, _ = jc.load_torch_linen(Stack(), tensors, example=jnp.ones((2, 3), "float32"))
    assert variables["params"]["stem"]["layers_2"]["kernel"].shape == (4, 5)


def test_random_streams_of_an_abstract_model_become_real():
    def make():
        rngs = nnx.Rngs(0)
        layers = [nnx.Linear(50, 60, rngs=rngs)] + [nnx.Dropout(0.5, rngs=rngs) for _ in "ab"]
        return nnx.Sequential(*layers)

    tensors = {"0.weight": np.ones((60, 50), "f4"), "0.bias": np.ones(60, "f4")}
    model, _ = jc.load_torch(nnx.eval_shape(make), tensors)
    out = nnx.jit(lambda m, x: m(x))(model, jnp.ones((3, 50), "float32"))
    assert 0.1 < np.mean(np.asarray(out) == 0) < 0.9
    one, two = (model.layers[i].rngs.key.get_value() for i in (1, 2))
    assert not np.array_equal(jax.random.key_data(one), jax.random.key_data(two))


def test_a_model_that_is_none_is_refused():
    for model in (None, Net, Vgg(), "net"):
        with pytest.raises(TypeError, match=r"model must be a flax\.nnx\.Module"):
            jc.plan(model, {})
