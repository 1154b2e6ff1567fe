"""Every kind of layer with torch's weights computes what torch computes, and gives them back."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from support.flax_twins import (
    PAIRS,
    Holder,
    Pair,
    assert_comes_back,
    data,
    random_state,
    same,
    tnn,
    torch,
)

import jaxgroups.convert as jc

pytestmark = pytest.mark.usefixtures("flax_promotion")


def state_of(pair, directory):
    """Torch's module with random tensors, and the file of them."""
    module = random_state(pair.torch(), 1)
    path = directory / "model.pth"
    torch.save(module.state_dict(), path)
    return module, path


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
    with warnings.catch_warnings():
        if name == "LayerNorm over a feature map":
            warnings.filterwarnings("ignore", ".* a norm over 3 axes", jc.ConversionWarning)
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
