"""The networks of the benchmarks, made of the blocks in `pytorchcv`."""

import jax
from flax import nnx

from benchmarks.twins.pytorchcv import (
    Bottleneck,
    Classifier,
    ConvBlock,
    FinalBlock,
    MobileNetV3Classifier,
    MobileNetV3Unit,
    Named,
    ShuffleInitBlock,
    ShuffleUnit,
    Unit,
    hswish,
    pointwise,
    pool,
    relu,
    relu6,
    same,
    sigmoid,
)

swish = jax.nn.silu


def numbered(units):
    return Named(**{f"unit{i + 1}": unit for i, unit in enumerate(units)})


class InvertedResidual(nnx.Module):
    """1x1 up, depthwise, squeeze and excitation, 1x1 down; the caller gives the names."""

    def __init__(
        self, names, inputs, middle, outputs, kernel, stride, rngs, activation, squeezed=None
    ):
        up, down = names[0], names[-1]
        self.order = names
        self.residual = inputs == outputs and stride == 1
        if up is not None:
            setattr(self, up, ConvBlock(inputs, middle, 1, rngs, activation))
        settings = {"stride": stride, "padding": kernel // 2, "groups": middle}
        setattr(self, names[1], ConvBlock(middle, middle, kernel, rngs, activation, **settings))
        if squeezed:
            self.se = SEBlock(middle, squeezed, rngs, activation)
        setattr(self, down, ConvBlock(middle, outputs, 1, rngs, same))

    def __call__(self, x):
        y = x
        for name in self.order:
            y = y if name is None else getattr(self, name)(y)
        return x + y if self.residual else y


class SEBlock(nnx.Module):
    def __init__(self, channels, middle, rngs, activation):
        self.conv1 = pointwise(channels, middle, rngs)
        self.conv2 = pointwise(middle, channels, rngs)
        self.activation = activation

    def __call__(self, x):
        return x * sigmoid(self.conv2(self.activation(self.conv1(pool(x)))))


def mobilenetv2_w1(rngs):
    first = ConvBlock(3, 32, 3, rngs, relu6, stride=2, padding=1)
    stages, inputs = {"init_block": first}, 32
    widths = ((16,), (24,) * 2, (32,) * 3, (64,) * 4 + (96,) * 3, (160,) * 3 + (320,))
    for i, outputs_of in enumerate(widths):
        units = []
        for j, outputs in enumerate(outputs_of):
            middle = inputs * 6 if i or j else inputs
            stride = 2 if i and not j else 1
            names = ("conv1", "conv2", "conv3")
            units.append(InvertedResidual(names, inputs, middle, outputs, 3, stride, rngs, relu6))
            inputs = outputs
        stages[f"stage{i + 1}"] = numbered(units)
    stages["final_block"] = ConvBlock(inputs, 1280, 1, rngs, relu6)
    return Classifier(stages, pointwise(1280, 1000, rngs, bias=False))


class LinearClassifier(Classifier):
    """The last layer of the classifier in a container, after a dropout without weights."""

    def __call__(self, x):
        return self.output(self.features(x)[:, 0, 0])


class EfficientNetInitBlock(nnx.Module):
    def __init__(self, outputs, rngs):
        self.conv = ConvBlock(3, outputs, 3, rngs, swish, stride=2, padding=1)

    def __call__(self, x):
        return self.conv(x)


# by stage: stride of its first unit, then channels and kernel of every unit
EFFICIENTNET_B0 = (
    (2, ((24, 3),) * 2),
    (2, ((40, 5),) * 2),
    (2, ((80, 3),) * 3 + ((112, 5),) * 3),
    (2, ((192, 5),) * 4 + ((320, 3),)),
)


def efficientnet_b0(rngs):
    """EfficientNet-B0 without its dropout."""
    names = (None, "dw_conv", "se", "pw_conv")
    first = InvertedResidual(names, 32, 32, 16, 3, 1, rngs, swish, squeezed=8)
    stages = {"init_block": EfficientNetInitBlock(32, rngs), "stage1": numbered([first])}
    inputs, names = 16, ("conv1", "conv2", "se", "conv3")
    for i, (first_stride, sizes) in enumerate(EFFICIENTNET_B0):
        units = []
        for j, (outputs, kernel) in enumerate(sizes):
            sides = (inputs, inputs * 6, outputs, kernel, 1 if j else first_stride)
            units.append(InvertedResidual(names, *sides, rngs, swish, squeezed=inputs // 4))
            inputs = outputs
        stages[f"stage{i + 2}"] = numbered(units)
    stages["final_block"] = ConvBlock(inputs, 1280, 1, rngs, swish)
    return LinearClassifier(stages, Named(fc=nnx.Linear(1280, 1000, rngs=rngs)))


def shufflenetv2_w1(rngs):
    stages, inputs = {"init_block": ShuffleInitBlock(24, rngs)}, 24
    for i, (outputs, count) in enumerate(zip((116, 232, 464), (4, 8, 4), strict=True)):
        units = []
        for j in range(count):
            units.append(ShuffleUnit(inputs, outputs, j == 0, rngs))
            inputs = outputs
        stages[f"stage{i + 1}"] = numbered(units)
    stages["final_block"] = ConvBlock(inputs, 1024, 1, rngs)
    return Classifier(stages, nnx.Linear(1024, 1000, rngs=rngs))


# by stage: expansion, then channels and kernel of every unit
MNASNET_B1 = (
    (3, ((24, 3),) * 3),
    (3, ((40, 5),) * 3),
    (6, ((80, 5),) * 3 + ((96, 3),) * 2),
    (6, ((192, 5),) * 4),
)


def mnasnet_b1(rngs):
    """The first and last units have no shortcut, unlike the others."""

    def alone(unit):
        unit.residual = False
        return unit

    names = ("exp_conv", "dw_conv", "pw_conv")
    first = InvertedResidual((None, *names[1:]), 32, 32, 16, 3, 1, rngs, relu)
    start = ConvBlock(3, 32, 3, rngs, stride=2, padding=1)
    stages, inputs = {"init_block": Named(conv1=start, conv2=alone(first))}, 16
    for i, (expansion, sizes) in enumerate(MNASNET_B1):
        units = []
        for j, (outputs, kernel) in enumerate(sizes):
            sides = (inputs, inputs * expansion, outputs, kernel, 1 if j else 2)
            units.append(InvertedResidual(names, *sides, rngs, relu))
            inputs = outputs
        stages[f"stage{i + 1}"] = numbered(units)
    last = InvertedResidual(names, inputs, inputs * 6, 320, 3, 1, rngs, relu)
    stages["final_block"] = Named(conv1=alone(last), conv2=ConvBlock(320, 1280, 1, rngs))
    return Classifier(stages, nnx.Linear(1280, 1000, rngs=rngs))


# by stage: output and middle channels of every unit, kernel, and those that squeeze; relu until
# the third
MOBILENET_V3_LARGE = (
    (((16, 16),), 3, ()),
    (((24, 64), (24, 72)), 3, ()),
    (((40, 72), (40, 120), (40, 120)), 5, (0, 1, 2)),
    (((80, 240), (80, 200), (80, 184), (80, 184), (112, 480), (112, 672)), 3, (4, 5)),
    (((160, 672), (160, 960), (160, 960)), 5, (0, 1, 2)),
)


def mobilenetv3_large_w1(rngs):
    first = ConvBlock(3, 16, 3, rngs, hswish, stride=2, padding=1)
    stages, inputs = {"init_block": first}, 16
    for i, (sizes, kernel, squeezing) in enumerate(MOBILENET_V3_LARGE):
        units = []
        for j, (outputs, middle) in enumerate(sizes):
            stride = 2 if i and not j else 1
            settings = (kernel, stride, relu if i < 3 else hswish, j in squeezing)
            units.append(MobileNetV3Unit(inputs, outputs, middle, *settings, rngs))
            inputs = outputs
        stages[f"stage{i + 1}"] = numbered(units)
    stages["final_block"] = FinalBlock(inputs, 960, rngs)
    return Classifier(stages, MobileNetV3Classifier(960, rngs))


def regnetx002(rngs):
    stages, inputs = {"init_block": ConvBlock(3, 32, 3, rngs, stride=2, padding=1)}, 32
    for i, (outputs, count) in enumerate(zip((24, 56, 152, 368), (1, 1, 4, 7), strict=True)):
        units = []
        for j in range(count):
            stride = 1 if j else 2
            body = Bottleneck(inputs, outputs, outputs, stride, outputs // 8, None, rngs)
            units.append(Unit(inputs, outputs, stride, body, rngs))
            inputs = outputs
        stages[f"stage{i + 1}"] = numbered(units)
    return Classifier(stages, nnx.Linear(inputs, 1000, rngs=rngs))
