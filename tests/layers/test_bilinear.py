"""bilinear: torch's samples, the layer with torch's weights and gradients, errors."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support import opinfo
from support.torch_bridge import to_numpy, to_torch, torch

import jaxgroups as jg
import jaxgroups.convert as jc
from jaxgroups import nnx as jnn


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_samples(dtype):
    for sample in opinfo.samples("bilinear", dtype, every=1 if dtype == "float64" else 5):
        opinfo.assert_equal_to_torch(jg.bilinear, "bilinear", sample, dtype)


@pytest.mark.parametrize("bias", [True, False])
def test_layer(rng, bias, tmp_path):
    theirs = torch.nn.Bilinear(3, 4, 5, bias, dtype=torch.float64)
    ours = jnn.Bilinear(3, 4, 5, bias, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    assert np.abs(ours.weight[...]).max() <= 3**-0.5
    ours, _ = jc.load_torch(ours, theirs.state_dict())
    x, y = rng.normal(size=(2, 6, 3)), rng.normal(size=(2, 6, 4))
    theirs(to_torch(x), to_torch(y)).square().sum().backward()
    np.testing.assert_allclose(
        ours(x, y), to_numpy(theirs(to_torch(x), to_torch(y))), rtol=1e-12, atol=1e-13
    )
    gradient = nnx.grad(lambda layer: (layer(x, y) ** 2).sum())(ours)
    for name, tensor in theirs.named_parameters():
        np.testing.assert_allclose(gradient[name][...], to_numpy(tensor.grad), rtol=1e-11)
    jc.save_torch(ours, tmp_path / "back.safetensors")
    assert repr(ours) == "Bilinear(in1_features=3, in2_features=4, out_features=5)"


REFUSED = [
    ((2, 4), (2, 4), "bilinear(): input1 size does not match weight size: got 4 but expected 3: "
     "shapes (2, 4), (2, 4) and (5, 3, 4)"),
    ((2, 3), (2, 3), "bilinear(): input2 size does not match weight size: got 3 but expected 4: "
     "shapes (2, 3), (2, 3) and (5, 3, 4)"),
    ((2, 3), (1, 4), "bilinear(): input batch dimensions do not match at dim 0: got 2 and 1: "
     "shapes (2, 3), (1, 4) and (5, 3, 4)"),
    ((2, 3), (2, 2, 4), "bilinear(): input dimensions do not match: got 2 and 3: shapes (2, 3), "
     "(2, 2, 4) and (5, 3, 4)"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "text"), REFUSED)
def test_errors(one, other, text):
    layer = jnn.Bilinear(3, 4, 5, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        layer(np.ones(one, "float32"), np.ones(other, "float32"))


def test_other_errors():
    x, y, w = np.ones((2, 3)), np.ones((2, 4)), np.ones((5, 3, 4))
    text = "bilinear(): bias size does not match weight size: got (3,) but expected (5,)"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        jg.bilinear(x, y, w, np.ones(3))
    text = "bilinear(): weight must have 3 axes (out, in1, in2), got (5, 3)"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        jg.bilinear(x, y, w[..., 0])
    text = "All tensors must have the same dtype, got float32, float64, float64: bilinear()"
    with pytest.raises(TypeError, match=f"^{re.escape(text)}$"):
        jg.bilinear(x.astype("float32"), y, w)
    with pytest.raises(ValueError, match=r"must be > 0, but got \(in1_features=0\)$"):
        jnn.Bilinear(0, 4, 5, rngs=nnx.Rngs(0))


def test_errors_of_the_constructor():
    for keywords, text in (
        ({}, "Bilinear() needs the keyword argument 'rngs': add rngs=nnx.Rngs(0)"),
        ({"rngs": 0}, "Bilinear(): rngs must be flax.nnx.Rngs, such as nnx.Rngs(0), not int"),
        (
            {"use_bias": False, "rngs": nnx.Rngs(0)},
            "Bilinear() got an unexpected keyword argument 'use_bias': torch's name is 'bias'",
        ),
    ):
        with pytest.raises(TypeError, match=f"^{re.escape(text)}$"):
            jnn.Bilinear(3, 4, 5, **keywords)
