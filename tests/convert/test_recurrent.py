"""Recurrent layers of Flax with torch's weights: torch's outputs, into Flax and back again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from support.flax_twins import Holder, data, load_file, random_state, tnn, torch

import jaxgroups.convert as jc

pytestmark = pytest.mark.usefixtures("flax_promotion")
F64 = {"param_dtype": "float64"}
IN, H, BATCH, STEPS = 3, 5, 2, 7


def zero_inner_bias(module):
    """Without the bias of a GRU that flax.nnx.GRUCell does not have."""
    with torch.no_grad():
        for name, tensor in module.named_parameters():
            if "bias_hh" in name:
                tensor[2 * H :] = 0
    return module


def made(layer, seed=1):
    module = tnn.Module()
    module.layer = layer
    return random_state(module, seed)


def outputs(layer, x):
    with torch.no_grad():
        found = layer(torch.from_numpy(x))
    return (found[0] if isinstance(found, tuple) else found).numpy()


def assert_returns(model, report, module, x, path, **how):
    """Saved and loaded by torch again, the numbers are those of the module before."""
    expected = outputs(module.layer, x)
    saved = jc.save_torch(model, path, extras=report.extras, **how)
    state = load_file(path)
    module.load_state_dict(state)
    np.testing.assert_allclose(outputs(module.layer, x), expected, rtol=1e-11, atol=1e-12)
    return saved, state


CELLS = {
    "LSTM": (tnn.LSTM, nnx.LSTMCell, {}),
    "LSTM, optimized": (tnn.LSTM, nnx.OptimizedLSTMCell, {}),
    "GRU": (tnn.GRU, nnx.GRUCell, {}),
    "RNN": (tnn.RNN, nnx.SimpleCell, {"dtype": "float64"}),
}


def rnn(kind, inputs, rngs, **kw):
    return nnx.RNN(CELLS[kind][1](inputs, H, **F64, **CELLS[kind][2], rngs=rngs), **kw)


def theirs(kind, **kw):
    module = made(CELLS[kind][0](kw.pop("inputs", IN), H, batch_first=True, **kw))
    return zero_inner_bias(module) if kind == "GRU" else module


@pytest.mark.parametrize("sizes", ["unequal", "equal"])
@pytest.mark.parametrize("kind", CELLS)
def test_one_layer(kind, sizes, tmp_path):
    inputs = H if sizes == "equal" else IN
    module = theirs(kind, inputs=inputs)
    x = data((BATCH, STEPS, inputs))
    model = nnx.eval_shape(lambda: Holder(rnn(kind, inputs, nnx.Rngs(0))))
    model, report = jc.load_torch(model, {k: v.numpy() for k, v in module.state_dict().items()})
    np.testing.assert_allclose(model.layer(jnp.asarray(x)), outputs(module.layer, x), rtol=1e-11)
    assert report.folded == [
        "layer.bias_ih_l0 and layer.bias_hh_l0 are added up, since Flax has one such parameter: "
        "saving writes it to layer.bias_ih_l0, and zeros to layer.bias_hh_l0"
    ]
    before = {k: v.clone() for k, v in module.state_dict().items()}
    saved, state = assert_returns(model, report, module, x, tmp_path / "back.safetensors")
    assert {e.note for e in saved.entries if e.status == "summed"} == {*report.folded}
    assert not state["layer.bias_hh_l0"].any()
    total = before["layer.bias_ih_l0"] + before["layer.bias_hh_l0"]
    assert torch.equal(state["layer.bias_ih_l0"], total)
    for name in ("layer.weight_ih_l0", "layer.weight_hh_l0"):
        assert torch.equal(state[name], before[name])


@pytest.mark.parametrize("kind", CELLS)
def test_the_plan_of_a_load_saves_too_and_files_convert(kind, tmp_path):
    module = theirs(kind)
    source, flax = tmp_path / "model.pth", tmp_path / "flax.safetensors"
    torch.save(module.state_dict(), source)
    x = data((BATCH, STEPS, IN))
    model = nnx.eval_shape(lambda: Holder(rnn(kind, IN, nnx.Rngs(0))))
    model, report = jc.load_torch(model, source)
    plan = jc.Plan.from_json(report.plan.to_json())
    assert plan.entries == report.plan.entries
    assert jc.convert_file(source, flax, plan) == report.folded
    assert jc.verify_file(source, flax, plan) == []
    jc.convert_file(flax, tmp_path / "back.safetensors", plan, to="torch")
    assert_returns(model, report, module, x, tmp_path / "saved.safetensors", plan=report.plan)
    for path in ("back", "saved"):
        held = load_file(tmp_path / f"{path}.safetensors")
        assert all(torch.equal(held[k], v) for k, v in module.state_dict().items())


def test_verify_finds_a_changed_bias(tmp_path):
    module = theirs("LSTM")
    source, flax = tmp_path / "model.pth", tmp_path / "flax.safetensors"
    torch.save(module.state_dict(), source)
    model = nnx.eval_shape(lambda: Holder(rnn("LSTM", IN, nnx.Rngs(0))))
    plan = jc.plan(model, source)
    jc.convert_file(source, flax, plan)
    with torch.no_grad():
        module.layer.bias_hh_l0[H] += 1  # of gate f
    torch.save(module.state_dict(), source)
    assert jc.verify_file(source, flax, plan) == ["layer.bias_ih_l0"]


@pytest.mark.parametrize("kind", CELLS)
def test_cells(kind, tmp_path):
    cell = {"LSTM": tnn.LSTMCell, "GRU": tnn.GRUCell, "RNN": tnn.RNNCell}[kind.split(",")[0]]
    module = made(cell(IN, H))
    module = zero_inner_bias(module) if kind == "GRU" else module
    x, h, c = data((BATCH, IN)), data((BATCH, H)), data((BATCH, H))[::-1].copy()
    state = {k: v.numpy() for k, v in module.state_dict().items()}
    assert set(state) == {f"layer.{w}_{s}" for w in ("weight", "bias") for s in ("ih", "hh")}
    make = CELLS[kind][1]
    model = Holder(nnx.eval_shape(lambda: make(IN, H, **F64, **CELLS[kind][2], rngs=nnx.Rngs(0))))
    model, _ = jc.load_torch(model, state)
    with torch.no_grad():
        if kind.startswith("LSTM"):
            expected = module.layer(torch.from_numpy(x), (torch.from_numpy(h), torch.from_numpy(c)))
            (new_c, new_h), _ = model.layer((jnp.asarray(c), jnp.asarray(h)), jnp.asarray(x))
            actual = (new_h, new_c)
        else:
            expected = [module.layer(torch.from_numpy(x), torch.from_numpy(h))]
            actual = [model.layer(jnp.asarray(h), jnp.asarray(x))[1]]
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-11)


# --- GRU: the bias inside the product -------------------------------------------------------------


def gru_state():
    module = made(tnn.GRU(IN, H, batch_first=True))
    return module, {k: v.numpy() for k, v in module.state_dict().items()}


def test_a_bias_that_nnx_gru_does_not_have_is_refused(tmp_path):
    module, state = gru_state()
    model = Holder(rnn("GRU", IN, nnx.Rngs(0)))
    before = np.asarray(model.layer.cell.dense_i.kernel.get_value())
    largest = np.abs(state["layer.bias_hh_l0"][2 * H :]).max()
    with pytest.raises(ValueError) as refused:
        jc.load_torch(model, state)
    assert str(refused.value) == (
        "layer.bias_hh_l0: the last third is the bias inside the reset product of gate n, which "
        f"flax.nnx.GRUCell does not have, and it is not zero (its largest value is {largest:.3g}): "
        "give the cell one, cell.dense_h = nnx.Linear(hidden, 3 * hidden, rngs=rngs), before "
        "loading"
    )
    assert np.array_equal(model.layer.cell.dense_i.kernel.get_value(), before)
    source, target = tmp_path / "model.pth", tmp_path / "flax.safetensors"
    torch.save(module.state_dict(), source)
    with pytest.raises(ValueError, match="the last third is the bias inside the reset product"):
        jc.convert_file(source, target, jc.plan(model, state))
    assert not target.exists()


def test_a_gru_cell_that_was_given_the_bias_has_all_of_torch(tmp_path):
    """What the refusal proposes; then there are two biases on both sides, and nothing is added."""
    module, state = gru_state()

    def build():
        model = Holder(rnn("GRU", IN, nnx.Rngs(0)))
        model.layer.cell.dense_h = nnx.Linear(H, 3 * H, rngs=nnx.Rngs(0), **F64)
        return model

    model, report = jc.load_torch(nnx.eval_shape(build), state)
    assert not report.folded
    x = data((BATCH, STEPS, IN))
    np.testing.assert_allclose(model.layer(jnp.asarray(x)), outputs(module.layer, x), rtol=1e-11)
    jc.save_torch(model, tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    assert all(np.array_equal(back[k].numpy(), v) for k, v in state.items())


# --- several layers, both directions --------------------------------------------------------------


def both_ways(kind, inputs, rngs):
    return nnx.Bidirectional(rnn(kind, inputs, rngs), rnn(kind, inputs, rngs))


@pytest.mark.parametrize("kind", CELLS)
def test_bidirectional(kind, tmp_path):
    module = theirs(kind, bidirectional=True)
    state = {k: v.numpy() for k, v in module.state_dict().items()}
    model = nnx.eval_shape(lambda: Holder(both_ways(kind, IN, nnx.Rngs(0))))
    model, report = jc.load_torch(model, state)
    x = data((BATCH, STEPS, IN))
    expected = outputs(module.layer, x)
    np.testing.assert_allclose(model.layer(jnp.asarray(x)), expected, rtol=1e-11)
    assert len(report.folded) == 2
    assert_returns(model, report, module, x, tmp_path / "back.safetensors")


def in_sequence(make):
    return nnx.Sequential(make(IN), nnx.Dropout(0.5, deterministic=True), make(2 * H), make(2 * H))


@pytest.mark.parametrize("kind", CELLS)
def test_several_layers_both_ways(kind, tmp_path):
    module = theirs(kind, bidirectional=True, num_layers=3)
    state = {k: v.numpy() for k, v in module.state_dict().items()}
    model = Holder(in_sequence(lambda n: both_ways(kind, n, nnx.Rngs(0))))
    rules = {"layer": jc.RNNLayers()}
    model, report = jc.load_torch(model, state, rules=rules)
    x = data((BATCH, STEPS, IN))
    expected = outputs(module.layer, x)
    np.testing.assert_allclose(model.layer(jnp.asarray(x)), expected, rtol=1e-11)
    saved, _ = assert_returns(model, report, module, x, tmp_path / "b.safetensors", rules=rules)
    assert len({e.torch for e in saved.entries if e.status == "summed"}) == 6


class Attributes(nnx.Module):
    def __init__(self, rngs):
        self.low, self.high = rnn("LSTM", IN, rngs), rnn("LSTM", H, rngs)
        self.items = nnx.List([rnn("LSTM", H, rngs), rnn("LSTM", H, rngs)])

    def __call__(self, x):
        for layer in (self.low, self.high, *self.items):
            x = layer(x)
        return x


HOW = {
    "each with its number": {
        "names": {"layer.low": "layer", "layer.high": "layer", "layer.items": "layer"},
        "rules": {
            "layer.high": jc.RNNLayers(first=1),
            "layer.items": jc.RNNLayers(first=2),
        },
    },
    "by their names": {
        "rules": {"layer": jc.RNNLayers("low", "high", "items.0", "items.1")},
    },
}


@pytest.mark.parametrize("how", HOW)
def test_layers_that_are_attributes(how):
    module = theirs("LSTM", num_layers=4)
    state = {k: v.numpy() for k, v in module.state_dict().items()}
    model = nnx.eval_shape(lambda: Holder(Attributes(nnx.Rngs(0))))
    model, _ = jc.load_torch(model, state, **HOW[how])
    x = data((BATCH, STEPS, IN))
    np.testing.assert_allclose(model.layer(jnp.asarray(x)), outputs(module.layer, x), rtol=1e-11)


def test_one_direction_alone():
    """The backward direction of torch's layer as an RNN that runs in reverse."""
    module = theirs("LSTM", bidirectional=True)
    state = {k: v.numpy() for k, v in module.state_dict().items()}
    model = Holder(rnn("LSTM", IN, nnx.Rngs(0), reverse=True, keep_order=True))
    rules = {"layer": jc.RNNLayers(reverse=True)}
    model, _ = jc.load_torch(model, state, rules=rules, ignore=r".*_l0")
    x = data((BATCH, STEPS, IN))
    expected = outputs(module.layer, x)[..., H:]
    np.testing.assert_allclose(model.layer(jnp.asarray(x)), expected, rtol=1e-11)


class Reader(nnx.Module):
    """A convolution, whose columns an LSTM reads one after the other, as in text recognition."""

    def __init__(self, kind, both, rngs):
        self.conv = nnx.Conv(2, 4, (3, 3), padding="VALID", param_dtype="float64", rngs=rngs)
        self.layer = (both_ways if both else rnn)(kind, 4 * 3, rngs)

    def __call__(self, x):
        y = jnp.swapaxes(self.conv(x), 1, 2)
        return self.layer(y.reshape(*y.shape[:2], -1))


@pytest.mark.parametrize("both", [False, True], ids=["forward", "both ways"])
@pytest.mark.parametrize("kind", ["LSTM", "LSTM, optimized"])
def test_a_flattened_feature_map(kind, both, tmp_path):
    module = tnn.Module()
    module.conv = tnn.Conv2d(2, 4, 3)
    module.layer = tnn.LSTM(4 * 3, H, batch_first=True, bidirectional=both)
    random_state(module, 5)
    x = data((BATCH, 2, 5, 8))
    with torch.no_grad():
        y = module.conv(torch.from_numpy(x))  # (batch, channels, height, width)
        expected = module.layer(y.permute(0, 3, 1, 2).flatten(2))[0].numpy()
    state = {k: v.numpy() for k, v in module.state_dict().items()}
    rules = {"layer": jc.RNNLayers(flatten=(4, 3, 1))}
    model, _ = jc.load_torch(Reader(kind, both, nnx.Rngs(0)), state, rules=rules)
    actual = model(jnp.asarray(np.moveaxis(x, 1, -1)))
    np.testing.assert_allclose(actual, expected, rtol=1e-11)
    jc.save_torch(model, tmp_path / "back.safetensors", rules=rules)
    back = load_file(tmp_path / "back.safetensors")
    np.testing.assert_array_equal(back["layer.weight_ih_l0"], state["layer.weight_ih_l0"])


def test_without_biases(tmp_path):
    module = theirs("LSTM", bias=False)
    state = {k: v.numpy() for k, v in module.state_dict().items()}
    make = lambda: Holder(rnn("LSTM", IN, nnx.Rngs(0)))  # noqa: E731
    with pytest.raises(jc.ConversionError) as refused:
        jc.load_torch(make(), state)
    assert refused.value.missing_keys == ["layer.bias_ih_l0", "layer.bias_hh_l0"]
    assert "hint: layer: torch's layer has no biases: pass RNNLayers(bias=False)" in str(
        refused.value
    )
    rules = {"layer": jc.RNNLayers(bias=False)}
    model = make()
    model.layer.cell.hf.bias.set_value(jnp.ones(H))
    model, report = jc.load_torch(model, state, rules=rules)
    x = data((BATCH, STEPS, IN))
    np.testing.assert_allclose(model.layer(jnp.asarray(x)), outputs(module.layer, x), rtol=1e-11)
    assert "layer.cell.hf.bias is only in Flax: filled with 0" in report.folded
    path = tmp_path / "back.safetensors"
    jc.save_torch(model, path, rules=rules)
    back = load_file(path)
    assert {k: v.tolist() for k, v in back.items()} == {k: v.tolist() for k, v in state.items()}
    model.layer.cell.hf.bias.set_value(jnp.full(H, 0.5))
    message = r"layer\.cell\.hf\.bias must be 0 to be saved: torch's layer does not have it"
    for how in ({"rules": rules}, {"plan": report.plan}):
        with pytest.raises(ValueError, match=message):
            jc.save_torch(model, tmp_path / "other.safetensors", **how)
    assert not (tmp_path / "other.safetensors").exists()


# --- linen ----------------------------------------------------------------------------------------

LINEN = {
    "LSTM": (tnn.LSTM, lambda: nn.LSTMCell(H, **F64)),
    "LSTM, optimized": (tnn.LSTM, lambda: nn.OptimizedLSTMCell(H, **F64)),
    "GRU": (tnn.GRU, lambda: nn.GRUCell(H, **F64)),
    "RNN": (tnn.RNN, lambda: nn.SimpleCell(H, **F64)),
}


class Setup(nn.Module):
    make: object
    both: bool = False

    def setup(self):
        runs = [nn.RNN(self.make()) for _ in range(2 if self.both else 1)]
        self.layer = nn.Bidirectional(*runs) if self.both else runs[0]

    def __call__(self, x):
        return self.layer(x)


@pytest.mark.parametrize("both", [False, True], ids=["forward", "both ways"])
@pytest.mark.parametrize("kind", LINEN)
def test_linen(kind, both, tmp_path):
    """Its GRUCell has the bias inside the product: all numbers of torch's are kept."""
    module = made(LINEN[kind][0](IN, H, batch_first=True, bidirectional=both))
    state = {k: v.numpy().copy() for k, v in module.state_dict().items()}
    x = data((BATCH, STEPS, IN))
    expected = outputs(module.layer, x)
    flax, example = Setup(LINEN[kind][1], both), jax.ShapeDtypeStruct(x.shape, "float64")
    variables, report = jc.load_torch_linen(flax, state, example=example)
    np.testing.assert_allclose(flax.apply(variables, jnp.asarray(x)), expected, rtol=1e-11)
    path = tmp_path / "back.safetensors"
    jc.save_torch(flax, path, variables=variables, example=example, plan=report.plan)
    back = load_file(path)
    module.load_state_dict(back)
    np.testing.assert_allclose(outputs(module.layer, x), expected, rtol=1e-11)
    kept = back["layer.bias_hh_l0"].numpy()
    if kind == "GRU":
        np.testing.assert_array_equal(kept[2 * H :], state["layer.bias_hh_l0"][2 * H :])
        kept = kept[: 2 * H]
    assert not kept.any()
    source, target = tmp_path / "model.pth", tmp_path / "flax.safetensors"
    torch.save({k: torch.from_numpy(v) for k, v in state.items()}, source)
    jc.convert_file(source, target, report.plan)
    assert jc.verify_file(source, target, report.plan) == []


class Compact(nn.Module):
    """Whose cell is beside the RNN, not within."""

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(IN, name="before", **F64)(x)
        return nn.RNN(nn.LSTMCell(H, **F64))(x)


def test_linen_compact():
    module = tnn.Module()
    module.before, module.lstm = tnn.Linear(IN, IN), tnn.LSTM(IN, H, batch_first=True)
    random_state(module, 3)
    state = {k: v.numpy() for k, v in module.state_dict().items()}
    x = data((BATCH, STEPS, IN))
    how = {"example": jax.ShapeDtypeStruct(x.shape, "float64"), "names": {"LSTMCell_0": "lstm"}}
    with pytest.raises(jc.ConversionError, match="RNNLayers") as refused:
        jc.load_torch_linen(Compact(), state, **how)
    assert 'pass rules={"LSTMCell_0": RNNLayers()}' in str(refused.value)
    rules = {"LSTMCell_0": jc.RNNLayers()}
    variables, _ = jc.load_torch_linen(Compact(), state, rules=rules, **how)
    with torch.no_grad():
        expected = module.lstm(module.before(torch.from_numpy(x)))[0].numpy()
    np.testing.assert_allclose(Compact().apply(variables, jnp.asarray(x)), expected, rtol=1e-11)


# --- what is refused, and hints -------------------------------------------------------------------


def refused(model, state, **how):
    with pytest.raises(jc.ConversionError) as error:
        jc.load_torch(model, state, **how)
    return str(error.value)


def test_several_layers_without_the_rule_get_a_hint():
    state = {k: v.numpy() for k, v in theirs("LSTM", num_layers=2).state_dict().items()}
    rngs = nnx.Rngs(0)
    model = Holder(nnx.Sequential(rnn("LSTM", IN, rngs), rnn("LSTM", H, rngs)))
    text = refused(model, state)
    assert (
        'hint: layer is one layer with num_layers in torch: pass rules={"layer": RNNLayers()} (by '
        "its path in the model)"
    ) in text


def test_a_projection_gets_a_hint():
    module = made(tnn.LSTM(IN, H, proj_size=2))
    state = {k: v.numpy() for k, v in module.state_dict().items()}
    text = refused(Holder(rnn("LSTM", IN, nnx.Rngs(0))), state)
    assert (
        "layer.weight_hr_l0: an LSTM with proj_size has no counterpart in Flax: take "
        "jaxgroups.nnx.LSTM"
    ) in text


def test_layers_that_are_not_recurrent_are_refused():
    model = Holder(nnx.Linear(3, 4, rngs=nnx.Rngs(0)))
    text = refused(model, {}, rules={"layer": jc.RNNLayers()})
    assert "layer (Linear): RNNLayers is for recurrent layers of Flax" in text
    text = refused(model, {}, rules={"layer": jc.RNNLayers("rnn")})
    assert "layer (Linear): RNNLayers: there is no 'rnn' in it" in text


def test_a_residual_cell_is_refused():
    model = Holder(nnx.SimpleCell(3, 4, residual=True, rngs=nnx.Rngs(0)))
    text = refused(model, {})
    assert "layer (SimpleCell): a residual SimpleCell has no counterpart in torch" in text


@pytest.fixture
def registry(monkeypatch):
    from jaxgroups.convert._rules import layers

    monkeypatch.setattr(layers, "_RULES", dict(layers._RULES))


def test_a_cell_with_a_rule_of_its_own_keeps_it_within_an_rnn(registry):
    class Own(nnx.SimpleCell):
        pass

    @jc.register(Own)
    def _(layer, shapes):
        permuted = jc.Permute((1, 0))
        return {
            "dense_i.kernel": jc.TensorRule("w", permuted),
            "dense_h.kernel": jc.TensorRule("u", permuted),
            "dense_i.bias": jc.TensorRule("b"),
        }

    model = Holder(nnx.RNN(Own(IN, H, rngs=nnx.Rngs(0))))
    rng = np.random.default_rng(0)
    shapes = {"layer.cell.w": (H, IN), "layer.cell.u": (H, H), "layer.cell.b": (H,)}
    state = {name: rng.standard_normal(shape).astype("f4") for name, shape in shapes.items()}
    model, _ = jc.load_torch(model, state)
    np.testing.assert_array_equal(
        model.layer.cell.dense_i.kernel.get_value(), state["layer.cell.w"].T
    )
    np.testing.assert_array_equal(
        model.layer.cell.dense_h.kernel.get_value(), state["layer.cell.u"].T
    )


class Named(nnx.Module):
    """A layer with torch's own names and layout, which needs no rule."""

    def __init__(self):
        self.weight_ih_l0 = nnx.Param(jnp.zeros((4 * H, IN)))
        self.bias_hh_l0_reverse = nnx.Param(jnp.zeros((4 * H,)))


def test_a_layer_with_the_names_of_torch_needs_no_rule():
    rng = np.random.default_rng(0)
    state = {
        "layer.weight_ih_l0": rng.standard_normal((4 * H, IN)),
        "layer.bias_hh_l0_reverse": rng.standard_normal(4 * H),
    }
    model, _ = jc.load_torch(Holder(Named()), state)
    np.testing.assert_array_equal(model.layer.weight_ih_l0.get_value(), state["layer.weight_ih_l0"])


def test_one_of_two_shared_layers_under_both_names(tmp_path):
    class Shared(nnx.Module):
        def __init__(self):
            self.a = rnn("LSTM", IN, nnx.Rngs(0))
            self.b = self.a

    module = tnn.Module()
    module.a = tnn.LSTM(IN, H, batch_first=True)
    module.b = module.a
    random_state(module, 4)
    torch.save(module.state_dict(), tmp_path / "model.pth")
    model, _ = jc.load_torch(nnx.eval_shape(Shared), tmp_path / "model.pth")
    x = data((BATCH, STEPS, IN))
    expected = outputs(module.a, x)
    np.testing.assert_allclose(model.b(jnp.asarray(x)), expected, rtol=1e-11)
    jc.save_torch(model, tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    assert back.keys() == module.state_dict().keys()
    module.load_state_dict(back)
    np.testing.assert_allclose(outputs(module.b, x), expected, rtol=1e-11)
