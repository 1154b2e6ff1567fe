"""Pairs of small networks, right ones and wrong ones, for the tests of `prove`.

Every wrong one differs from the right one in the setting that it is named after.
"""

from functools import partial

import jax
import jax.numpy as jnp
import torch
from flax import nnx
from torch.nn import functional as F

import jaxgroups.nnx as jnn

tnn = torch.nn
EXAMPLE = (2, 3, 8, 8)
CLASSES = 5


class TorchBatchNorm(nnx.BatchNorm):
    """Flax's BatchNorm with torch's running variance, which is divided by N - 1."""

    def __init__(self, features, *, keep=0.9, biased=False, **how):
        super().__init__(features, **{"momentum": keep, "epsilon": 1e-5, **how})
        self.biased = biased

    def __call__(self, x):
        if self.use_running_average:
            return super().__call__(x)
        axes = tuple(range(x.ndim - 1))
        count = x.size // x.shape[-1]
        mean, var = x.mean(axes), x.var(axes)
        unbiased = var if self.biased else var * count / (count - 1)
        keep = self.momentum
        self.mean.set_value(keep * self.mean.get_value() + (1 - keep) * mean)
        self.var.set_value(keep * self.var.get_value() + (1 - keep) * unbiased)
        return (x - mean) / jnp.sqrt(var + self.epsilon) * self.scale + self.bias


# --- the network of torch -------------------------------------------------------------------------


class Branches(tnn.Module):
    """Two branches, each with a ReLU, added up."""

    def __init__(self):
        super().__init__()
        self.left = tnn.Conv2d(4, 4, 3, padding=1)
        self.right = tnn.Conv2d(4, 4, 1)

    def forward(self, x):
        return F.relu(self.left(x)) + F.relu(self.right(x))


class Net(tnn.Module):
    """One of each: padding at a stride, norm, pool, branches, resize, gelu, dropout, flatten."""

    def __init__(self):
        super().__init__()
        self.stem = tnn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.norm = tnn.BatchNorm2d(4)
        self.pool = tnn.MaxPool2d(3, 2, ceil_mode=True)
        self.block = Branches()
        self.up = tnn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.mix = tnn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.act = tnn.GELU()
        self.drop = tnn.Dropout(0.25)
        self.fc = tnn.Linear(4 * 4 * 4, CLASSES)

    def forward(self, x):
        x = self.pool(F.relu(self.norm(self.stem(x))))
        x = self.act(self.mix(self.up(self.block(x))))
        return self.fc(self.drop(torch.flatten(x, 1)))


def net():
    torch.manual_seed(0)
    return Net()


# --- the network of Flax --------------------------------------------------------------------------


class FlaxBranches(nnx.Module):
    def __init__(self, relu, rngs):
        self.left = jnn.Conv2d(4, 4, 3, padding=1, rngs=rngs)
        self.right = jnn.Conv2d(4, 4, 1, rngs=rngs)
        self.relu = relu

    def __call__(self, x):
        right = self.right(x)
        return nnx.relu(self.left(x)) + (nnx.relu(right) if self.relu else right)


class Function(nnx.Module):
    """A function as a module, so that it has a name."""

    def __init__(self, function):
        self.function = function

    def __call__(self, x):
        return self.function(x)


class FlaxNet(nnx.Module):
    def __init__(
        self,
        rngs,
        *,
        padding=1,
        norm=TorchBatchNorm,
        norm_how=None,
        ceil_mode=True,
        relu=True,
        align_corners=True,
        approximate=False,
        rate=0.25,
        bias=True,
        transposed=False,
        always_running=False,
    ):
        self.stem = (
            nnx.Conv(3, 4, (3, 3), strides=2, padding=padding, rngs=rngs)
            if padding == "SAME"
            else jnn.Conv2d(3, 4, 3, stride=2, padding=padding, rngs=rngs)
        )
        self.norm = norm(4, rngs=rngs, **(norm_how or {}))
        self.pool = jnn.MaxPool2d(3, 2, ceil_mode=ceil_mode)
        self.block = FlaxBranches(relu, rngs)
        self.up = Function(partial(doubled, align_corners=align_corners))
        self.mix = jnn.Conv2d(4, 4, 3, padding=1, groups=2, rngs=rngs)
        self.act = Function(partial(jax.nn.gelu, approximate=approximate))
        self.drop = nnx.Dropout(rate, rngs=rngs)
        self.fc = nnx.Linear(4 * 4 * 4, CLASSES, use_bias=bias, rngs=rngs)
        self.transposed = transposed
        self.always_running = always_running

    def __call__(self, x):
        if self.always_running:
            self.norm.use_running_average = True
        x = self.pool(nnx.relu(self.norm(self.stem(x))))
        x = self.act(self.mix(self.up(self.block(x))))
        if self.transposed:
            x = x.transpose(0, 2, 1, 3)
        return self.fc(self.drop(x.reshape(x.shape[0], -1)))


def doubled(x, align_corners):
    """Bilinear resize to twice the size, (N, H, W, C)."""
    for axis in (1, 2):
        n = x.shape[axis]
        at = jnp.arange(2 * n, dtype=x.dtype)
        at = at * (n - 1) / (2 * n - 1) if align_corners else jnp.clip((at + 0.5) / 2 - 0.5, 0)
        low = jnp.minimum(jnp.floor(at).astype(int), n - 1)
        high = jnp.minimum(low + 1, n - 1)
        part = jnp.expand_dims(at - low, [a for a in range(x.ndim) if a != axis])
        x = jnp.take(x, low, axis) * (1 - part) + jnp.take(x, high, axis) * part
    return x


def flax_net(**how):
    """An abstract model, which costs no compilation of initializers."""
    return nnx.eval_shape(lambda: FlaxNet(nnx.Rngs(0), **how))
