"""RNN, LSTM, GRU and their cells of jaxgroups: torch's weights there and back, without a rule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.flax_twins import Holder, assert_comes_back, data, random_state, tnn, torch

import jaxgroups.convert as jc
from jaxgroups import nnx as jnn

pytestmark = pytest.mark.usefixtures("flax_promotion")
IN, H = 3, 5
SETTINGS = {
    "RNN": {"num_layers": 2, "nonlinearity": "relu"},
    "LSTM": {"num_layers": 2, "bidirectional": True, "proj_size": 2, "batch_first": True},
    "GRU": {"bidirectional": True, "bias": False},
    "RNNCell": {},
    "LSTMCell": {"bias": False},
    "GRUCell": {},
}


def ours(name, **kw):
    return lambda: Holder(getattr(jnn, name)(IN, H, **kw, param_dtype="float64", rngs=nnx.Rngs(0)))


def held(layer, seed=1):
    module = tnn.Module()
    module.layer = layer
    return random_state(module, seed)


@pytest.mark.parametrize("name", SETTINGS)
def test_there_and_back(name, tmp_path):
    kw = SETTINGS[name]
    module = held(getattr(tnn, name)(IN, H, **kw))
    torch.save(module.state_dict(), tmp_path / "net.pth")
    model, report = jc.load_torch(nnx.eval_shape(ours(name, **kw)), tmp_path / "net.pth")
    assert not report.folded
    x = data((2, IN) if "Cell" in name else (4, 2, IN))
    with torch.no_grad():
        expected = jax.tree.leaves(module.layer(torch.from_numpy(x)))
    for got, true in zip(jax.tree.leaves(model.layer(x)), expected, strict=True):
        np.testing.assert_allclose(got, true.numpy(), rtol=1e-11, atol=1e-13)
    jc.save_torch(model, tmp_path / "back.safetensors")
    assert_comes_back(tmp_path / "back.safetensors", module.state_dict())


def test_a_dropout_between_layers_has_no_tensor(tmp_path):
    module = held(tnn.LSTM(IN, H, 2, dropout=0.5))
    model, _ = jc.load_torch(ours("LSTM", num_layers=2, dropout=0.5)(), module.state_dict())
    jc.save_torch(model, tmp_path / "back.safetensors")
    assert_comes_back(tmp_path / "back.safetensors", module.state_dict())


class Reader(nnx.Module):
    """A convolution whose columns an LSTM reads, torch's (C, H) as (H, C)."""

    def __init__(self, rngs):
        wide = {"param_dtype": "float64", "rngs": rngs}
        self.conv = jnn.Conv2d(2, 4, 3, **wide)
        self.rnn = jnn.LSTM(4 * 3, H, batch_first=True, bidirectional=True, **wide)

    def __call__(self, x):
        y = jnp.swapaxes(self.conv(x), 1, 2)
        return self.rnn(y.reshape(*y.shape[:2], -1))[0]


@pytest.mark.parametrize("given", [True, False], ids=["example", "without"])
def test_the_features_of_a_flattened_map_are_reordered(given):
    """As for a Linear: the computation of the model shows the order, and a warning says so."""
    module = tnn.Module()
    module.conv, module.rnn = tnn.Conv2d(2, 4, 3), tnn.LSTM(12, H, bidirectional=True)
    module.rnn.batch_first = True
    random_state(module, 5)
    x = data((2, 2, 5, 8))
    with torch.no_grad():
        columns = module.conv(torch.from_numpy(x)).permute(0, 3, 1, 2).flatten(2)
        expected = module.rnn(columns)[0].numpy()
    last = jnp.asarray(np.moveaxis(x, 1, -1))
    how = {"example": last} if given else {}
    with pytest.warns(jc.ConversionWarning) as caught:
        model, _ = jc.load_torch(Reader(nnx.Rngs(0)), module.state_dict(), **how)
    (warning,) = caught
    rule = '"rnn.weight_ih_l0": ChannelsLast(axis=1, sizes=(4, 3))'
    assert rule in str(warning.message)
    np.testing.assert_allclose(model(last), expected, rtol=1e-11)
    order = jc.ChannelsLast(axis=1, sizes=(4, 3))
    rules = {f"rnn.weight_ih_l0{end}": order for end in ("", "_reverse")}
    model, _ = jc.load_torch(Reader(nnx.Rngs(0)), module.state_dict(), rules=rules, **how)
    np.testing.assert_allclose(model(last), expected, rtol=1e-11)


class WithFlag(Reader):
    def __call__(self, x, scale):
        return super().__call__(x) * scale


def test_where_the_model_cannot_be_called_the_warning_has_the_rule():
    module = tnn.Module()
    module.conv, module.rnn = tnn.Conv2d(2, 4, 3), tnn.LSTM(12, H, bidirectional=True)
    state = random_state(module, 5).state_dict()
    with pytest.warns(jc.ConversionWarning) as caught:
        jc.load_torch(WithFlag(nnx.Rngs(0)), state)
    (warning,) = caught
    order = "ChannelsLast(axis=1, sizes=(4, h, w))"
    assert str(warning.message) == (
        "feature order is not known: rnn reads 12 = 4 * 3 features: if they are a flattened "
        f'feature map, pass rules={{"rnn.weight_ih_l0": {order}, "rnn.weight_ih_l0_reverse": '
        f"{order}}} with h * w = 3; or KeepOrder() where torch has Flax's order, or example= an "
        "input of the model to follow them"
    )
    jc.load_torch(WithFlag(nnx.Rngs(0)), state, rules={"rnn": jc.KeepOrder()})


HINTS = [
    (
        tnn.LSTM(IN, H, 2, bidirectional=True, bias=False, proj_size=2),
        ours("LSTM"),
        "bias=False, num_layers=2, bidirectional=True, proj_size > 0: make the model's LSTM",
    ),
    (
        tnn.LSTM(IN, H, 2),
        ours("LSTM", num_layers=3, bias=False, proj_size=2, bidirectional=True),
        "bias=True, num_layers=2, bidirectional=False, proj_size=0: make the model's LSTM",
    ),
    (
        tnn.GRUCell(IN, H, bias=False),
        ours("GRUCell"),
        "bias=False: make the model's GRUCell",
    ),
]


@pytest.mark.parametrize(("theirs", "model", "text"), HINTS, ids=["more", "less", "cell"])
def test_other_settings_are_hinted_at(theirs, model, text):
    with pytest.raises(jc.ConversionError) as refused:
        jc.load_torch(model(), held(theirs).state_dict())
    assert f"hint: layer: torch's layer has {text} with the same" in str(refused.value)
