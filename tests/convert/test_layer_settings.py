"""Layers that torch made with other settings: how they load, and the hint where they do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from support.flax_twins import Holder, data, load_file, random_state, tnn, torch

import jaxgroups.convert as jc

pytestmark = [
    pytest.mark.usefixtures("flax_promotion"),
    # the tests read them in the reports
    pytest.mark.filterwarnings("ignore::jaxgroups.convert.ConversionWarning"),
]


def arrays(module):
    return {name: tensor.numpy().copy() for name, tensor in module.state_dict().items()}


def held(layer, seed=1):
    module = tnn.Module()
    module.layer = layer
    return random_state(module, seed)


def refused(model, state, **how):
    with pytest.raises(jc.ConversionError) as error:
        jc.load_torch(model, state, **how)
    return str(error.value)


class LinenHolder(nn.Module):
    make: object

    @nn.compact
    def __call__(self, x):
        return self.make(name="layer")(x)


def refused_linen(make, state, shape):
    example = jax.ShapeDtypeStruct(shape, "float32")
    with pytest.raises(jc.ConversionError) as error:
        jc.load_torch_linen(LinenHolder(make), state, example=example)
    return str(error.value)


# --- BatchNorm ------------------------------------------------------------------------------------


def test_batch_norm_of_torch_without_affine_gets_a_hint():
    state = arrays(held(tnn.BatchNorm2d(5, affine=False)))
    message = (
        "hint: layer: torch's layer has affine=False: make the model's with use_scale=False, "
        "use_bias=False"
    )
    assert message in refused(Holder(nnx.BatchNorm(5, rngs=nnx.Rngs(0))), state)
    make = lambda name: nn.BatchNorm(use_running_average=True, name=name)  # noqa: E731
    assert message in refused_linen(make, state, (2, 3, 5))
    bare = nnx.BatchNorm(5, use_bias=False, use_scale=False, rngs=nnx.Rngs(0))
    assert jc.plan(Holder(bare), state).complete


def batch_statistics():
    model = nnx.eval_shape(
        lambda: Holder(nnx.BatchNorm(5, use_running_average=False, epsilon=1e-5, rngs=nnx.Rngs(0)))
    )
    return model, held(tnn.BatchNorm2d(5, track_running_stats=False)).float()


RULES = {
    "layer.mean": jc.FlaxOnly(0, exact=False),
    "layer.var": jc.FlaxOnly(1, exact=False),
}


def test_batch_norm_of_torch_without_running_statistics(tmp_path):
    model, module = batch_statistics()
    state = arrays(module)
    text = refused(model, state)
    assert (
        "hint: layer: torch's layer has track_running_stats=False and uses the batch's own "
        "statistics in evaluation too: call the model's with use_running_average=False, and pass "
        'rules={"layer.mean": FlaxOnly(0, exact=False), "layer.var": FlaxOnly(1, exact=False)}'
    ) in text
    model, report = jc.load_torch(model, state, rules=RULES)
    np.testing.assert_array_equal(model.layer.mean.get_value(), np.zeros(5))
    np.testing.assert_array_equal(model.layer.var.get_value(), np.ones(5))
    assert report.folded == [
        "layer.mean is only in Flax: filled with 0",
        "layer.var is only in Flax: filled with 1",
    ]
    x = data((4, 5, 3, 2)).astype("f4")
    with torch.no_grad():
        expected = module.layer(torch.from_numpy(x)).numpy()
    actual = model.layer(jnp.asarray(np.moveaxis(x, 1, -1)), use_running_average=False)
    np.testing.assert_allclose(np.moveaxis(actual, -1, 1), expected, rtol=1e-5, atol=1e-6)
    # the call has changed the statistics, which torch's layer does not have
    assert np.any(np.asarray(model.layer.mean.get_value()))
    for name, how in {"a": {"rules": RULES}, "b": {"plan": report.plan}}.items():
        path = tmp_path / f"{name}.safetensors"
        jc.save_torch(model, path, extras=report.extras, **how)
        back = load_file(path)
        assert back.keys() == state.keys()
        assert all(np.array_equal(back[k].numpy(), v) for k, v in state.items())


def test_files_by_a_plan_with_constants(tmp_path):
    model, module = batch_statistics()
    source, flax = tmp_path / "model.pth", tmp_path / "flax.safetensors"
    torch.save(module.state_dict(), source)
    plan = jc.Plan.from_json(jc.plan(model, source, rules=RULES).to_json())
    assert plan.of_status("constant")[0].merge == jc.FlaxOnly(0, exact=False)
    jc.convert_file(source, flax, plan)
    assert jc.verify_file(source, flax, plan) == []
    with jc.open_checkpoint(flax) as opened:
        np.testing.assert_array_equal(opened.read("layer.var"), np.ones(5, "f4"))
    jc.convert_file(flax, tmp_path / "back.safetensors", plan, to="torch")
    back = load_file(tmp_path / "back.safetensors")
    assert {k: v.tolist() for k, v in back.items()} == {
        k: v.tolist() for k, v in module.state_dict().items()
    }


def test_a_constant_is_for_one_parameter():
    model, module = batch_statistics()
    text = refused(model, arrays(module), rules={"layer": jc.FlaxOnly(0)})
    assert "an operation is the rule of one parameter, but layer holds" in text


# --- InstanceNorm ---------------------------------------------------------------------------------


def test_instance_norm_with_running_statistics_gets_a_hint():
    state = arrays(held(tnn.InstanceNorm2d(5, affine=True, track_running_stats=True)))
    message = (
        "hint: Unexpected running stats buffer(s) 'num_batches_tracked' and 'running_mean' and "
        "'running_var' for InstanceNorm, layer: a torch layer with track_running_stats=True "
        "normalizes by them in evaluation, which is a BatchNorm with use_running_average=True in "
        "Flax; of a file from before torch 0.4, which did not use them, ignore them: "
    )
    ignore = r".*\.(running_mean|running_var|num_batches_tracked)"
    text = refused(Holder(nnx.InstanceNorm(5, rngs=nnx.Rngs(0))), state)
    assert f'{message}ignore=[r"{ignore}"]' in text
    make = lambda name: nn.InstanceNorm(name=name)  # noqa: E731
    assert message in refused_linen(make, state, (2, 3, 4, 5))
    model = Holder(nnx.InstanceNorm(5, rngs=nnx.Rngs(0)))
    assert jc.plan(model, state, ignore=[ignore]).complete


# --- PReLU and Bilinear ---------------------------------------------------------------------------


def test_prelu_of_channels_gets_a_hint():
    state = arrays(held(tnn.PReLU(3)))
    text = refused(Holder(nnx.PReLU()), state)
    assert (
        "hint: layer.weight has a slope for each of 3 channels: make the model's layer with as "
        "many, PReLU(jnp.full((3,), 0.25))"
    ) in text
    assert "size mismatch for layer.weight: copying a param with shape (3,)" in text


class Bilinear(nnx.Module):
    """torch's, which Flax does not have; with torch's names and layout it needs no rule."""

    def __init__(self, one, other, outputs):
        self.weight = nnx.Param(jnp.zeros((outputs, one, other)))
        self.bias = nnx.Param(jnp.zeros((outputs,)))

    def __call__(self, x, y):
        product = jnp.einsum("bi,oij,bj->bo", x, self.weight.get_value(), y)
        return product + self.bias.get_value()


def test_bilinear(tmp_path):
    module = held(tnn.Bilinear(3, 4, 5))
    model, _ = jc.load_torch(Holder(Bilinear(3, 4, 5)), arrays(module))
    x, y = data((2, 3)), data((2, 4))
    with torch.no_grad():
        expected = module.layer(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    np.testing.assert_allclose(model.layer(jnp.asarray(x), jnp.asarray(y)), expected, rtol=1e-11)
    jc.save_torch(model, tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    assert all(torch.equal(back[k], v) for k, v in module.state_dict().items())
