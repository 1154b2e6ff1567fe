"""Torch modules and the same modules in Flax, nnx and linen: a pair for every kind of layer.

Sizes differ on every axis. A pair has functions that convert torch's input to Flax's layout (mostly
channels last) and Flax's output to torch's layout.
"""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

import jaxgroups.linen as jlinen
import jaxgroups.nnx as jnn

torch = pytest.importorskip("torch", reason="torch is NOT installed: no layer is compared with it")
tnn = torch.nn
load_file = importlib.import_module("safetensors.torch").load_file


def last(x):
    return np.moveaxis(x, 1, -1)


def first(x):
    return np.moveaxis(x, -1, 1)


def same(x):
    return x


def data(shape):
    return np.random.default_rng(3).standard_normal(shape)


def assert_comes_back(path, state):
    """Check that a file has the tensors of a state_dict, bit for bit."""
    returned = load_file(path)
    assert returned.keys() == state.keys()
    for key, tensor in state.items():
        assert returned[key].dtype == tensor.dtype, key
        assert returned[key].shape == tensor.shape, key
        assert returned[key].numpy().tobytes() == tensor.numpy().tobytes(), key


class Holder(nnx.Module):
    """A model with one layer."""

    def __init__(self, layer):
        self.layer = layer


class Pair(NamedTuple):
    torch: Callable[[], Any]
    nnx: Callable[[Any], Any]
    linen: Callable[[], Any]
    shape: tuple[int, ...]
    into: Callable = last
    out: Callable = first
    rules: dict = {}


def conv(name, sizes, *, torch_kw, flax_kw, shape, linen_kw=None):
    """A Flax convolution; its pairs of padding are torch's numbers."""
    inputs, outputs, k = sizes
    transposed = "Transpose" in name
    kind = "ConvTranspose" if transposed else "Conv"
    flax = {"kernel_size": k, **flax_kw}
    return Pair(
        lambda: getattr(tnn, name)(inputs, outputs, k, **torch_kw),
        lambda rngs: getattr(nnx, kind)(inputs, outputs, **flax, rngs=rngs),
        lambda: getattr(nn, kind)(outputs, **flax),
        shape,
    )


def ours(name, sizes, shape, **kw):
    inputs, outputs, k = sizes
    return Pair(
        lambda: getattr(tnn, name)(inputs, outputs, k, **kw),
        lambda rngs: getattr(jnn, name)(inputs, outputs, k, **kw, rngs=rngs),
        lambda: getattr(jlinen, name)(outputs, k, **kw),
        shape,
    )


PAIRS = {
    "Conv1d": ours("Conv1d", (6, 4, 3), (2, 6, 9), groups=2, stride=2, padding=1),
    "Conv2d": ours("Conv2d", (4, 6, (3, 2)), (2, 4, 7, 5), groups=2, dilation=(2, 1)),
    "Conv2d depthwise": ours("Conv2d", (5, 10, (3, 2)), (2, 5, 7, 6), groups=5, bias=False),
    "Conv3d": ours("Conv3d", (2, 3, (2, 3, 1)), (1, 2, 4, 5, 3)),
    "ConvTranspose1d": ours("ConvTranspose1d", (6, 4, 3), (2, 6, 5), groups=2, stride=3),
    "ConvTranspose2d": ours(
        "ConvTranspose2d", (4, 6, (3, 2)), (2, 4, 3, 5), groups=2, stride=2, output_padding=(1, 0)
    ),
    "ConvTranspose2d square": ours("ConvTranspose2d", (4, 4, 3), (2, 4, 3, 5), padding=1),
    "ConvTranspose3d": ours("ConvTranspose3d", (2, 4, (2, 3, 1)), (1, 2, 3, 2, 4), groups=2),
    "flax Conv": conv(
        "Conv2d",
        (4, 6, (3, 2)),
        torch_kw={"groups": 2, "stride": (2, 1), "padding": (1, 0)},
        flax_kw={"feature_group_count": 2, "strides": (2, 1), "padding": ((1, 1), (0, 0))},
        shape=(2, 4, 7, 5),
    ),
    "flax Conv, one dimension": conv(
        "Conv1d",
        (4, 6, (3,)),
        torch_kw={"bias": False},
        flax_kw={"padding": "VALID", "use_bias": False},
        shape=(2, 4, 7),
    ),
    "flax ConvTranspose": conv(  # its padding is d (k - 1) - p
        "ConvTranspose2d",
        (4, 6, (3, 2)),
        torch_kw={"stride": (2, 3), "padding": (1, 0)},
        flax_kw={"strides": (2, 3), "padding": ((1, 1), (1, 1))},
        shape=(2, 4, 3, 5),
    ),
    "flax ConvTranspose, transpose_kernel": conv(
        "ConvTranspose2d",
        (4, 6, (3, 2)),
        torch_kw={"stride": (2, 3), "padding": (1, 0)},
        flax_kw={"strides": (2, 3), "padding": ((1, 1), (1, 1)), "transpose_kernel": True},
        shape=(2, 4, 3, 5),
    ),
    "Linear": Pair(
        lambda: tnn.Linear(5, 3),
        lambda rngs: nnx.Linear(5, 3, rngs=rngs),
        lambda: nn.Dense(3),
        (4, 5),
        same,
        same,
    ),
    "Linear, square and without bias": Pair(
        lambda: tnn.Linear(5, 5, bias=False),
        lambda rngs: nnx.Linear(5, 5, use_bias=False, rngs=rngs),
        lambda: nn.Dense(5, use_bias=False),
        (4, 5),
        same,
        same,
    ),
    "LinearGeneral": Pair(
        lambda: tnn.Sequential(tnn.Linear(5, 6), tnn.Unflatten(-1, (2, 3)))[0],
        lambda rngs: nnx.LinearGeneral(5, (2, 3), rngs=rngs),
        lambda: nn.DenseGeneral((2, 3)),
        (4, 5),
        same,
        lambda y: y.reshape(4, 6),
    ),
    "LinearGeneral over two axes": Pair(
        lambda: tnn.Linear(6, 4),
        lambda rngs: nnx.LinearGeneral((2, 3), 4, axis=(-2, -1), rngs=rngs),
        lambda: nn.DenseGeneral(4, axis=(-2, -1)),
        (5, 6),
        lambda x: x.reshape(5, 2, 3),
        same,
    ),
    "LinearGeneral over two axes in another order": Pair(  # which Flax sorts
        lambda: tnn.Linear(6, 4),
        lambda rngs: nnx.LinearGeneral((2, 3), 4, axis=(-1, -2), rngs=rngs),
        lambda: nn.DenseGeneral(4, axis=(-1, -2)),
        (5, 6),
        lambda x: x.reshape(5, 2, 3),
        same,
    ),
    "BatchNorm": Pair(
        lambda: tnn.BatchNorm2d(5, eps=1e-3),
        lambda rngs: nnx.BatchNorm(
            5, use_running_average=True, epsilon=1e-3, momentum=0.9, rngs=rngs
        ),
        lambda: nn.BatchNorm(use_running_average=True, epsilon=1e-3, momentum=0.9),
        (4, 5, 3, 2),
    ),
    "BatchNorm without parameters": Pair(
        lambda: tnn.BatchNorm1d(5, affine=False),
        lambda rngs: nnx.BatchNorm(
            5, use_running_average=True, use_bias=False, use_scale=False, momentum=0.9, rngs=rngs
        ),
        lambda: nn.BatchNorm(
            use_running_average=True, use_bias=False, use_scale=False, momentum=0.9
        ),
        (4, 5, 3),
    ),
    "LayerNorm": Pair(
        lambda: tnn.LayerNorm(5),
        lambda rngs: nnx.LayerNorm(5, epsilon=1e-5, rngs=rngs),
        lambda: nn.LayerNorm(epsilon=1e-5),
        (4, 3, 5),
        same,
        same,
    ),
    "LayerNorm over a feature map": Pair(
        lambda: tnn.LayerNorm((4, 3, 2)),
        None,  # nnx.LayerNorm has one axis of features
        lambda: nn.LayerNorm(epsilon=1e-5, reduction_axes=(1, 2, 3), feature_axes=(1, 2, 3)),
        (5, 4, 3, 2),
    ),
    "GroupNorm": Pair(
        lambda: tnn.GroupNorm(2, 6),
        lambda rngs: nnx.GroupNorm(6, num_groups=2, epsilon=1e-5, rngs=rngs),
        lambda: nn.GroupNorm(num_groups=2, epsilon=1e-5),
        (4, 6, 3, 5),
    ),
    "InstanceNorm": Pair(
        lambda: tnn.InstanceNorm2d(5, affine=True),
        lambda rngs: nnx.InstanceNorm(5, epsilon=1e-5, rngs=rngs),
        lambda: nn.InstanceNorm(epsilon=1e-5),
        (4, 5, 3, 2),
    ),
    "InstanceNorm without parameters": Pair(
        lambda: tnn.InstanceNorm1d(5),
        lambda rngs: nnx.InstanceNorm(5, epsilon=1e-5, use_bias=False, use_scale=False, rngs=rngs),
        lambda: nn.InstanceNorm(epsilon=1e-5, use_bias=False, use_scale=False),
        (4, 5, 3),
    ),
    "InstanceNorm with running statistics": Pair(  # in evaluation it is a BatchNorm
        lambda: tnn.InstanceNorm2d(5, affine=True, track_running_stats=True),
        lambda rngs: nnx.BatchNorm(5, use_running_average=True, momentum=0.9, rngs=rngs),
        lambda: nn.BatchNorm(use_running_average=True, momentum=0.9),
        (4, 5, 3, 2),
    ),
    "RMSNorm": Pair(
        lambda: tnn.RMSNorm(5, eps=1e-4),
        lambda rngs: nnx.RMSNorm(5, epsilon=1e-4, rngs=rngs),
        lambda: nn.RMSNorm(epsilon=1e-4),
        (4, 3, 5),
        same,
        same,
    ),
    "PReLU of channels": Pair(
        lambda: tnn.PReLU(3),
        lambda rngs: nnx.PReLU(jnp.full(3, 0.25)),
        lambda: nn.PReLU(negative_slope_init=jnp.full(3, 0.25)),
        (4, 3, 5),
    ),
    "PReLU": Pair(
        lambda: tnn.PReLU(),
        lambda rngs: nnx.PReLU(),
        lambda: nn.PReLU(),
        (4, 3, 5),
        same,
        same,
    ),
}


def random_state(module, seed):
    """Fill every tensor of a torch module with distinct values, integers too; float64."""
    generator = torch.Generator().manual_seed(seed)
    module.double()
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.dtype.is_floating_point:
                tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype))
                if name.endswith("running_var"):
                    tensor.abs_().add_(0.5)
            else:
                tensor.fill_(17 + seed)
    return module.eval()
