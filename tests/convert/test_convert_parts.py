"""Parameters outside of layers, weight norms, flattened features, and layers of other libraries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.checkpoints import assert_same_tensors, saved
from support.flax_twins import Holder, assert_comes_back, data, random_state, tnn, torch

import jaxgroups.convert as jc
import jaxgroups.nnx as jnn

pytestmark = pytest.mark.usefixtures("flax_promotion")


# --- what lies directly on a module ---------------------------------------------------------------


class Bare(nnx.Module):
    def __init__(self, rngs):
        self.buffer = nnx.data(jnp.zeros(4))
        self.linear = nnx.Linear(3, 3, rngs=rngs)
        self.logit_scale = nnx.Param(jnp.zeros(()))
        self.gamma = nnx.Param(jnp.zeros((3,)))
        self.table = nnx.Variable(jnp.zeros((2, 3), "int32"))


def bare_state(gamma=(3,)):
    rng = np.random.default_rng(5)
    return {
        "linear.weight": rng.standard_normal((3, 3)).astype("f4"),
        "linear.bias": rng.standard_normal(3).astype("f4"),
        "logit_scale": np.array(1.5, "f4"),
        "buffer": rng.standard_normal(4),
        "gamma": rng.standard_normal(gamma).astype("f4"),
        "table": np.arange(6).reshape(2, 3).astype("i4"),
    }


def without_layers():
    return nnx.eval_shape(lambda: Bare(nnx.Rngs(0)))


def test_bare_parameters_go_by_their_exact_names(tmp_path):
    state = bare_state()
    model, _ = jc.load_torch(without_layers(), state)
    assert model.logit_scale.get_value() == 1.5
    assert model.table.get_value().dtype == "int32"
    np.testing.assert_array_equal(model.linear.kernel.get_value(), state["linear.weight"].T)
    assert_same_tensors(saved(model, tmp_path), state)


def test_a_bare_parameter_of_another_shape_needs_a_rule(tmp_path):
    state = bare_state((1, 3, 1, 1))
    with pytest.raises(jc.ConversionError, match=r"size mismatch for gamma: .* \(1, 3, 1, 1\)"):
        jc.load_torch(without_layers(), state)
    rules = {"gamma": jc.Reshape((1, 3, 1, 1), (3,))}
    model, _ = jc.load_torch(without_layers(), state, rules=rules)
    np.testing.assert_array_equal(model.gamma.get_value(), state["gamma"].ravel())
    assert_same_tensors(saved(model, tmp_path, rules=rules), state)


def test_a_rule_tells_a_bare_parameter_another_name(tmp_path):
    state = bare_state((1, 3))
    state["scale"] = state.pop("gamma")
    rules = {"gamma": jc.TensorRule("scale", jc.Reshape((1, 3), (3,)))}
    model, _ = jc.load_torch(without_layers(), state, rules=rules)
    assert_same_tensors(saved(model, tmp_path, rules=rules), state)
    state["scale"] = state["scale"].ravel()
    names = {"gamma": "scale"}
    model, _ = jc.load_torch(without_layers(), state, names=names)
    assert_same_tensors(saved(model, tmp_path, names=names), state)


# --- weight norm ----------------------------------------------------------------------------------


def normalized(style, dim):
    torch.manual_seed(0)
    layer = tnn.ConvTranspose2d(4, 6, (3, 2), groups=2).double()
    if style == "parametrizations":
        return tnn.utils.parametrizations.weight_norm(layer, dim=dim)
    with pytest.warns(FutureWarning):
        return tnn.utils.weight_norm(layer, dim=dim)


@pytest.mark.filterwarnings("ignore:.*taken as a weight norm:jaxgroups.convert.ConversionWarning")
@pytest.mark.parametrize("style", ["parametrizations", "weight_g"])
@pytest.mark.parametrize("dim", [0, 1, 2, None])
def test_weight_norm_is_folded_and_reported(style, dim, tmp_path):
    layer = normalized(style, dim)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.endswith(("original0", "weight_g")):
                parameter.mul_(torch.rand(parameter.shape, dtype=torch.float64) + 0.5)
    path = tmp_path / "model.pth"
    torch.save(layer.state_dict(), path)
    assert any("original0" in key or key == "weight_g" for key in layer.state_dict())
    make = jnn.ConvTranspose2d
    model = nnx.eval_shape(lambda: make(4, 6, (3, 2), groups=2, rngs=nnx.Rngs(0)))
    model, report = jc.load_torch(model, path)
    assert len(report.folded) == 1
    assert "is folded: import only" in report.folded[0]
    x = data((2, 4, 3, 5))
    expected = layer(torch.from_numpy(x)).detach().numpy()
    actual = np.moveaxis(np.asarray(model(jnp.asarray(np.moveaxis(x, 1, -1)))), -1, 1)
    np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-11)
    # the weight itself, by torch's own computation
    np.testing.assert_allclose(
        jc.kernel_to_torch(model.kernel, model), layer.weight.detach().numpy(), rtol=1e-14
    )
    flax = tmp_path / "flax.safetensors"
    notes = jc.convert_file(path, flax, report.plan)
    assert notes == report.folded
    assert jc.verify_file(path, flax, report.plan) == []
    with pytest.raises(ValueError, match="a folded weight norm cannot be taken apart again"):
        jc.convert_file(flax, tmp_path / "back.safetensors", report.plan, to="torch")
    assert not (tmp_path / "back.safetensors").exists()


@pytest.mark.parametrize("shape", [(6,), (1, 5, 1), (5, 1, 1), (5, 4, 1), (5, 1)])
def test_a_magnitude_that_is_none_is_refused(shape):
    """(5, 4, 1) would broadcast, and give other values than any weight norm of torch."""
    state = {"weight_v": np.ones((5, 4, 3)), "weight_g": np.ones(shape)}
    model = nnx.eval_shape(lambda: nnx.Conv(4, 5, 3, padding=0, use_bias=False, rngs=nnx.Rngs(0)))
    plan = jc.plan(model, state)
    if shape == (5, 1, 1):
        assert [e.status for e in plan.entries] == ["folded"]
        return
    assert [e.status for e in plan.entries] == ["mismatched"]
    assert (
        "is not the shape of a magnitude for a direction of shape (5, 4, 3)" in plan.entries[0].note
    )


# --- Linear after flatten -------------------------------------------------------------------------


class Flattened(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(2, 4, (3, 3), padding="VALID", rngs=rngs)
        self.fc = nnx.Linear(4 * 3 * 2, 5, rngs=rngs)

    def __call__(self, x):
        return self.fc(self.conv(x).reshape(x.shape[0], -1))


def test_linear_after_flatten(tmp_path):
    layers = {"conv": tnn.Conv2d(2, 4, 3), "flatten": tnn.Flatten(), "fc": tnn.Linear(24, 5)}
    theirs = random_state(tnn.Sequential(), 2)
    for name, layer in layers.items():
        theirs.add_module(name, layer)
    theirs = random_state(theirs, 2)
    torch.save(theirs.state_dict(), tmp_path / "model.pth")
    x = data((3, 2, 5, 4))
    expected = theirs(torch.from_numpy(x)).detach().numpy()

    def output(rules):
        model = nnx.eval_shape(lambda: Flattened(nnx.Rngs(0)))
        model, report = jc.load_torch(model, tmp_path / "model.pth", rules=rules)
        return model, report, np.asarray(model(jnp.asarray(np.moveaxis(x, 1, -1))))

    rules = {"fc": jc.FlattenLinear(4, 3, 2)}
    model, report, actual = output(rules)
    assert not report.warnings
    np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-11)
    jc.save_torch(model, tmp_path / "back.safetensors", rules=rules)
    assert_comes_back(tmp_path / "back.safetensors", theirs.state_dict())
    # without the rule the features are followed through the model, and the plan says so
    with pytest.warns(
        jc.ConversionWarning, match=r'rules={"fc": FlattenLinear\(4, 6\)} to confirm'
    ):
        _, report, followed = output(None)
    np.testing.assert_allclose(followed, expected, rtol=1e-11, atol=1e-11)
    assert len(report.warnings) == 1


# --- layers of others -----------------------------------------------------------------------------


class Scaled(nnx.Module):
    """A layer of somebody: torch keeps its scale as (1, C, 1, 1)."""

    def __init__(self, channels):
        self.weight_scale = nnx.Param(jnp.ones((channels,)))


class Net(nnx.Module):
    def __init__(self):
        self.scaled = Scaled(3)


@pytest.fixture
def registry(monkeypatch):
    from jaxgroups.convert._rules import layers as _rules

    monkeypatch.setattr(_rules, "_RULES", dict(_rules._RULES))


def test_register(registry, tmp_path):
    state = {"scaled.gain": np.arange(1, 4).reshape(1, 3, 1, 1).astype("f4")}
    net = nnx.eval_shape(Net)
    with pytest.raises(jc.ConversionError) as refused:
        jc.load_torch(net, state)
    text = str(refused.value)
    assert "scaled (test_convert_parts.Scaled) holds 'weight_scale' of shape (3,)" in text
    assert "@jaxgroups.convert.register(Scaled)" in text

    @jc.register(Scaled)
    def _(layer, shapes):
        (n,) = shapes["weight_scale"]
        return {"weight_scale": jc.TensorRule("gain", jc.Reshape((1, n, 1, 1), (n,)))}

    model, _ = jc.load_torch(net, state)
    np.testing.assert_array_equal(model.scaled.weight_scale.get_value(), [1, 2, 3])
    assert_same_tensors(saved(model, tmp_path), state)


def test_a_subclass_has_the_rule_of_its_base_and_a_registered_one_its_own(registry):
    class Own(nnx.Linear):
        pass

    make = nnx.eval_shape(lambda: Holder(Own(2, 3, rngs=nnx.Rngs(0))))
    state = {"layer.weight": np.ones((3, 2), "f4"), "layer.bias": np.ones(3, "f4")}
    assert jc.plan(make, state).complete

    @jc.register(Own)
    def _(layer, shapes):
        return jc.Rule(
            {"kernel": jc.TensorRule("w"), "bias": jc.TensorRule("b")}, torch_only=("steps",)
        )

    state = {
        "layer.w": np.ones((2, 3), "f4"),
        "layer.b": np.ones(3, "f4"),
        "layer.steps": np.array(5),
    }
    _, report = jc.load_torch(make, state)
    assert report.extras["layer.steps"] == 5


@pytest.mark.parametrize(
    "make",
    [
        lambda rngs: nnx.Einsum("ab,bc->ac", (3, 4), (4,), rngs=rngs),
        lambda rngs: nnx.SpectralNorm(nnx.Linear(3, 4, rngs=rngs), rngs=rngs),
        lambda rngs: nnx.WeightNorm(nnx.Linear(3, 4, rngs=rngs), rngs=rngs),
    ],
    ids=["Einsum", "SpectralNorm", "WeightNorm"],
)
def test_layers_of_flax_without_a_rule_are_named_in_both_directions(make, tmp_path, request):
    model = Holder(make(nnx.Rngs(0)))
    name = request.node.callspec.id
    for attempt in (
        lambda: jc.load_torch(model, {"layer.weight": np.ones((4, 3))}),
        lambda: jc.save_torch(model, tmp_path / "a.safetensors"),
    ):
        with pytest.raises(jc.ConversionError, match=rf"unknown layer: layer \({name}\)") as error:
            attempt()
        assert f"@jaxgroups.convert.register({name})" in str(error.value)
    assert not list(tmp_path.iterdir())


def test_stacked_layers_have_no_counterpart():
    model = nnx.vmap(lambda key: nnx.Conv(2, 3, (3,), padding=0, rngs=nnx.Rngs(key)), in_axes=0)(
        jax.random.split(jax.random.key(0), 4)
    )
    plan = jc.plan(model, {"weight": np.zeros((3, 2, 3), "f4"), "bias": np.zeros(3, "f4")})
    assert {e.status for e in plan.problems} == {"unknown", "unexpected"}
    assert "its kernel has 4 axes, but one such layer has 3" in plan.problems[0].note
