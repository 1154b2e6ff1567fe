"""Dropout of whole channels and alpha dropout: torch's formula, masks and moments, errors."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.torch_bridge import to_numpy, to_torch, torch

from jaxgroups import nnx as jnn
from jaxgroups._functional.dropout import alpha_dropped

tnn = torch.nn
NAMES = ["Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"]


def keys():
    return nnx.Rngs(0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("p", [0.25, 0.9, 1.0])
def test_alpha_dropout_of_a_mask_is_torchs_formula(rng, p, dtype):
    """Torch's output tells its mask; of it, ours makes the same output and gradient."""
    x = rng.normal(size=(60, 50)).astype(dtype)
    tensor = to_torch(x).requires_grad_()
    torch.manual_seed(0)
    expected = tnn.functional.alpha_dropout(tensor, p, training=True)
    weights = rng.normal(size=x.shape).astype(dtype)
    expected.backward(torch.from_numpy(weights))
    mask = to_numpy(tensor.grad) != 0
    got, pullback = jax.vjp(lambda x: alpha_dropped(x, mask, p), jnp.asarray(x))
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(got, to_numpy(expected), rtol=0, atol=16 * eps)
    (gradient,) = pullback(jnp.asarray(weights))
    np.testing.assert_allclose(gradient, to_numpy(tensor.grad), rtol=4 * eps)
    assert got.dtype == dtype


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_alpha_dropout_keeps_mean_and_variance(rng, p):
    layer = jnn.AlphaDropout(p, rngs=keys())
    x = rng.normal(size=(400, 500))
    y = np.asarray(layer(x))
    assert abs(y.mean()) < 0.01
    assert abs(y.var() - 1) < 0.02
    values, counts = np.unique(y, return_counts=True)
    dropped = values[counts.argmax()]  # the only number that is there more than once
    a = ((1.7580993408473766**2 * p + 1) * (1 - p)) ** -0.5
    np.testing.assert_allclose(dropped, -1.7580993408473766 * a * (1 - p), rtol=1e-12)
    assert abs(counts.max() / y.size - p) < 0.005
    kept = y != dropped
    np.testing.assert_allclose(y[kept], x[kept] * a + 1.7580993408473766 * a * p, rtol=1e-9)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_whole_channels(rank):
    """Each batch element and channel is dropped alone, over all positions, as torch does it."""
    sizes = (2, 3, 2)[:rank]
    theirs = getattr(tnn, f"Dropout{rank}d")(0.25)
    torch.manual_seed(0)
    expected = np.moveaxis(to_numpy(theirs(torch.ones((40, 30, *sizes)))), 1, -1)
    layer = getattr(jnn, f"Dropout{rank}d")(0.25, rngs=keys())
    got = layer(np.ones((8, 5, *sizes, 30), "float32"))  # two batch axes
    for values in (got, expected):
        flat = np.asarray(values).reshape(40, -1, 30)
        assert (flat == flat[:, :1]).all()
        np.testing.assert_allclose(np.unique(flat), [0, 4 / 3], rtol=1e-6)
        assert abs((flat[:, 0] == 0).mean() - 0.25) < 0.04  # of 1200
    alone = np.asarray(layer(np.ones((*sizes, 30), "float32"))).reshape(-1, 30)
    assert (alone == alone[:1]).all()
    assert len(np.unique(alone)) == 2


def test_whole_channels_of_alpha_dropout():
    theirs = tnn.FeatureAlphaDropout(0.25)
    torch.manual_seed(0)
    expected = np.moveaxis(to_numpy(theirs(torch.ones((40, 30, 2, 3)))), 1, -1)
    got = np.asarray(jnn.FeatureAlphaDropout(0.25, rngs=keys())(np.ones((40, 2, 3, 30), "float32")))
    np.testing.assert_allclose(np.unique(got), np.unique(expected), rtol=1e-5)
    for values in (got, expected):
        flat = values.reshape(40, -1, 30)
        assert (flat == flat[:, :1]).all()
        assert abs((flat[:, 0] < 0).mean() - 0.25) < 0.04


@pytest.mark.parametrize("name", NAMES)
def test_modes_and_streams(name):
    """``train()``, ``eval()``, ``nnx.view``, jit, and keys at the call, as nnx.Dropout."""
    layer = getattr(jnn, name)(rngs=keys())
    assert isinstance(layer, nnx.Dropout)
    assert layer.p == layer.rate == 0.5
    assert repr(layer) == f"{name}(p=0.5)"
    x = np.linspace(1, 2, 4 * 2 * 3 * 2 * 16, dtype="float32").reshape(4, 2, 3, 2, 16)
    one, two = layer(x), layer(x)
    assert (np.asarray(one) != np.asarray(two)).any()
    assert (np.asarray(nnx.jit(lambda m, x: m(x))(layer, x)) != x).any()
    np.testing.assert_array_equal(layer(x, deterministic=True), x)
    np.testing.assert_array_equal(nnx.view(layer, deterministic=True)(x), x)
    layer.eval()
    np.testing.assert_array_equal(layer(x), x)
    layer.train()
    one, two = (layer(x, rngs=nnx.Rngs(dropout=3)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(getattr(jnn, name)(0.0)(x), x)
    np.testing.assert_array_equal(getattr(jnn, name)(1.0, rngs=keys())(x), 0)


@pytest.mark.parametrize("name", NAMES)
def test_a_probability_is_between_0_and_1(name):
    for p in (-0.1, 1.5):
        with pytest.raises(ValueError, match="^dropout probability has to be between 0 and 1, but "
                           f"got {p}$"):  # fmt: skip
            getattr(jnn, name)(p, rngs=keys())
        with pytest.raises(ValueError, match="dropout probability has to be between 0 and 1"):
            getattr(tnn, name)(p)


REFUSED = [
    ("Dropout1d", (3,), "float32", "dropout1d: Expected 2D or 3D input, but received a 1D input: "
     "Dropout1d drops whole channels of channels-last input, got shape (3,)"),
    ("Dropout3d", (2, 4, 3), "float32", "dropout3d: Expected 4D or 5D input, but received a 3D "
     "input: Dropout3d drops whole channels of channels-last input, got shape (2, 4, 3)"),
    ("AlphaDropout", (3,), "int32", "result type Float can't be cast to the desired output type: "
     "AlphaDropout needs floating-point numbers, got int32"),
    ("FeatureAlphaDropout", (3,), "float32", "Feature dropout requires at least 2 dimensions in "
     "the input: FeatureAlphaDropout got shape (3,)"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "shape", "dtype", "text"), REFUSED)
def test_errors(name, shape, dtype, text):
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(text)}$"):
        getattr(jnn, name)(rngs=keys())(np.ones(shape, dtype))
