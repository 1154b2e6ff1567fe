"""A layer without a rule: the error lists every parameter once, with a rule to paste."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from support.checkpoints import assert_same_tensors, saved

import jaxgroups.convert as jc
import jaxgroups.nnx as jnn
from jaxgroups.convert._rules import layers

# these models cannot be called, so the order of their features is asked about
pytestmark = pytest.mark.filterwarnings("ignore::jaxgroups.convert.ConversionWarning")


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    monkeypatch.setattr(layers, "_RULES", dict(layers._RULES))


def refused(model, state, **how):
    with pytest.raises(jc.ConversionError) as error:
        jc.load_torch(model, state, **how)
    return error.value


def pasted(error):
    """What a reader copies out of the error, run as it stands."""
    (text,) = re.findall(r"^from jaxgroups\.convert import .*?^    }$", str(error), re.M | re.S)
    exec(compile(text, "pasted", "exec"), {"__name__": "pasted"})
    return text


class Holder(nnx.Module):
    def __init__(self, layer):
        self.layer = layer


class Scale(nnx.Module):
    def __init__(self, channels):
        self.weight_scale = nnx.Param(jnp.ones((channels,)))


class Mixer(nnx.Module):
    """Nested parameters of different shapes, two of them of one shape."""

    def __init__(self):
        self.kernel = nnx.Param(jnp.zeros((3, 5)))
        self.scale = Scale(4)
        self.temperature = nnx.Param(jnp.zeros((1,)))
        self.table = nnx.Param(jnp.zeros((2, 3, 4)))


class Model(nnx.Module):
    def __init__(self):
        self.mixer = Mixer()
        self.fc = nnx.Linear(3, 2, rngs=nnx.Rngs(0))


def numbers(shapes, start=1):
    found = {}
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        found[name] = np.arange(start, start + size, dtype="f4").reshape(shape)
        start += size
    return found


FC = {"fc.weight": (2, 3), "fc.bias": (2,)}


def test_a_pasted_rule_works_as_it_is(tmp_path):
    """For its layer; the nested one is bare, found in the same way."""
    state = numbers(
        {
            "mixer.weight": (5, 3),
            "mixer.t": (),
            "mixer.embedding": (4, 2, 3),
            "mixer.scale.gain": (1, 4, 1, 1),
            **FC,
        }
    )
    state["mixer.t"] = np.array([7], "f4")
    model = Model()
    error = refused(model, state)
    for leaf in ("kernel", "temperature", "table"):
        assert str(error).count(f'"{leaf}": TensorRule(') == 1
    blocks = re.findall(r"^from jaxgroups\.convert import .*?^    }$", str(error), re.M | re.S)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "pasted", "exec"), {"__name__": "pasted"})
    model, _ = jc.load_torch(model, state)
    mixer = model.mixer
    np.testing.assert_array_equal(mixer.kernel.get_value(), state["mixer.weight"].T)
    np.testing.assert_array_equal(mixer.temperature.get_value(), state["mixer.t"])
    table = np.einsum("cab->abc", state["mixer.embedding"])
    np.testing.assert_array_equal(mixer.table.get_value(), table)
    gain = state["mixer.scale.gain"].ravel()
    np.testing.assert_array_equal(mixer.scale.weight_scale.get_value(), gain)
    assert_same_tensors(saved(model, tmp_path), state)


def test_a_pasted_rule_holds_for_layers_of_other_sizes(tmp_path):
    model = nnx.Dict(a=Scale(4), b=Scale(3))
    state = numbers({"a.gain": (1, 4, 1, 1), "b.gain": (1, 3, 1, 1)})
    error = refused(model, state)
    assert str(error).count('"weight_scale": TensorRule(') == 1
    pasted(error)
    model, _ = jc.load_torch(model, state)
    np.testing.assert_array_equal(model.b.weight_scale.get_value(), state["b.gain"].ravel())
    assert_same_tensors(saved(model, tmp_path), state)


def test_layers_of_flax_get_one_too(tmp_path):
    make = lambda: Holder(nnx.Einsum("ab,bc->ac", (3, 4), (4,), rngs=nnx.Rngs(0)))  # noqa: E731
    state = numbers({"layer.weight": (4, 3), "layer.bias": (4,)})
    error = refused(make(), state)
    assert error.unknown == ["layer (Einsum) has parameters, but no rule"]
    text = pasted(error)
    assert '"kernel": TensorRule("weight", Permute((1, 0))),  # (3, 4), torch (4, 3)' in text
    assert "from flax.nnx.nn.linear import Einsum" in text
    model, _ = jc.load_torch(make(), state)
    np.testing.assert_array_equal(model.layer.kernel.get_value(), state["layer.weight"].T)
    assert_same_tensors(saved(model, tmp_path), state)


def test_equal_sizes_are_marked():
    model = Holder(nnx.Einsum("ab,bc->ac", (4, 4), (4,), rngs=nnx.Rngs(0)))
    text = pasted(refused(model, numbers({"layer.weight": (4, 4), "layer.bias": (4,)})))
    assert (
        '"kernel": TensorRule("weight", Permute((1, 0))),  # (4, 4), torch (4, 4); equal sizes: '
        "check the order of the axes"
    ) in text


def test_without_a_tensor_that_fits_the_rule_can_still_be_pasted():
    """It has the model's own names, so the next error is torch's: a missing key."""
    model = Holder(nnx.Einsum("ab,bc->ac", (3, 4), (4,), rngs=nnx.Rngs(0)))
    text = pasted(refused(model, numbers({"layer.u": (7, 3), "layer.v": (9,)})))
    assert '"kernel": TensorRule("kernel"),  # (3, 4), torch\'s name is not known' in text
    error = refused(model, {})
    assert error.missing_keys == ["layer.bias", "layer.kernel"]


def test_names_of_a_file_cannot_leave_their_string():
    name = 'x"), __import__("os").abort(), ("\n'
    state = numbers({f"layer.{name}": (1, 4)})
    model = Holder(Scale(4))
    text = pasted(refused(model, state))
    assert len(text.splitlines()) == 8
    model, _ = jc.load_torch(model, state)
    np.testing.assert_array_equal(model.layer.weight_scale.get_value(), [1, 2, 3, 4])


def test_a_parameter_that_a_rule_forgets_is_named_once():
    @jc.register(Scale)
    def _(layer, shapes):
        return {}

    error = refused(Holder(Scale(4)), {})
    assert error.unknown == ["layer (Scale) has a parameter 'weight_scale' without a rule"]
    assert str(error).count('"weight_scale": TensorRule(') == 1


# --- register leaves children to their own rules --------------------------------------------------


class Block(nnx.Module):
    """A registered layer with a parameter of its own, and children of every kind."""

    def __init__(self, rngs):
        self.gamma = nnx.Param(jnp.zeros((3,)))
        self.conv = jnn.Conv2d(2, 3, (3, 2), rngs=rngs)
        self.inner = nnx.Dict(norm=nnx.BatchNorm(3, rngs=rngs), linear=nnx.Linear(3, 4, rngs=rngs))
        self.scale = Scale(2)


BLOCK = {
    "layer.weight": (1, 3, 1, 1),
    "layer.conv.weight": (3, 2, 3, 2),
    "layer.conv.bias": (3,),
    **{f"layer.inner.norm.{n}": (3,) for n in ("weight", "bias", "running_mean", "running_var")},
    "layer.inner.linear.weight": (4, 3),
    "layer.inner.linear.bias": (4,),
    "layer.scale.weight_scale": (2,),
}


def register_block():
    @jc.register(Block)
    def _(layer, shapes):
        assert shapes["conv.kernel"] == (3, 2, 2, 3)
        return {"gamma": jc.TensorRule("weight", jc.Reshape((1, 3, 1, 1), (3,)))}


def test_children_keep_their_own_rules(tmp_path):
    register_block()
    state = numbers(BLOCK) | {"layer.inner.norm.num_batches_tracked": np.array(5)}
    model = Holder(Block(nnx.Rngs(0)))
    model, report = jc.load_torch(model, state)
    block = model.layer
    np.testing.assert_array_equal(block.gamma.get_value(), state["layer.weight"].ravel())
    kernel = np.transpose(state["layer.conv.weight"], (2, 3, 1, 0))
    np.testing.assert_array_equal(block.conv.kernel.get_value(), kernel)
    np.testing.assert_array_equal(
        block.inner.linear.kernel.get_value(), state["layer.inner.linear.weight"].T
    )
    np.testing.assert_array_equal(
        block.scale.weight_scale.get_value(), [*state["layer.scale.weight_scale"]]
    )
    assert report.extras == {"layer.inner.norm.num_batches_tracked": 5}
    assert_same_tensors(saved(model, tmp_path, extras=report.extras), state)


def test_names_and_rules_for_children_of_a_registered_layer(tmp_path):
    register_block()
    state = numbers(BLOCK) | {"layer.inner.norm.num_batches_tracked": np.array(5)}
    state["layer.first.weight"] = state.pop("layer.conv.weight")
    state["layer.first.bias"] = state.pop("layer.conv.bias")
    state["layer.scale.g"] = state.pop("layer.scale.weight_scale").reshape(1, 2)
    how = {
        "names": {"layer.conv": "layer.first"},
        "rules": {
            "layer.scale.weight_scale": jc.TensorRule("g", jc.Reshape((1, 2), (2,))),
        },
    }
    model, report = jc.load_torch(Holder(Block(nnx.Rngs(0))), state, **how)
    assert_same_tensors(saved(model, tmp_path, extras=report.extras, **how), state)


def test_a_rule_by_path_leaves_children_too():
    state = numbers(BLOCK) | {"layer.inner.norm.num_batches_tracked": np.array(5)}
    rule = {"gamma": jc.TensorRule("weight", jc.Reshape((1, 3, 1, 1), (3,)))}
    model = Holder(Block(nnx.Rngs(0)))
    assert jc.plan(model, state, rules={"layer": lambda layer, shapes: rule}).complete


def test_a_child_that_lacks_a_tensor_is_missing_under_its_own_name():
    register_block()
    state = numbers(BLOCK) | {"layer.inner.norm.num_batches_tracked": np.array(5)}
    del state["layer.conv.bias"], state["layer.scale.weight_scale"]
    error = refused(Holder(Block(nnx.Rngs(0))), state)
    assert error.missing_keys == ["layer.conv.bias"]
    (text,) = error.unknown
    assert "layer.scale (test_rule_templates.Scale) holds 'weight_scale' of shape (2,)" in text


def test_children_of_a_registered_linen_layer():
    class Gated(nn.Module):
        @nn.compact
        def __call__(self, x):
            gate = self.param("gate", nn.initializers.ones, (1, 4), "float32")
            return nn.Dense(4, name="fc")(x) * gate

    @jc.register(Gated)
    def _(layer, shapes):
        return {"gate": jc.TensorRule("g", jc.Reshape((4,), (1, 4)))}

    state = numbers({"g": (4,), "fc.weight": (4, 3), "fc.bias": (4,)})
    variables, _ = jc.load_torch_linen(Gated(), state, example=jnp.ones((2, 3), "float32"))
    np.testing.assert_array_equal(variables["params"]["gate"], state["g"][None])
    np.testing.assert_array_equal(variables["params"]["fc"]["kernel"], state["fc.weight"].T)
