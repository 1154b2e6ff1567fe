"""EfficientNet-Lite0 with the names of efficientnet-lite-pytorch: TensorFlow's padding and epsilon.

All convolutions are Flax's own, whose ``padding="SAME"`` is TensorFlow's.
"""

import jax
from flax import nnx

# repeats, kernel, stride, expansion, input and output channels
STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


def norm(channels, rngs):
    return nnx.BatchNorm(channels, momentum=0.99, epsilon=1e-3, rngs=rngs)


def conv(inputs, outputs, kernel, rngs, stride=1, groups=1):
    return nnx.Conv(
        inputs,
        outputs,
        (kernel, kernel),
        strides=stride,
        padding="SAME",
        feature_group_count=groups,
        use_bias=False,
        rngs=rngs,
    )


class Block(nnx.Module):
    def __init__(self, kernel, stride, expansion, inputs, outputs, rngs):
        hidden = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self.expand = expansion != 1
        if self.expand:
            self._expand_conv = conv(inputs, hidden, 1, rngs)
            self._bn0 = norm(hidden, rngs)
        self._depthwise_conv = conv(hidden, hidden, kernel, rngs, stride, hidden)
        self._bn1 = norm(hidden, rngs)
        self._project_conv = conv(hidden, outputs, 1, rngs)
        self._bn2 = norm(outputs, rngs)

    def __call__(self, x):
        y = jax.nn.relu6(self._bn0(self._expand_conv(x))) if self.expand else x
        y = jax.nn.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


class EfficientNetLite0(nnx.Module):
    def __init__(self, rngs):
        self._conv_stem = conv(3, 32, 3, rngs, stride=2)
        self._bn0 = norm(32, rngs)
        blocks = []
        for repeats, kernel, stride, expansion, inputs, outputs in STAGES:
            blocks.append(Block(kernel, stride, expansion, inputs, outputs, rngs))
            for _ in range(repeats - 1):
                blocks.append(Block(kernel, 1, expansion, outputs, outputs, rngs))
        self._blocks = nnx.List(blocks)
        self._conv_head = conv(320, 1280, 1, rngs)
        self._bn1 = norm(1280, rngs)
        self._fc = nnx.Linear(1280, 1000, rngs=rngs)

    def __call__(self, x):
        x = jax.nn.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        x = jax.nn.relu6(self._bn1(self._conv_head(x)))
        return self._fc(x.mean((1, 2)))
