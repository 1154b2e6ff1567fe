"""A dense network in torch and in Flax, and one in Flax with another second layer."""

import torch
from flax import nnx


def net(seed=0):
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)]
    return torch.nn.Sequential(*layers)


class _Function(nnx.Module):
    def __init__(self, function):
        self.function = function

    def __call__(self, x):
        return self.function(x)


class FlaxNet(nnx.Sequential):
    def __init__(self, *, rngs, function=nnx.tanh):
        first, last = nnx.Linear(6, 5, rngs=rngs), nnx.Linear(5, 3, rngs=rngs)
        super().__init__(first, _Function(function), last)


def wrong(rngs):
    return FlaxNet(rngs=rngs, function=nnx.sigmoid)
