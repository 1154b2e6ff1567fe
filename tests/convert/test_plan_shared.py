"""Tensors that have several names, in torch, in Flax or in both."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.checkpoints import assert_same_tensors, copies, saved
from support.plan_models import Block, net, state

import jaxgroups.convert as jc


class Tied(nnx.Module):
    def __init__(self, rngs):
        block = Block(4, 6, rngs)
        self.one, self.two = block, block
        scale = nnx.Param(jnp.ones(3))
        self.scale, self.again = scale, scale


def tied_state():
    tensors = {k.removeprefix("features.0."): v for k, v in state().items() if "features.0" in k}
    both = {f"{name}.{k}": v for name in ("one", "two") for k, v in tensors.items()}
    scale = np.array([3, 1, 2], "f4")
    return both | {"scale": scale, "again": scale}


@pytest.mark.parametrize("change", [dict, copies])
def test_shared_tensors_survive(change, tmp_path):
    """The same memory in the file, or two copies that agree."""
    tied = nnx.eval_shape(lambda: Tied(nnx.Rngs(0)))
    model, report = jc.load_torch(tied, change(tied_state()))
    assert model.one is model.two
    assert model.scale is model.again
    assert report.missing_keys == report.unexpected_keys == []
    assert_same_tensors(saved(model, tmp_path, extras=report.extras), tied_state())


def test_shared_tensors_that_differ_are_refused(tmp_path):
    for name in ("two.conv.weight", "two.bn.num_batches_tracked", "again"):
        tensors = copies(tied_state())
        tensors[name] = tensors[name] + 1
        tied = nnx.eval_shape(lambda: Tied(nnx.Rngs(0)))
        with pytest.raises(ValueError, match=r"are one tensor in the model, but they differ"):
            jc.load_torch(tied, tensors)
    tensors = copies(tied_state())
    tensors["scale"] = tensors["scale"].reshape(3, 1)
    with pytest.raises(ValueError, match=r"are one tensor in the model, but they differ"):
        jc.load_torch(nnx.eval_shape(lambda: Tied(nnx.Rngs(0))), tensors)


def test_one_name_of_a_shared_tensor_is_enough(tmp_path):
    tensors = {k: v for k, v in tied_state().items() if not k.startswith(("one", "scale"))}
    tied = nnx.eval_shape(lambda: Tied(nnx.Rngs(0)))
    model, report = jc.load_torch(tied, tensors)
    assert report.missing_keys == []
    np.testing.assert_array_equal(model.scale.get_value(), [3, 1, 2])


def test_a_name_whose_memory_is_used_elsewhere_is_not_unexpected(tmp_path):
    """torch ties two layers of which the Flax model has one, under either name."""
    weight = np.arange(12, dtype="f4").reshape(4, 3)
    make = nnx.eval_shape(lambda: nnx.Dict(b=nnx.Embed(4, 3, rngs=nnx.Rngs(0))))
    for name in ("a", "c"):
        plan = jc.plan(make, {f"{name}.weight": weight, "b.weight": weight})
        assert sorted(e.status for e in plan.entries) == ["alias", "ok"]
    plan = jc.plan(make, {"c.weight": weight.copy(), "b.weight": weight})
    assert sorted(e.status for e in plan.entries) == ["ok", "unexpected"]


def test_a_shared_sequential_is_named_as_torch_does_twice(tmp_path):
    class Twice(nnx.Module):
        def __init__(self, rngs):
            self.a = self.b = nnx.Sequential(nnx.Linear(2, 3, rngs=rngs))

    one = {"0.weight": np.arange(6, dtype="f4").reshape(3, 2), "0.bias": np.ones(3, "f4")}
    tensors = {f"{name}.{k}": v for name in "ab" for k, v in one.items()}
    model, _ = jc.load_torch(nnx.eval_shape(lambda: Twice(nnx.Rngs(0))), copies(tensors))
    assert_same_tensors(saved(model, tmp_path), tensors)


def test_a_parameter_that_is_shared_with_a_layer_is_told_by_the_layer(tmp_path):
    """Under whichever path nnx lists it: here the bare one comes first."""

    class Tied(nnx.Module):
        def __init__(self, rngs):
            self.embed = nnx.Embed(4, 3, rngs=rngs)
            self.a_head = self.embed.embedding
            self.fc = nnx.Linear(2, 3, rngs=rngs)
            self.a_kernel = self.fc.kernel

    tensors = {"embed.weight": np.arange(12, dtype="f4").reshape(4, 3)}
    tensors |= {"fc.weight": np.arange(6, dtype="f4").reshape(3, 2), "fc.bias": np.ones(3, "f4")}
    model, _ = jc.load_torch(nnx.eval_shape(lambda: Tied(nnx.Rngs(0))), tensors)
    assert model.a_kernel is model.fc.kernel
    np.testing.assert_array_equal(model.a_kernel.get_value(), tensors["fc.weight"].T)
    assert_same_tensors(saved(model, tmp_path), tensors)


def test_the_plan_of_the_load_is_the_way_back(tmp_path):
    """Names, rules and what is shared in torch alone are all in it."""
    tensors = {f"m.{k}": v for k, v in state().items()}
    tensors["tied.weight"] = tensors["m.fc.weight"]
    how = {"prefix": "m.", "rules": {"fc": jc.FlattenLinear(4, 1, 2)}}
    model, report = jc.load_torch(net(), tensors, **how)
    assert_same_tensors(saved(model, tmp_path, plan=report.plan, extras=report.extras), tensors)
    model.fc.kernel.set_value(model.fc.kernel.get_value().astype("bfloat16"))
    back = saved(model, tmp_path, plan=jc.Plan.from_json(report.plan.to_json()))
    assert back["m.fc.weight"].dtype == back["tied.weight"].dtype == "bfloat16"
    assert back["m.fc.bias"].dtype == "float32"
    with pytest.raises(ValueError, match="plan= includes names, rules and prefix"):
        saved(model, tmp_path, plan=report.plan, prefix="m.")
    other = nnx.Sequential(nnx.Linear(3, 8, rngs=nnx.Rngs(0)))
    with pytest.raises(
        ValueError, match=r"layers\.0\.bias is not in the plan; .* fc\.bias is not in the model"
    ):
        saved(other, tmp_path, plan=report.plan)
