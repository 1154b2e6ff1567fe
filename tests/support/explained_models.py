"""Models for the tests of `explain` and of its command."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx

import jaxgroups as jg
import jaxgroups.linen as jln
import jaxgroups.nnx as jnn


class Convolutions(nnx.Module):
    """Layers without bias and nothing between them: all FLOPs are of the layers."""

    def __init__(self, rngs: nnx.Rngs):
        kw = {"bias": False, "rngs": rngs, "implementation": "xla"}
        self.stem = jnn.Conv2d(3, 16, 3, stride=2, padding=1, **kw)
        self.blocks = nnx.List(
            [
                jnn.Conv2d(16, 32, 3, padding=1, groups=16, **kw),
                jnn.Conv2d(32, 32, 3, padding=2, dilation=2, groups=4, **kw),
            ]
        )
        self.up = jnn.ConvTranspose2d(32, 12, 4, 2, 1, groups=4, **kw)
        self.head = nnx.Linear(12, 10, use_bias=False, rngs=rngs)

    def __call__(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.up(x))


class Everything(nnx.Module):
    """Shared and repeated layers, norms, Flax's layers, and matrix products outside of layers."""

    def __init__(self, rngs: nnx.Rngs):
        self.one = jnn.Conv2d(8, 8, 3, padding=1, groups=4, rngs=rngs)
        self.same = self.one
        self.own = nnx.Conv(8, 8, (3, 3), feature_group_count=8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.embed = nnx.Embed(5, 8, rngs=rngs)
        self.head = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        x = self.same(self.one(x))
        x = self.one(x[:, ::2])
        x = nnx.relu(self.norm(self.own(x)))
        x = jg.conv2d(x, jnp.ones((1, 1, 4, 8), x.dtype), groups=2, data_format="channels_last")
        return self.head(jax.nn.softmax(x @ jnp.swapaxes(x, -1, -2)) @ x)


class Features(nnx.Module):
    """A convolution, and layers and functions of every other kind."""

    def __init__(self, rngs: nnx.Rngs):
        self.conv = jnn.Conv2d(3, 8, 3, padding=1, rngs=rngs)
        self.norm = jnn.BatchNorm2d(8)
        self.act = jnn.PReLU(8)
        self.pool = jnn.MaxPool2d(3, 2, 1)
        self.up = jnn.Upsample(scale_factor=2, mode="bilinear")
        self.mean = jnn.AdaptiveAvgPool2d((3, 2))
        self.flat = jnn.Flatten()
        self.head = nnx.Linear(48, 5, rngs=rngs)

    def __call__(self, x, train=True):
        x = self.act(self.norm(self.conv(x), not train))
        x = jg.avg_pool2d(self.up(self.pool(x)), 2, data_format="channels_last")
        return self.head(self.flat(self.mean(x)))


class Small(nn.Module):
    """A linen model whose call needs an argument."""

    @nn.compact
    def __call__(self, x, train: bool):
        x = jln.Conv2d(8, 3, padding=1)(x)
        x = nn.BatchNorm(use_running_average=not train)(x)
        x = nn.Dropout(0.5, deterministic=not train)(x)
        x = nn.Conv(8, (3, 3), strides=2, feature_group_count=4, padding="VALID")(x)
        return nn.Dense(3)(x.mean((1, 2)))


def convolutions() -> Convolutions:
    return Convolutions(nnx.Rngs(0))


def small(features: int = 3) -> Small:
    assert features == 3
    return Small()


def by_path(answer):
    return {row.path: row for row in answer.layers}
