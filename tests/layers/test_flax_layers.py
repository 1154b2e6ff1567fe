"""The rows of docs/layers.md that name a layer of Flax: it computes what torch's computes."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.helpers import to_first, to_last
from support.torch_bridge import to_numpy, to_torch, torch

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
    """In float64 with a large mean, which a variance from squares would not survive; RMSNorm in
    float32 on small numbers, where its epsilon matters."""
    assert f"`{row}`" in TABLE
    layer, torchs = flax(), theirs()
    dtype, mean, spread = ("float32", 0, 1e-3) if "RMS" in row else ("float64", 1e4, 0.1)
    torchs = torchs.to(getattr(torch, dtype))
    for leaf, name in (("scale", "weight"), ("kernel", "weight"), ("bias", "bias")):
        if getattr(layer, leaf, None) is not None:
            value = rng.uniform(0.5, 2, getattr(layer, leaf).shape).astype("float32")
            getattr(layer, leaf)[...] = jnp.asarray(value)
            getattr(torchs, name).data.copy_(torch.from_numpy(value.T.copy()))
    x = (rng.normal(size=(3, 4, 5, 4)) * spread + mean).astype(dtype)
    if maps:
        got, expected = to_first(layer(to_last(x, 2)), 2), to_numpy(torchs(to_torch(x)))
    else:
        got, expected = layer(x), to_numpy(torchs(to_torch(x)))
    np.testing.assert_allclose(got, expected, rtol=2e-5 if dtype == "float32" else 1e-8, atol=1e-7)


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_dropout_of_whole_channels(rank):
    """Torch drops whole channels, and so does Flax so; what is left is scaled alike."""
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
