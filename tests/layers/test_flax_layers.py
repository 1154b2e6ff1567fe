"""The rows of docs/layers.md that name a layer of Flax: it computes what torch's computes."""

import re
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.helpers import to_first, to_last
from support.torch_bridge import to_numpy, to_torch, torch

import jaxgroups

tnn = torch.nn
pytestmark = pytest.mark.usefixtures("flax_promotion")
TABLE = (Path(__file__).parents[2] / "docs" / "layers.md").read_text()
KEYS = {"rngs": nnx.Rngs(0)}
ROWS = [
    (
        "nnx.GroupNorm(c, g, epsilon=1e-5, use_fast_variance=False)",
        lambda: nnx.GroupNorm(4, 2, epsilon=1e-5, use_fast_variance=False, **KEYS),
        lambda: tnn.GroupNorm(2, 4),
        True,
    ),
    (
        "nnx.LayerNorm(c, epsilon=1e-5, use_fast_variance=False)",
        lambda: nnx.LayerNorm(4, epsilon=1e-5, use_fast_variance=False, **KEYS),
        lambda: tnn.LayerNorm(4),
        False,
    ),
    (
        "nnx.RMSNorm(c, epsilon=1.1920929e-07)",
        lambda: nnx.RMSNorm(4, epsilon=1.1920929e-07, **KEYS),
        lambda: tnn.RMSNorm(4),
        False,
    ),
    ("nnx.Linear(i, o)", lambda: nnx.Linear(4, 3, **KEYS), lambda: tnn.Linear(4, 3), False),
]


@pytest.mark.parametrize(("row", "flax", "theirs", "maps"), ROWS, ids=[row[0] for row in ROWS])
def test_layers_of_flax(rng, row, flax, theirs, maps):
    """In float64 with a large mean, where the difference of squares cancels; RMSNorm in
    float32 on small numbers, where its epsilon matters."""
    assert f"`{row}`" in TABLE
    layer, torchs = flax(), theirs()
    dtype, mean, deviation = ("float32", 0, 1e-3) if "RMS" in row else ("float64", 1e4, 0.1)
    torchs = torchs.to(getattr(torch, dtype))
    for leaf, name in (("scale", "weight"), ("kernel", "weight"), ("bias", "bias")):
        if getattr(layer, leaf, None) is not None:
            value = rng.uniform(0.5, 2, getattr(layer, leaf).shape).astype("float32")
            getattr(layer, leaf)[...] = jnp.asarray(value)
            getattr(torchs, name).data.copy_(torch.from_numpy(value.T.copy()))
    x = (rng.normal(size=(3, 4, 5, 4)) * deviation + mean).astype(dtype)
    if maps:
        got, expected = to_first(layer(to_last(x, 2)), 2), to_numpy(torchs(to_torch(x)))
    else:
        got, expected = layer(x), to_numpy(torchs(to_torch(x)))
    np.testing.assert_allclose(got, expected, rtol=2e-5 if dtype == "float32" else 1e-8, atol=1e-7)


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_dropout_of_whole_channels(rank):
    """Flax drops whole channels with these axes, and scales the others, as torch does."""
    dims = tuple(range(-rank - 1, -1))
    row = f"broadcast_dims={dims}, " if rank else ""
    assert f"`nnx.Dropout(p, {row}rngs=rngs)`" in TABLE
    layer = nnx.Dropout(0.25, broadcast_dims=dims, rngs=nnx.Rngs(0))
    theirs = getattr(tnn, f"Dropout{rank}d" if rank else "Dropout")(0.25)
    shape = (40, 30, *(2, 3, 2)[:rank])
    torch.manual_seed(0)
    expected = to_last(to_numpy(theirs(torch.ones(shape))), rank)
    got = layer(to_last(np.ones(shape, "float32"), rank))
    for values in (np.asarray(got), np.asarray(expected)):
        np.testing.assert_allclose(np.unique(values), [0, 4 / 3], rtol=1e-6)
        inner = values.reshape(40, -1, 30)
        assert (inner == inner[:, :1]).all()
        assert 0.2 < (values == 0).mean() < 0.3
    layer.eval()
    np.testing.assert_array_equal(layer(got), got)


def test_embed():
    layer, theirs = nnx.Embed(7, 3, **KEYS), tnn.Embedding(7, 3, padding_idx=2)
    assert "`nnx.Embed(n, d)`" in TABLE
    layer.embedding[...] = jnp.asarray(to_numpy(theirs.weight))
    x = np.array([[0, 2, 6], [5, 2, 1]])
    np.testing.assert_array_equal(layer(x), to_numpy(theirs(to_torch(x))))
    theirs(to_torch(x)).sum().backward()
    assert not to_numpy(theirs.weight.grad)[2].any()  # all that padding_idx does


# --- activations ----------------------------------------------------------------------------------

NUMBERS = {"s": 0.1, "n": 1, "a": -1.5, "b": 2.5, "t": 3.0, "v": -7.0, "l": 0.5}
NAMES = {"jax": jax, "jnp": jnp, "jaxgroups": jaxgroups, "partial": partial}
ROW = r"^\| `(\w+\(.*?\))` \| `(.+?)` \| (?:yes|in evaluation)"
ACTIVATIONS = re.findall(ROW, TABLE, re.MULTILINE)


def activations():
    """Torch's layer and the function of each row, its letters replaced by numbers."""
    for theirs, ours in ACTIVATIONS:
        numbers = dict(NUMBERS)
        if "LU(a" in theirs:  # of ELU and CELU positive, RReLU has a range of slopes
            numbers |= {"a": 0.25, "b": 0.75}
        if theirs.startswith("Softplus"):
            numbers |= {"b": 0.5}
        yield pytest.param(
            eval(theirs, vars(tnn) | numbers).double().eval(),
            eval(ours, NAMES | numbers),
            id=theirs,
        )


def test_the_table_has_every_activation_of_torch():
    """Apart from attention, and what JAX cannot have: all elementwise layers, softmaxes, GLU."""
    listed = {theirs.partition("(")[0] for theirs, _ in ACTIVATIONS}
    there = set(torch.nn.modules.activation.__all__)
    assert there - listed == {"MultiheadAttention", "Softmax2d"}
    assert listed <= there


@pytest.mark.parametrize(("theirs", "ours"), list(activations()))
def test_activations(rng, theirs, ours):
    """Values and derivatives in float64: at whole and half numbers, where all bounds are, on
    random numbers, and at infinities."""
    bounds = np.arange(-80, 81) / 4
    for x in (bounds, rng.normal(size=60) * 5, np.array([np.inf, -np.inf, 1.0, 80.0])):
        if type(theirs).__name__ in ("Softmax", "Softmin", "LogSoftmax", "GLU"):
            x = np.stack([x, np.ones_like(x)], axis=-1)
        tensor = to_torch(x).requires_grad_()
        expected = theirs(tensor)
        weights = rng.normal(size=tuple(expected.shape))
        expected.backward(torch.from_numpy(weights))
        got, pullback = jax.vjp(ours, jnp.asarray(x))
        np.testing.assert_allclose(got, to_numpy(expected), rtol=1e-11, atol=1e-13)
        loose = type(theirs).__name__ == "Hardsigmoid"  # torch has 1/6 in float32
        (gradient,) = pullback(jnp.asarray(weights))
        limit = {"rtol": 1e-7 if loose else 1e-11, "atol": 1e-13}
        np.testing.assert_allclose(gradient, to_numpy(tensor.grad), **limit)


def test_the_table_has_every_layer_of_jaxgroups():
    names = set(jaxgroups.nnx.__all__) - {"Layer"}
    listed = set(re.findall(r"\w+", TABLE))
    assert {name for name in names if not {name, re.sub(r"[123]d$", "", name)} & listed} <= {
        name for name in names if re.sub(r"[23]d$", "1d", name) in listed
    }
