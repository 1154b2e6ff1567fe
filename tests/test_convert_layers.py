"""Every kind of layer with torch's weights computes what torch computes, and gives them back."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from flax_twins import PAIRS, Pair, random_state, same, tnn, torch

import jaxgroups.convert as jc

load_file = importlib.import_module("safetensors.torch").load_file


@pytest.fixture(autouse=True)
def promotion():
    """Flax's own layers promote ranks and dtypes, which conftest forbids for jaxgroups."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def state_of(pair, directory):
    """Torch's module with random tensors, and the file of them."""
    module = random_state(pair.torch(), 1)
    path = directory / "model.pth"
    torch.save(module.state_dict(), path)
    return module, path


def data(shape):
    return np.random.default_rng(3).standard_normal(shape)


def assert_equal_output(pair, module, flax):
    """Float64 on both sides, so what differs is more than rounding."""
    x = data(pair.shape)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    actual = pair.out(np.asarray(flax(jnp.asarray(pair.into(x)))))
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype == np.float64
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-11)


def assert_comes_back(path, state):
    returned = load_file(path)
    assert returned.keys() == state.keys()
    for key, tensor in state.items():
        assert returned[key].dtype == tensor.dtype, key
        assert returned[key].shape == tensor.shape, key
        assert returned[key].numpy().tobytes() == tensor.numpy().tobytes(), key


class Holder(nnx.Module):
    def __init__(self, layer):
        self.layer = layer


class TorchHolder(tnn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)


class LinenHolder(nn.Module):
    make: object

    def setup(self):
        self.layer = self.make()

    def __call__(self, x):
        return self.layer(x)


@pytest.mark.parametrize("name", [n for n, pair in PAIRS.items() if pair.nnx])
def test_nnx(name, tmp_path):
    pair = PAIRS[name]
    module, path = state_of(pair._replace(torch=lambda: TorchHolder(pair.torch())), tmp_path)
    model = nnx.eval_shape(lambda: Holder(pair.nnx(nnx.Rngs(0))))
    model, report = jc.load_torch(model, path)
    assert not report.casts
    assert not report.unfilled
    assert_equal_output(pair, module, model.layer)
    jc.save_torch(model, tmp_path / "back.safetensors", extras=report.extras)
    assert_comes_back(tmp_path / "back.safetensors", module.state_dict())


@pytest.mark.parametrize("name", PAIRS)
def test_linen(name, tmp_path):
    pair = PAIRS[name]
    module, path = state_of(pair._replace(torch=lambda: TorchHolder(pair.torch())), tmp_path)
    flax = LinenHolder(pair.linen)
    example = jax.ShapeDtypeStruct(pair.into(data(pair.shape)).shape, "float64")
    variables, report = jc.load_torch_linen(flax, path, example=example)
    assert_equal_output(pair, module, lambda x: flax.apply(variables, x))
    back = tmp_path / "back.safetensors"
    how = {"variables": variables, "example": example, "extras": report.extras}
    jc.save_torch(flax, back, **how)
    assert_comes_back(back, module.state_dict())


@pytest.mark.parametrize("name", [n for n, pair in PAIRS.items() if pair.nnx])
def test_a_single_layer_is_a_model_too(name, tmp_path):
    """Its keys have no module in front of them."""
    pair = PAIRS[name]
    module, path = state_of(pair, tmp_path)
    model, report = jc.load_torch(nnx.eval_shape(lambda: pair.nnx(nnx.Rngs(0))), path)
    assert_equal_output(pair, module, model)
    jc.save_torch(model, tmp_path / "back.safetensors", extras=report.extras)
    assert_comes_back(tmp_path / "back.safetensors", module.state_dict())


@pytest.mark.parametrize("name", [n for n, pair in PAIRS.items() if pair.nnx])
def test_file_to_file(name, tmp_path):
    """By a plan that went through JSON, without the model."""
    pair = PAIRS[name]
    module, path = state_of(pair, tmp_path)
    jc.plan(nnx.eval_shape(lambda: pair.nnx(nnx.Rngs(0))), path).to_json(tmp_path / "plan.json")
    plan = jc.Plan.from_json(tmp_path / "plan.json")
    assert jc.convert_file(path, tmp_path / "flax.safetensors", plan) == []
    assert jc.verify_file(path, tmp_path / "flax.safetensors", plan) == []
    jc.convert_file(tmp_path / "flax.safetensors", tmp_path / "b.safetensors", plan, to="torch")
    assert_comes_back(tmp_path / "b.safetensors", module.state_dict())
    with jc.open_checkpoint(tmp_path / "flax.safetensors") as flax:
        model, _ = jc.load_torch(nnx.eval_shape(lambda: pair.nnx(nnx.Rngs(0))), path)
        for leaf, variable in nnx.to_flat_state(nnx.state(model)):
            held = np.asarray(variable.get_value())
            assert flax.read(".".join(map(str, leaf))).tobytes() == held.tobytes()


# --- embeddings and attention ---------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(7, 3), (5, 5)])
def test_embed(sizes, tmp_path):
    pair = Pair(
        lambda: tnn.Embedding(*sizes),
        lambda rngs: nnx.Embed(*sizes, rngs=rngs),
        lambda: nn.Embed(*sizes),
        (4, 3),
        same,
        same,
    )
    module = pair.torch()
    path = tmp_path / "model.pth"
    torch.save(module.state_dict(), path)
    x = np.random.default_rng(0).integers(0, sizes[0], pair.shape)
    expected = module(torch.from_numpy(x)).detach().numpy()
    model, _ = jc.load_torch(nnx.eval_shape(lambda: pair.nnx(nnx.Rngs(0))), path)
    np.testing.assert_array_equal(model(jnp.asarray(x)), expected)
    example = jax.ShapeDtypeStruct(x.shape, "int64")
    variables, _ = jc.load_torch_linen(pair.linen(), path, example=example)
    np.testing.assert_array_equal(pair.linen().apply(variables, jnp.asarray(x)), expected)
    jc.save_torch(model, tmp_path / "back.safetensors")
    assert_comes_back(tmp_path / "back.safetensors", module.state_dict())


def attend(query, key, value, **_):
    """The definition, in the inputs' dtype: Flax's own computes in float32."""
    weights = jnp.einsum("bqhd,bkhd->bhqk", query, key) / jnp.sqrt(query.shape[-1])
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(weights), value)


ATTENTIONS = {
    "self": {},
    "without bias": {"bias": False},
    "keys of another size": {"kdim": 5, "vdim": 5},
    "keys of another size, without bias": {"kdim": 5, "vdim": 5, "bias": False},
}


@pytest.mark.parametrize("name", ATTENTIONS)
@pytest.mark.parametrize("kind", ["nnx", "linen"])
def test_multi_head_attention(name, kind, tmp_path):
    kw = ATTENTIONS[name]
    theirs = random_state(tnn.MultiheadAttention(6, 2, batch_first=True, **kw), 4)
    path = tmp_path / "model.pth"
    torch.save(theirs.state_dict(), path)
    q, k = data((3, 4, 6)), data((3, 7, kw.get("kdim", 6)))
    with torch.no_grad():
        expected = theirs(*map(torch.from_numpy, (q, k, k)), need_weights=False)[0].numpy()
    bias = kw.get("bias", True)
    q, k = jnp.asarray(q), jnp.asarray(k)
    back = tmp_path / "back.safetensors"
    if kind == "nnx":
        settings = {"in_kv_features": kw.get("kdim"), "use_bias": bias, "decode": False}
        settings["attention_fn"] = attend
        make = nnx.MultiHeadAttention
        model = nnx.eval_shape(lambda: make(2, 6, **settings, rngs=nnx.Rngs(0)))
        model, _ = jc.load_torch(model, path)
        actual = model(q, k)
        jc.save_torch(model, back)
    else:
        module = nn.MultiHeadDotProductAttention(2, use_bias=bias)
        example = (jax.ShapeDtypeStruct(q.shape, "float64"), jax.ShapeDtypeStruct(k.shape, "f8"))
        variables, _ = jc.load_torch_linen(module, path, example=example)
        actual = module.apply(variables, q, k)
        jc.save_torch(module, back, variables=variables, example=example)
    np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-11)
    assert_comes_back(back, theirs.state_dict())


def test_attention_with_fewer_heads_of_keys_has_no_counterpart():
    make = nnx.MultiHeadAttention
    model = nnx.eval_shape(lambda: make(4, 8, num_kv_heads=2, rngs=nnx.Rngs(0)))
    plan = jc.plan(model, {"in_proj_weight": np.zeros((24, 8), "f4")})
    with pytest.raises(jc.ConversionError, match="fewer heads of keys than of queries"):
        plan.raise_if_incomplete()


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


def bare():
    return nnx.eval_shape(lambda: Bare(nnx.Rngs(0)))


def saved(model, directory, **how):
    path = directory / "saved.safetensors"
    jc.save_torch(model, path, overwrite=True, **how)
    with jc.open_checkpoint(path) as checkpoint:
        return {name: checkpoint.read(name) for name in checkpoint.infos}


def assert_same_arrays(actual, expected):
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert (actual[name].shape, actual[name].dtype) == (array.shape, array.dtype), name
        assert actual[name].tobytes() == array.tobytes(), name


def test_bare_parameters_go_by_their_exact_names(tmp_path):
    state = bare_state()
    model, _ = jc.load_torch(bare(), state)
    assert model.logit_scale.get_value() == 1.5
    assert model.table.get_value().dtype == "int32"
    np.testing.assert_array_equal(model.linear.kernel.get_value(), state["linear.weight"].T)
    assert_same_arrays(saved(model, tmp_path), state)


def test_a_bare_parameter_of_another_shape_needs_a_rule(tmp_path):
    state = bare_state((1, 3, 1, 1))
    with pytest.raises(jc.ConversionError, match=r"size mismatch for gamma: .* \(1, 3, 1, 1\)"):
        jc.load_torch(bare(), state)
    rules = {"gamma": jc.Reshape((1, 3, 1, 1), (3,))}
    model, _ = jc.load_torch(bare(), state, rules=rules)
    np.testing.assert_array_equal(model.gamma.get_value(), state["gamma"].ravel())
    assert_same_arrays(saved(model, tmp_path, rules=rules), state)


def test_a_rule_tells_a_bare_parameter_another_name(tmp_path):
    state = bare_state((1, 3))
    state["scale"] = state.pop("gamma")
    rules = {"gamma": jc.Leaf("scale", jc.Reshape((1, 3), (3,)))}
    model, _ = jc.load_torch(bare(), state, rules=rules)
    assert_same_arrays(saved(model, tmp_path, rules=rules), state)
    state["scale"] = state["scale"].ravel()
    names = {"gamma": "scale"}
    model, _ = jc.load_torch(bare(), state, names=names)
    assert_same_arrays(saved(model, tmp_path, names=names), state)


# --- weight norm ----------------------------------------------------------------------------------


def normalized(spelling, dim):
    torch.manual_seed(0)
    layer = tnn.ConvTranspose2d(4, 6, (3, 2), groups=2).double()
    if spelling == "parametrizations":
        return tnn.utils.parametrizations.weight_norm(layer, dim=dim)
    with pytest.warns(FutureWarning):
        return tnn.utils.weight_norm(layer, dim=dim)


@pytest.mark.parametrize("spelling", ["parametrizations", "weight_g"])
@pytest.mark.parametrize("dim", [0, 1, 2, None])
def test_weight_norm_is_folded_and_told(spelling, dim, tmp_path):
    layer = normalized(spelling, dim)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.endswith(("original0", "weight_g")):
                parameter.mul_(torch.rand(parameter.shape, dtype=torch.float64) + 0.5)
    path = tmp_path / "model.pth"
    torch.save(layer.state_dict(), path)
    assert any("original0" in key or key == "weight_g" for key in layer.state_dict())
    import jaxgroups.nnx as jnn

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
    with pytest.raises(ValueError, match="a folded weight norm cannot be taken apart again"):
        jc.convert_file(flax, tmp_path / "back.safetensors", report.plan, to="torch")
    assert not (tmp_path / "back.safetensors").exists()


@pytest.mark.parametrize("shape", [(6,), (1, 5, 1), (5, 1, 1), (5, 4, 1), (5, 1)])
def test_a_magnitude_that_is_none_is_refused(shape):
    """(5, 4, 1) would broadcast, and give other values than any weight norm of torch."""
    state = {"weight_v": np.ones((5, 4, 3)), "weight_g": np.ones(shape)}
    model = nnx.eval_shape(lambda: nnx.Conv(4, 5, (3,), use_bias=False, rngs=nnx.Rngs(0)))
    plan = jc.plan(model, state)
    if shape == (5, 1, 1):
        assert [e.status for e in plan.entries] == ["folded"]
        return
    assert [e.status for e in plan.entries] == ["mismatched"]
    assert "is no magnitude of the (5, 4, 3)" in plan.entries[0].note


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
    # without the rule every shape fits, the result is wrong, and the plan says so
    _, report, wrong = output(None)
    assert np.abs(wrong - expected).max() > 0.1
    assert report.warnings == [
        "fc reads 24 = 4 * 6 features: if they are a flattened feature map, pass "
        'rules={"fc": FlattenLinear(4, h, w)} with h * w = 6'
    ]


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
    from jaxgroups.convert import _rules

    monkeypatch.setattr(_rules, "_RULES", dict(_rules._RULES))


def test_register(registry, tmp_path):
    state = {"scaled.gain": np.arange(1, 4).reshape(1, 3, 1, 1).astype("f4")}
    net = nnx.eval_shape(Net)
    with pytest.raises(jc.ConversionError) as refused:
        jc.load_torch(net, state)
    text = str(refused.value)
    assert "scaled (test_convert_layers.Scaled) holds 'weight_scale' of shape (3,)" in text
    assert "@jaxgroups.convert.register(Scaled)" in text
    assert 'return {"weight_scale": Leaf("<name in torch>", <operation>)}' in text

    @jc.register(Scaled)
    def _(layer, shapes):
        (n,) = shapes["weight_scale"]
        return {"weight_scale": jc.Leaf("gain", jc.Reshape((1, n, 1, 1), (n,)))}

    model, _ = jc.load_torch(net, state)
    np.testing.assert_array_equal(model.scaled.weight_scale.get_value(), [1, 2, 3])
    assert_same_arrays(saved(model, tmp_path), state)


def test_a_subclass_has_the_rule_of_its_base_and_a_registered_one_its_own(registry):
    class Own(nnx.Linear):
        pass

    make = nnx.eval_shape(lambda: Holder(Own(2, 3, rngs=nnx.Rngs(0))))
    state = {"layer.weight": np.ones((3, 2), "f4"), "layer.bias": np.ones(3, "f4")}
    assert jc.plan(make, state).complete

    @jc.register(Own)
    def _(layer, shapes):
        return jc.Rule({"kernel": jc.Leaf("w"), "bias": jc.Leaf("b")}, torch_only=("steps",))

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
        lambda rngs: nnx.LSTMCell(3, 4, rngs=rngs),
        lambda rngs: nnx.GRUCell(3, 4, rngs=rngs),
        lambda rngs: nnx.RNN(nnx.SimpleCell(3, 4, rngs=rngs)),
        lambda rngs: nnx.Einsum("ab,bc->ac", (3, 4), (4,), rngs=rngs),
        lambda rngs: nnx.SpectralNorm(nnx.Linear(3, 4, rngs=rngs), rngs=rngs),
        lambda rngs: nnx.WeightNorm(nnx.Linear(3, 4, rngs=rngs), rngs=rngs),
        lambda rngs: nnx.LoRALinear(3, 4, lora_rank=2, rngs=rngs),
    ],
    ids=["LSTMCell", "GRUCell", "RNN", "Einsum", "SpectralNorm", "WeightNorm", "LoRALinear"],
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
    model = nnx.vmap(lambda key: nnx.Conv(2, 3, (3,), rngs=nnx.Rngs(key)), in_axes=0)(
        jax.random.split(jax.random.key(0), 4)
    )
    plan = jc.plan(model, {"weight": np.zeros((3, 2, 3), "f4"), "bias": np.zeros(3, "f4")})
    assert {e.status for e in plan.problems} == {"unknown", "unexpected"}
    assert "its kernel has 4 axes, but one such layer has 3" in plan.problems[0].note
