"""File to file: bits, stamps, plans as JSON, orbax, NaN, and what is refused without a trace."""

import json
import os

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import torch_files
from flax import nnx

import jaxgroups.convert as jc
import jaxgroups.nnx as jnn
from jaxgroups.convert._files import TensorInfo, write_safetensors

FLOATS = {
    "bfloat16": ml_dtypes.bfloat16,
    **{name: np.dtype(name) for name in ("float16", "float32", "float64")},
}


class Net(nnx.Module):
    def __init__(self, rngs):
        self.up = jnn.ConvTranspose2d(4, 6, (3, 2), groups=2, rngs=rngs)
        self.bn = nnx.BatchNorm(6, momentum=0.9, rngs=rngs)
        self.fc = nnx.Linear(6, 6, rngs=rngs)
        self.steps = nnx.Variable(jnp.zeros((2,), "int64"))
        self.mask = nnx.Variable(jnp.zeros((3,), "bool"))


def net():
    return nnx.eval_shape(lambda: Net(nnx.Rngs(0)))


def bits(rng, shape, dtype):
    dtype = np.dtype(dtype)
    return np.frombuffer(bytearray(rng.bytes(int(np.prod(shape)) * dtype.itemsize)), dtype).reshape(
        shape
    )


def state(rng, dtype="float32"):
    """Random bits of one float dtype, NaN payloads and all, and integers beyond 32 bits."""
    shapes = {"up.weight": (4, 3, 3, 2), "up.bias": (6,), "fc.weight": (6, 6), "fc.bias": (6,)}
    shapes |= {f"bn.{n}": (6,) for n in ("weight", "bias", "running_mean", "running_var")}
    arrays = {name: bits(rng, shape, FLOATS[dtype]) for name, shape in shapes.items()}
    return arrays | {
        "bn.num_batches_tracked": np.array(2**40 + 1),
        "steps": np.array([2**53 + 1, -(2**62)]),
        "mask": np.array([True, False, True]),
    }


def written(path, arrays, metadata=None):
    infos = {n: TensorInfo(a.shape, a.dtype.name) for n, a in arrays.items()}
    write_safetensors(path, [(n, infos[n], lambda a=a: a) for n, a in arrays.items()], metadata)
    return path


def tensors(path, **how):
    with jc.open_checkpoint(path, **how) as checkpoint:
        return {name: checkpoint.read(name) for name in checkpoint.infos}


def assert_same(actual, expected):
    assert sorted(actual) == sorted(expected)
    for name, array in expected.items():
        assert (actual[name].shape, actual[name].dtype) == (array.shape, array.dtype), name
        assert actual[name].tobytes() == array.tobytes(), name


@pytest.fixture
def files(tmp_path, rng):
    """A torch checkpoint, the plan for it, and a directory of its own for what is written."""
    path = written(tmp_path / "torch.safetensors", state(rng))
    (tmp_path / "out").mkdir()
    return path, jc.plan(net(), path), tmp_path / "out"


# --- bit for bit ----------------------------------------------------------------------------------


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
    assert_same(tensors(back), arrays)
    # each leaf by its definition
    held = tensors(flax)
    for first, second, y, x in np.ndindex(4, 3, 3, 2):
        one, other = held["up.kernel"][y, x, second, first], arrays["up.weight"]
        assert one.tobytes() == other[first, second, y, x].tobytes()
    assert held["fc.kernel"].tobytes() == arrays["fc.weight"].T.tobytes()
    assert held["bn.mean"].tobytes() == arrays["bn.running_mean"].tobytes()
    assert held["torch:bn.num_batches_tracked"] == 2**40 + 1


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_dtype_survives_a_model(dtype, tmp_path, rng):
    arrays = state(rng, dtype)
    model, report = jc.load_torch(net(), arrays)
    assert report.casts == []
    assert model.up.kernel.get_value().dtype == FLOATS[dtype]
    assert model.steps.get_value().dtype == "int64"
    jc.save_torch(model, tmp_path / "back.safetensors", extras=report.extras)
    assert_same(tensors(tmp_path / "back.safetensors"), arrays)
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
    assert_same(tensors(tmp_path / "b.safetensors"), {"a.weight": table, "b.weight": table})
    assert arrays


# --- NaN ------------------------------------------------------------------------------------------


def test_nan_and_infinities_are_kept_and_reported(files, rng):
    path, _, out = files
    arrays = state(rng)
    for name, array in arrays.items():
        if array.dtype == "float32":
            arrays[name] = np.ones_like(array)
    arrays["fc.weight"][2, 3] = np.nan
    arrays["up.bias"][:2] = np.inf, -np.inf
    written(out / "nan.safetensors", arrays)
    plan = jc.plan(net(), out / "nan.safetensors")
    said = [
        "fc.kernel holds 1 NaN and 0 infinite of 36 values: kept as is",
        "up.bias holds 0 NaN and 2 infinite of 6 values: kept as is",
    ]
    assert sorted(jc.convert_file(out / "nan.safetensors", out / "f.safetensors", plan)) == said
    assert np.isnan(tensors(out / "f.safetensors")["fc.kernel"][3, 2])
    model, report = jc.load_torch(net(), arrays)
    assert sorted(report.warnings) == said
    assert np.isnan(model.fc.kernel.get_value()[3, 2])
    back = jc.convert_file(out / "f.safetensors", out / "b.safetensors", plan, to="torch")
    assert sorted(back) == [text.replace("kernel", "weight") for text in said]
    assert path


# --- stamps ---------------------------------------------------------------------------------------


def test_converting_twice_is_refused(files):
    path, plan, out = files
    flax, twice = out / "flax.safetensors", out / "twice.safetensors"
    jc.convert_file(path, flax, plan)
    with jc.open_checkpoint(flax) as checkpoint:
        assert checkpoint.metadata["jaxgroups.format"] == "flax-v1"
        assert len(checkpoint.metadata["jaxgroups.source_sha256"]) == 64
    for attempt in (
        lambda: jc.convert_file(flax, twice, plan),
        lambda: jc.load_torch(net(), flax),
        lambda: jc.plan(net(), flax),
    ):
        with pytest.raises(ValueError, match="is already converted"):
            attempt()
    with pytest.raises(ValueError, match="is not in Flax layout: it lacks the stamp"):
        jc.convert_file(path, twice, plan, to="torch")
    with pytest.raises(ValueError, match="is not in Flax layout: it lacks the stamp"):
        jc.verify_file(path, path, plan)
    assert os.listdir(out) == ["flax.safetensors"]


def test_the_way_back_is_by_the_same_plan(files, rng):
    path, plan, out = files
    jc.convert_file(path, out / "flax.safetensors", plan)
    plain = jc.plan(net(), path, rules={"fc": jc.FlattenLinear(1, 2, 3)})
    for attempt in (
        lambda: jc.convert_file(out / "flax.safetensors", out / "b.safetensors", plain, to="torch"),
        lambda: jc.verify_file(path, out / "flax.safetensors", plain),
    ):
        with pytest.raises(ValueError, match="was made by another plan"):
            attempt()
    # what a plan says to its reader does not matter
    said = jc.Plan.from_json(plan.to_json())
    said.warnings.append("more")
    jc.convert_file(out / "flax.safetensors", out / "b.safetensors", said, to="torch")
    assert_same(tensors(out / "b.safetensors"), tensors(path))


# --- plans and files that do not belong together --------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a | {"new": np.ones(2)}, 'Unexpected key(s) in state_dict: "new"'),
        (lambda a: a | {"torch:new": np.ones(2)}, 'Unexpected key(s) in state_dict: "torch:new"'),
        (lambda a: {k: v for k, v in a.items() if k != "fc.bias"}, "Missing key(s) in state_dict"),
        (lambda a: a | {"fc.bias": a["fc.bias"].astype("f8")}, "fc.bias is float64[6] in the file"),
        (lambda a: a | {"fc.bias": a["fc.bias"][:, None]}, "fc.bias is float32[6, 1] in the file"),
        (
            lambda a: {k: v for k, v in a.items() if "num_batches" not in k},
            'Missing key(s) in state_dict: "bn.num_batches_tracked"',
        ),
    ],
)
def test_a_plan_of_another_checkpoint_is_refused(files, rng, change, said):
    """Otherwise a tensor that the plan does not know would be lost without a word."""
    path, plan, out = files
    jc.convert_file(path, out / "flax.safetensors", plan)
    with np.errstate(invalid="ignore"):
        other = written(out / "other.safetensors", change(state(rng)))
    for attempt in (
        lambda: jc.convert_file(other, out / "x.safetensors", plan),
        lambda: jc.verify_file(other, out / "flax.safetensors", plan),
    ):
        with pytest.raises(jc.ConversionError) as error:
            attempt()
        assert said in str(error.value)
        assert "the plan was made of another checkpoint" in str(error.value)
    assert sorted(os.listdir(out)) == ["flax.safetensors", "other.safetensors"]


def test_a_flax_file_that_lost_or_won_tensors_is_refused(files):
    path, plan, out = files
    jc.convert_file(path, out / "flax.safetensors", plan)
    with jc.open_checkpoint(out / "flax.safetensors") as checkpoint:
        stamp = checkpoint.metadata
    held = tensors(out / "flax.safetensors")
    lost = {n: a for n, a in held.items() if n != "fc.bias"}
    won = held | {"fc.scale": np.ones(3)}
    for arrays, said in ((lost, 'Missing key.*"fc.bias"'), (won, 'Unexpected key.*"fc.scale"')):
        changed = out / f"{len(arrays)}.safetensors"
        written(changed, arrays, stamp)
        with pytest.raises(jc.ConversionError, match=said):
            jc.convert_file(changed, out / "b.safetensors", plan, to="torch")
    assert not (out / "b.safetensors").exists()


def test_verify_names_what_differs(files):
    path, plan, out = files
    jc.convert_file(path, out / "flax.safetensors", plan)
    with jc.open_checkpoint(out / "flax.safetensors") as checkpoint:
        stamp = checkpoint.metadata
    held = tensors(out / "flax.safetensors")
    held["up.kernel"].view("u1").reshape(-1)[5] ^= 1
    held["torch:bn.num_batches_tracked"] += 1
    written(out / "changed.safetensors", held, stamp)
    calls = []
    wrong = jc.verify_file(
        path, out / "changed.safetensors", plan, progress=lambda *call: calls.append(call)
    )
    assert sorted(wrong) == ["bn.num_batches_tracked", "up.weight"]
    assert [call[1:] for call in calls] == [(n, 11) for n in range(1, 12)]


def test_incomplete_plans_convert_nothing(files, rng):
    path, _, out = files
    arrays = state(rng)
    del arrays["fc.bias"]
    plan = jc.plan(net(), arrays)
    for to in ("flax", "torch"):
        with pytest.raises((jc.ConversionError, ValueError)):
            jc.convert_file(path, out / "x.safetensors", plan, to=to)
    assert os.listdir(out) == []


# --- targets --------------------------------------------------------------------------------------


def test_an_existing_target_stays_unless_told(files):
    path, plan, out = files
    target = out / "flax.safetensors"
    target.write_bytes(b"precious")
    with pytest.raises(ValueError, match="the file is there already"):
        jc.convert_file(path, target, plan)
    with pytest.raises(ValueError, match="the file is there already"):
        jc.save_torch(Net(nnx.Rngs(0)), target)
    assert target.read_bytes() == b"precious"
    jc.convert_file(path, target, plan, overwrite=True)
    assert jc.verify_file(path, target, plan) == []


@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.bin", "a.safetensor", "a.npz", "a"])
def test_a_name_that_says_another_format_is_refused(files, name):
    path, plan, out = files
    jc.convert_file(path, out / "flax.safetensors", plan)
    with pytest.raises(ValueError, match=r"is written as \.safetensors: name it so"):
        jc.convert_file(out / "flax.safetensors", out / name, plan, to="torch")
    with pytest.raises(ValueError, match=r"is written as \.safetensors: name it so"):
        jc.save_torch(Net(nnx.Rngs(0)), out / name)
    if name != "a":
        with pytest.raises(ValueError, match=r"is written as \.safetensors: name it so"):
            jc.convert_file(path, out / name, plan)
    assert os.listdir(out) == ["flax.safetensors"]


def test_the_source_can_be_the_target(files):
    path, plan, _ = files
    before = tensors(path)
    jc.convert_file(path, path, plan, overwrite=True)
    jc.convert_file(path, path, plan, to="torch", overwrite=True)
    assert_same(tensors(path), before)


def test_progress(files):
    path, plan, out = files
    calls = []
    jc.convert_file(path, out / "f.safetensors", plan, progress=lambda *call: calls.append(call))
    assert calls[-1][1] == calls[-1][2] == sum(a.nbytes for a in tensors(path).values())
    assert [done for _, done, _ in calls] == sorted(done for _, done, _ in calls)


# --- orbax ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["flax", "flax.orbax"])
def test_orbax_gives_flax_what_load_torch_gives(files, name):
    import orbax.checkpoint as ocp

    path, plan, out = files
    jc.convert_file(path, out / name, plan)
    assert os.listdir(out) == [name]
    with ocp.StandardCheckpointer() as checkpointer:
        tree = checkpointer.restore((out / name).absolute())
    model, report = jc.load_torch(net(), path)
    for leaf, variable in nnx.to_flat_state(nnx.state(model)):
        value = tree
        for part in leaf:
            value = value[part]
        held = np.asarray(variable.get_value())
        assert (np.asarray(value).dtype, value.shape) == (held.dtype, held.shape)
        assert np.asarray(value).tobytes() == held.tobytes()
    counted = tree["torch"]["bn.num_batches_tracked"]
    assert counted == report.extras["bn.num_batches_tracked"] == 2**40 + 1


def test_orbax_directories_are_replaced_whole_or_not_at_all(files, monkeypatch):
    import orbax.checkpoint as ocp

    path, plan, out = files
    target = out / "flax"
    target.mkdir()
    (target / "precious").write_bytes(b"!")
    with pytest.raises(ValueError, match="is there already"):
        jc.convert_file(path, target, plan)
    (out / "file").write_bytes(b"!")
    with pytest.raises(ValueError, match="is there already"):
        jc.convert_file(path, out / "file", plan, overwrite=True)

    def fail(*_, **__):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(ocp.StandardCheckpointer, "save", fail)
        with pytest.raises(OSError, match="disk full"):
            jc.convert_file(path, target, plan, overwrite=True)
    assert os.listdir(target) == ["precious"]
    assert sorted(os.listdir(out)) == ["file", "flax"]
    jc.convert_file(path, target, plan, overwrite=True)
    assert "precious" not in os.listdir(target)
    assert sorted(os.listdir(out)) == ["file", "flax"]


# --- plans as JSON --------------------------------------------------------------------------------


def test_a_plan_as_json_is_the_same_plan(files, tmp_path):
    _, plan, out = files
    plan.to_json(out / "plan.json")
    again = jc.Plan.from_json(out / "plan.json")
    assert again == plan
    assert jc.Plan.from_json(plan.to_json()) == plan
    assert again.report() == plan.report()
    assert os.listdir(out) == ["plan.json"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: "[]", "Expecting|not a plan"),
        (lambda d: "{", "not a plan of jaxgroups"),
        (lambda d: "{}", "its format is None"),
        (lambda d: d | {"format": "other"}, "its format is 'other'"),
        (lambda d: {k: v for k, v in d.items() if k != "entries"}, "it lacks 'entries'"),
        (lambda d: d | {"entries": [3]}, "not a plan of jaxgroups"),
        (lambda d: d | {"entries": 3}, "not a plan of jaxgroups"),
        (lambda d: entry(d, status="fine"), "unknown status 'fine'"),
        (lambda d: entry(d, op=["Exec", {}]), "unknown operation"),
        (lambda d: entry(d, torch=[3]), "3 should be a text"),
        (lambda d: entry(d, torch=[]), "an entry of status 'ok'"),
        (lambda d: entry(d, flax=None), "an entry of status 'ok'"),
        (lambda d: entry(d, flax_shape=[2, 2]), "does not give"),
        (lambda d: entry(d, torch_shape=[-1]), "is no shape"),
        (lambda d: entry(d, torch_shape=None), "lacks its shape or dtype"),
        (lambda d: entry(d, op=["Permute", {"axes": [0, 0]}]), "each once"),
    ],
)
def test_a_plan_that_is_none_is_refused(files, change, said):
    _, plan, out = files
    data = change(json.loads(plan.to_json()))
    path = out / "plan.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    with pytest.raises(ValueError, match=said) as error:
        jc.Plan.from_json(path)
    assert str(path) in str(error.value)


def entry(data, **fields):
    first, *rest = data["entries"]
    return data | {"entries": [first | fields, *rest]}


def test_a_plan_that_is_no_text_or_not_there(tmp_path):
    (tmp_path / "plan.json").write_bytes(b"\x80\x02}")
    with pytest.raises(ValueError, match="not a plan, which is text"):
        jc.Plan.from_json(tmp_path / "plan.json")
    with pytest.raises(FileNotFoundError):
        jc.Plan.from_json(tmp_path / "none.json")


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
    with pytest.raises(ValueError, match=r"these leaves have no value: bn\.bias"):
        jc.save_torch(net(), tmp_path / "a.safetensors")
    from flax import linen as nn

    dense, example = nn.Dense(3), jax.ShapeDtypeStruct((2, 4), "float32")
    with pytest.raises(ValueError, match="a linen module holds no values"):
        jc.save_torch(dense, tmp_path / "a.safetensors", example=example)
    half = {"params": {"kernel": np.ones((4, 3), "f4")}}
    with pytest.raises(ValueError, match=r"these leaves have no value: params\.bias"):
        jc.save_torch(dense, tmp_path / "a.safetensors", example=example, variables=half)
    assert os.listdir(tmp_path) == []
