"""Every dtype bit for bit: from file to file, through a model, and where a cast is asked for."""

import os

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx
from support import torch_files
from support.checkpoints import assert_same_tensors, bits, tensors, written
from support.file_models import FLOATS, net, state

import jaxgroups.convert as jc


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", ["safetensors", *torch_files.FORMATS])
def test_every_dtype_survives_there_and_back(dtype, kind, tmp_path, rng):
    arrays = state(rng, dtype)
    if kind == "safetensors":
        path = written(tmp_path / "a.safetensors", arrays)
    else:
        path = torch_files.state_dict(tmp_path / "a.pth", kind, arrays)
    plan = jc.Plan.from_json(jc.plan(net(), path).to_json())
    flax, back = tmp_path / "flax.safetensors", tmp_path / "back.safetensors"
    jc.convert_file(path, flax, plan, reader="own")
    assert jc.verify_file(path, flax, plan, reader="own") == []
    jc.convert_file(flax, back, plan, to="torch")
    assert_same_tensors(tensors(back), arrays)
    # each leaf by its definition
    held = tensors(flax)
    for first, second, y, x in np.ndindex(4, 3, 3, 2):
        one, other = held["up.kernel"][y, x, second, first], arrays["up.weight"]
        assert one.tobytes() == other[first, second, y, x].tobytes()
    assert held["fc.kernel"].tobytes() == arrays["fc.weight"].T.tobytes()
    assert held["bn.mean"].tobytes() == arrays["bn.running_mean"].tobytes()
    assert held["torch:bn.num_batches_tracked"] == 2**40 + 1


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.filterwarnings("ignore:.*kept as is:jaxgroups.convert.ConversionWarning")
def test_every_dtype_survives_a_model(dtype, tmp_path, rng):
    arrays = state(rng, dtype)
    model, report = jc.load_torch(net(), arrays)
    assert report.casts == []
    assert model.up.kernel.get_value().dtype == FLOATS[dtype]
    assert model.steps.get_value().dtype == "int64"
    jc.save_torch(model, tmp_path / "back.safetensors", extras=report.extras)
    assert_same_tensors(tensors(tmp_path / "back.safetensors"), arrays)
    with safetensors.safe_open(tmp_path / "back.safetensors", framework="numpy") as official:
        assert official.metadata() == {"format": "pt"}


def test_what_jax_would_narrow_is_refused():
    tensors = {"weight": np.ones((3, 2)), "bias": np.ones(3)}
    with jax.enable_x64(False):
        model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
        with pytest.raises(ValueError, match=r"which jax narrows to .* unless jax_enable_x64"):
            jc.load_torch(model, tensors)
        _, report = jc.load_torch(model, tensors, dtype="model")
    assert sorted(report.casts) == ["bias: float64 -> float32", "kernel: float64 -> float32"]


def test_casts_are_asked_for_and_told(rng):
    arrays = {name: np.asarray(a) for name, a in state(rng).items()}
    for name in ("up.weight", "fc.weight"):
        arrays[name] = np.linspace(-3, 3, arrays[name].size, dtype="f4").reshape(arrays[name].shape)
    model, report = jc.load_torch(net(), arrays, dtype=jnp.bfloat16)
    expected = arrays["fc.weight"].T.astype(ml_dtypes.bfloat16)
    assert np.asarray(model.fc.kernel.get_value()).tobytes() == expected.tobytes()
    assert model.steps.get_value().dtype == "int64"
    assert len(report.casts) == 8
    assert "fc.kernel: float32 -> bfloat16" in report.casts
    with pytest.raises(TypeError):
        jc.load_torch(net(), arrays, dtype="half of it")


def test_integers_are_not_cast_where_they_do_not_fit(rng):
    class Counter(nnx.Module):
        def __init__(self):
            self.n = nnx.Variable(jnp.zeros((), "int32"))

    for value, fits in ((2**31 - 1, True), (2**31, False)):
        tensors = {"n": np.array(value)}
        if fits:
            model, _ = jc.load_torch(Counter(), tensors, dtype="model")
            assert model.n.get_value() == value
        else:
            with pytest.raises(ValueError, match="values of int64 that int32 cannot hold"):
                jc.load_torch(Counter(), tensors, dtype="model")


def test_aliases_in_the_metadata_are_two_tensors(tmp_path, rng):
    """As safetensors.torch.save_model writes tied weights."""
    arrays = state(rng)
    model = nnx.eval_shape(
        lambda: nnx.Dict(a=nnx.Embed(5, 3, rngs=nnx.Rngs(0)), b=nnx.Embed(5, 3, rngs=nnx.Rngs(0)))
    )
    table = bits(rng, (5, 3), "float32")
    path = written(tmp_path / "a.safetensors", {"a.weight": table}, {"b.weight": "a.weight"})
    plan = jc.plan(model, path)
    jc.convert_file(path, tmp_path / "flax.safetensors", plan)
    jc.convert_file(tmp_path / "flax.safetensors", tmp_path / "b.safetensors", plan, to="torch")
    assert_same_tensors(tensors(tmp_path / "b.safetensors"), {"a.weight": table, "b.weight": table})
    assert arrays


# --- the way back from a model --------------------------------------------------------------------


def test_counters_without_extras_are_zero_and_strangers_are_refused(tmp_path, rng):
    model, report = jc.load_torch(net(), state(rng))
    jc.save_torch(model, tmp_path / "a.safetensors")
    assert tensors(tmp_path / "a.safetensors")["bn.num_batches_tracked"] == 0
    assert tensors(tmp_path / "a.safetensors")["bn.num_batches_tracked"].dtype == "int64"
    for extras in (
        {"bn2.num_batches_tracked": 3},
        {"bn.num_batches_tracked": 2.5},
        {"bn.num_batches_tracked": [1]},
    ):
        with pytest.raises(ValueError, match="extras"):
            jc.save_torch(model, tmp_path / "b.safetensors", extras=extras)
    assert os.listdir(tmp_path) == ["a.safetensors"]
    assert report.extras


def test_a_model_without_values_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match=r"these parameters have no value: bn\.bias"):
        jc.save_torch(net(), tmp_path / "a.safetensors")
    from flax import linen as nn

    dense, example = nn.Dense(3), jax.ShapeDtypeStruct((2, 4), "float32")
    with pytest.raises(ValueError, match="a linen module holds no values"):
        jc.save_torch(dense, tmp_path / "a.safetensors", example=example)
    half = {"params": {"kernel": np.ones((4, 3), "f4")}}
    with pytest.raises(ValueError, match=r"these parameters have no value: params\.bias"):
        jc.save_torch(dense, tmp_path / "a.safetensors", example=example, variables=half)
    assert os.listdir(tmp_path) == []
