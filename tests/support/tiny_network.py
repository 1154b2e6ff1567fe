"""A network small enough to be benchmarked in a test: a torch module and its Flax twin."""

import jax
from flax import nnx

import jaxgroups.nnx as jnn


class Twin(nnx.Module):
    """The Flax twin of `small`."""

    def __init__(self, rngs):
        self.conv = jnn.Conv2d(3, 6, 3, 2, 1, groups=3, bias=False, rngs=rngs)
        self.bn = nnx.BatchNorm(6, momentum=0.9, epsilon=1e-5, rngs=rngs)
        self.mix = nnx.Conv(6, 8, (1, 1), rngs=rngs)
        self.fc = nnx.Linear(8, 1000, rngs=rngs)

    def __call__(self, x):
        x = self.mix(jax.nn.relu(self.bn(self.conv(x))))
        return self.fc(x.mean((1, 2)))


def small():
    import torch

    class Small(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 6, 3, 2, 1, groups=3, bias=False)
            self.bn = torch.nn.BatchNorm2d(6)
            self.mix = torch.nn.Conv2d(6, 8, 1)
            self.fc = torch.nn.Linear(8, 1000)

        def forward(self, x):
            return self.fc(self.mix(self.bn(self.conv(x)).relu()).mean((2, 3)))

    torch.manual_seed(0)
    return Small()
