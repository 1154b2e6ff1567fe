"""Convert the weights of PyTorch's grouped and transposed convolutions to Flax layers."""

import numpy as np
from flax import nnx

import jaxgroups as jg
import jaxgroups.nnx as jnn
from jaxgroups.convert import bias_from_torch, kernel_from_torch

try:
    import torch
except ImportError:
    torch = None
    print("torch is not installed: the weights are random, the reference is jaxgroups' functions")

rng = np.random.default_rng(0)
x = rng.normal(size=(2, 8, 9, 10)).astype("float32")  # (N, C, H, W)
ARGUMENTS = {
    "Conv2d": {"stride": 2, "padding": 1, "groups": 4},
    "ConvTranspose2d": {"stride": 2, "padding": 1, "output_padding": 1, "groups": 4},
}


def torch_layer(name, kw):
    """Weight, bias and output of torch's layer; without torch, of jaxgroups' function."""
    if torch is not None:
        layer = getattr(torch.nn, name)(8, 12, 3, **kw)
        with torch.no_grad():
            return layer.weight, layer.bias, layer(torch.from_numpy(x)).numpy()
    shape, function = {
        "Conv2d": ((12, 2, 3, 3), jg.conv2d),
        "ConvTranspose2d": ((8, 3, 3, 3), jg.conv_transpose2d),
    }[name]
    weight = rng.uniform(-0.2, 0.2, shape).astype("float32")
    bias = rng.uniform(-0.2, 0.2, 12).astype("float32")
    return weight, bias, np.asarray(function(x, weight, bias, **kw))


for name, kw in ARGUMENTS.items():
    weight, bias, expected = torch_layer(name, kw)
    layer = getattr(jnn, name)(8, 12, 3, **kw, rngs=nnx.Rngs(0))
    layer.kernel[...] = kernel_from_torch(weight, layer)
    layer.bias[...] = bias_from_torch(bias)

    y = np.asarray(layer(x.transpose(0, 2, 3, 1))).transpose(0, 3, 1, 2)  # channels last
    print(layer)
    print(f"  output {y.shape}, largest difference {np.abs(y - expected).max():.1e}")
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
