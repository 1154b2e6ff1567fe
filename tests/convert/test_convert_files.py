"""File to file: stamps, plans as JSON, orbax, NaN, and what is refused without a trace."""

import json
import os

import numpy as np
import pytest
from flax import nnx
from support.checkpoints import assert_same_tensors, bits, tensors, written
from support.file_models import Net, net, state

import jaxgroups.convert as jc


@pytest.fixture
def files(tmp_path, rng):
    """A torch checkpoint, the plan for it, and a directory of its own for what is written."""
    path = written(tmp_path / "torch.safetensors", state(rng))
    (tmp_path / "out").mkdir()
    return path, jc.plan(net(), path), tmp_path / "out"


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
    message = [
        "fc.kernel holds 1 NaN and 0 infinite of 36 values: kept as is",
        "up.bias holds 0 NaN and 2 infinite of 6 values: kept as is",
    ]
    assert sorted(jc.convert_file(out / "nan.safetensors", out / "f.safetensors", plan)) == message
    assert np.isnan(tensors(out / "f.safetensors")["fc.kernel"][3, 2])
    with pytest.warns(jc.ConversionWarning, match="kept as is") as seen:
        model, report = jc.load_torch(net(), arrays)
    assert [str(w.message) for w in seen] == report.warnings
    assert sorted(report.warnings) == message
    assert np.isnan(model.fc.kernel.get_value()[3, 2])
    back = jc.convert_file(out / "f.safetensors", out / "b.safetensors", plan, to="torch")
    assert sorted(back) == [text.replace("kernel", "weight") for text in message]
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
    with pytest.raises(ValueError, match="is not in Flax layout: its metadata lack"):
        jc.convert_file(path, twice, plan, to="torch")
    with pytest.raises(ValueError, match="is not in Flax layout: its metadata lack"):
        jc.verify_file(path, path, plan)
    assert os.listdir(out) == ["flax.safetensors"]


def test_the_way_back_is_by_the_same_plan(files, rng):
    path, plan, out = files
    jc.convert_file(path, out / "flax.safetensors", plan)
    op = jc.Chain((jc.Permute((1, 0)), jc.ChannelsLast(0, (2, 3))))
    plain = jc.plan(net(), path, rules={"fc.kernel": op})
    for attempt in (
        lambda: jc.convert_file(out / "flax.safetensors", out / "b.safetensors", plain, to="torch"),
        lambda: jc.verify_file(path, out / "flax.safetensors", plain),
    ):
        with pytest.raises(ValueError, match="was made by another plan"):
            attempt()
    # what a plan says to its reader does not matter
    changed = jc.Plan.from_json(plan.to_json())
    changed.warnings.append("more")
    jc.convert_file(out / "flax.safetensors", out / "b.safetensors", changed, to="torch")
    assert_same_tensors(tensors(out / "b.safetensors"), tensors(path))


# --- plans and files that do not belong together --------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
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
def test_a_plan_of_another_checkpoint_is_refused(files, rng, change, message):
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
        assert message in str(error.value)
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
    for arrays, message in ((lost, 'Missing key.*"fc.bias"'), (won, 'Unexpected key.*"fc.scale"')):
        changed = out / f"{len(arrays)}.safetensors"
        written(changed, arrays, stamp)
        with pytest.raises(jc.ConversionError, match=message):
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
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        jc.convert_file(out / "flax.safetensors", out / name, plan, to="torch")
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        jc.save_torch(Net(nnx.Rngs(0)), out / name)
    if name != "a":
        with pytest.raises(ValueError, match=r"must end in \.safetensors"):
            jc.convert_file(path, out / name, plan)
    assert os.listdir(out) == ["flax.safetensors"]


def test_the_source_can_be_the_target(files):
    path, plan, _ = files
    before = tensors(path)
    jc.convert_file(path, path, plan, overwrite=True)
    jc.convert_file(path, path, plan, to="torch", overwrite=True)
    assert_same_tensors(tensors(path), before)


def test_progress(files):
    path, plan, out = files
    calls = []
    jc.convert_file(path, out / "f.safetensors", plan, progress=lambda *call: calls.append(call))
    assert calls[-1][1] == calls[-1][2] == sum(a.nbytes for a in tensors(path).values())
    assert [done for _, done, _ in calls] == sorted(done for _, done, _ in calls)


# --- orbax ----------------------------------------------------------------------------------------


class Deep(nnx.Module):
    """With numbers among the paths, and a random stream, which no checkpoint holds."""

    def __init__(self, rngs):
        norm = nnx.BatchNorm(3, momentum=0.9, rngs=rngs)
        drop = nnx.Dropout(0.5, rngs=rngs)
        self.body = nnx.Sequential(nnx.Linear(2, 3, rngs=rngs), norm, drop)


@pytest.mark.parametrize("name", ["flax", "flax.orbax"])
def test_flax_loads_what_orbax_holds(tmp_path, name, rng):
    import orbax.checkpoint as ocp

    arrays = {"body.0.weight": bits(rng, (3, 2), "float32")}
    arrays |= {f"body.1.{n}": bits(rng, (3,), "f4") for n in ("weight", "running_mean")}
    arrays |= {n: np.ones(3, "f4") for n in ("body.0.bias", "body.1.bias", "body.1.running_var")}
    arrays["body.1.num_batches_tracked"] = np.array(3)
    path = written(tmp_path / "torch.safetensors", arrays)
    (tmp_path / "out").mkdir()
    model = nnx.eval_shape(lambda: Deep(nnx.Rngs(0)))
    notes = jc.convert_file(path, tmp_path / "out" / name, jc.plan(model, path))
    assert "does not hold torch's 1 counters" in notes[0]
    assert os.listdir(tmp_path / "out") == [name]
    with ocp.StandardCheckpointer() as checkpointer:
        tree = checkpointer.restore(tmp_path / "out" / name)
    other = Deep(nnx.Rngs(1))
    _, random, state = nnx.split(other, nnx.RngState, ...)
    nnx.replace_by_pure_dict(state, tree)
    nnx.update(other, random, state)
    jc.load_torch(model, path)
    expected = dict(nnx.to_flat_state(nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))))
    assert len(expected) == 6
    for leaf, variable in nnx.to_flat_state(nnx.state(other, nnx.Any(nnx.Param, nnx.BatchStat))):
        held, wanted = (np.asarray(v.get_value()) for v in (variable, expected[leaf]))
        assert held.dtype == wanted.dtype
        assert held.tobytes() == wanted.tobytes()


def test_orbax_directories_are_replaced_whole_or_not_at_all(files, monkeypatch):
    import orbax.checkpoint as ocp

    path, plan, out = files
    target = out / "flax"
    target.mkdir()
    (target / "precious").write_bytes(b"!")
    with pytest.raises(ValueError, match="exists already"):
        jc.convert_file(path, target, plan)
    (out / "file").write_bytes(b"!")
    with pytest.raises(ValueError, match="exists already"):
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
    ("change", "message"),
    [
        (lambda d: "[]", "Expecting|not a plan"),
        (lambda d: "{", "not a plan of jaxgroups"),
        (lambda d: "{}", "its format is None"),
        (lambda d: d | {"format": "other"}, "its format is 'other'"),
        (lambda d: {k: v for k, v in d.items() if k != "entries"}, "missing 'entries'"),
        (lambda d: d | {"entries": [3]}, "not a plan of jaxgroups"),
        (lambda d: d | {"entries": 3}, "not a plan of jaxgroups"),
        (lambda d: entry(d, status="fine"), "unknown status 'fine'"),
        (lambda d: entry(d, op=["Exec", {}]), "unknown operation"),
        (lambda d: entry(d, torch=[3]), "3 must be a string, got int"),
        (lambda d: entry(d, torch=[]), "status 'ok' does not go with"),
        (lambda d: entry(d, flax=None), "status 'ok' does not go with"),
        (lambda d: entry(d, flax_shape=[2, 2]), "does not give"),
        (lambda d: entry(d, torch_shape=[-1]), "must be a shape"),
        (lambda d: entry(d, torch_shape=None), "has no shape or no dtype"),
        (lambda d: entry(d, op=["Permute", {"axes": [0, 0]}]), "must be a permutation"),
    ],
)
def test_a_plan_that_is_none_is_refused(files, change, message):
    _, plan, out = files
    data = change(json.loads(plan.to_json()))
    path = out / "plan.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    with pytest.raises(ValueError, match=message) as error:
        jc.Plan.from_json(path)
    assert str(path) in str(error.value)


def entry(data, **fields):
    first, *rest = data["entries"]
    return data | {"entries": [first | fields, *rest]}


def test_a_plan_that_is_no_text_or_not_there(tmp_path):
    (tmp_path / "plan.json").write_bytes(b"\x80\x02}")
    with pytest.raises(ValueError, match="not a plan: not UTF-8 text"):
        jc.Plan.from_json(tmp_path / "plan.json")
    with pytest.raises(FileNotFoundError):
        jc.Plan.from_json(tmp_path / "none.json")
