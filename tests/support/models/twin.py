"""Model factories for the tests of the command line, valid and invalid ones."""

from flax import linen as nn
from flax import nnx

import jaxgroups.nnx as jnn


class Net(nnx.Module):
    def __init__(self, width=6, *, rngs):
        self.up = jnn.ConvTranspose2d(4, width, (3, 2), groups=2, rngs=rngs)
        self.bn = nnx.BatchNorm(width, momentum=0.9, rngs=rngs)
        self.fc = nnx.Linear(24, 5, rngs=rngs)


def make(rngs, **how):
    return Net(rngs=rngs, **how)


class Linen(nn.Module):
    width: int = 5

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.width, name="fc")(x)


def linen(width=5):
    return Linen(width)


instance = Linen()
number = 3


def nothing():
    return 3


def broken():
    raise RuntimeError("of no use\nat all")
