"""Networks of the package pytorchcv in nnx, with the same attribute names, so no map is needed."""

import jax
import jax.numpy as jnp
from flax import nnx

import jaxgroups.nnx as jnn

relu, relu6, sigmoid = jax.nn.relu, jax.nn.relu6, jax.nn.sigmoid


def hsigmoid(x):
    return relu6(x + 3) / 6


def hswish(x):
    return x * relu6(x + 3) / 6


def same(x):
    return x


def norm(channels, rngs):
    return nnx.BatchNorm(channels, momentum=0.9, epsilon=1e-5, rngs=rngs)


def pointwise(inputs, outputs, rngs, bias=True):
    """Flax's own layer, for 1x1 kernels."""
    return nnx.Conv(inputs, outputs, (1, 1), use_bias=bias, rngs=rngs)


class Named(nnx.Module):
    """torch.nn.Sequential with named children."""

    def __init__(self, **layers):
        self.order = tuple(layers)
        for name, layer in layers.items():
            setattr(self, name, layer)

    def __call__(self, x):
        for name in self.order:
            x = getattr(self, name)(x)
        return x


class ConvBlock(nnx.Module):
    def __init__(self, inputs, outputs, kernel, rngs, activation=relu, normalized=True, **settings):
        settings = {"bias": False, **settings}
        self.conv = jnn.Conv2d(inputs, outputs, kernel, **settings, rngs=rngs)
        self.bn = norm(outputs, rngs) if normalized else same
        self.activation = activation

    def __call__(self, x):
        return self.activation(self.bn(self.conv(x)))


class SEBlock(nnx.Module):
    def __init__(self, channels, middle, rngs, gate=sigmoid):
        self.conv1 = pointwise(channels, middle, rngs)
        self.conv2 = pointwise(middle, channels, rngs)
        self.gate = gate

    def __call__(self, x):
        return x * self.gate(self.conv2(relu(self.conv1(pool(x)))))


class Bottleneck(nnx.Module):
    """The block of ResNeXt and RegNet: 1x1, grouped 3x3, 1x1."""

    def __init__(self, inputs, middle, outputs, stride, groups, squeezed, rngs):
        self.conv1 = ConvBlock(inputs, middle, 1, rngs)
        settings = {"stride": stride, "padding": 1, "groups": groups}
        self.conv2 = ConvBlock(middle, middle, 3, rngs, **settings)
        self.se = SEBlock(middle, squeezed, rngs) if squeezed else same
        self.conv3 = ConvBlock(middle, outputs, 1, rngs, same)

    def __call__(self, x):
        return self.conv3(self.se(self.conv2(self.conv1(x))))


class Unit(nnx.Module):
    def __init__(self, inputs, outputs, stride, body, rngs):
        self.body = body
        change = inputs != outputs or stride != 1
        self.identity_conv = (
            ConvBlock(inputs, outputs, 1, rngs, same, stride=stride) if change else same
        )

    def __call__(self, x):
        return relu(self.body(x) + self.identity_conv(x))


def pool(x):
    return x.mean((1, 2), keepdims=True)


class Classifier(nnx.Module):
    """`features`, the mean over space, and `output`."""

    def __init__(self, stages, output):
        self.features = Named(**stages, final_pool=pool)
        self.output = output

    def __call__(self, x):
        x = self.features(x)
        if isinstance(self.output, nnx.Linear):
            return self.output(x[:, 0, 0])
        return self.output(x)[:, 0, 0]


class ResInitBlock(nnx.Module):
    def __init__(self, outputs, rngs):
        self.conv = ConvBlock(3, outputs, 7, rngs, stride=2, padding=3)

    def __call__(self, x):
        return nnx.max_pool(self.conv(x), (3, 3), (2, 2), ((1, 1), (1, 1)))


def resnet50b(rngs):
    """With the stride in the 3x3 convolution, as torchvision's resnet50 has it."""
    return _resnet(64, 4, 1, rngs)


def resnext50_32x4d(rngs):
    return _resnet(128, 2, 32, rngs)


def _resnet(middle, times, groups, rngs):
    """Stages of 3, 4, 6 and 3 units, of `times` as many outputs as channels in the middle."""
    stages, inputs = {"init_block": ResInitBlock(64, rngs)}, 64
    for i, count in enumerate((3, 4, 6, 3)):
        outputs = middle * times
        units = {}
        for j in range(count):
            stride = 2 if i and not j else 1
            body = Bottleneck(inputs, middle, outputs, stride, groups, None, rngs)
            units[f"unit{j + 1}"] = Unit(inputs, outputs, stride, body, rngs)
            inputs = outputs
        middle *= 2
        stages[f"stage{i + 1}"] = Named(**units)
    return Classifier(stages, nnx.Linear(inputs, 1000, rngs=rngs))


def regnety002(rngs):
    stages, inputs = {"init_block": ConvBlock(3, 32, 3, rngs, stride=2, padding=1)}, 32
    for i, (outputs, count) in enumerate(zip((24, 56, 152, 368), (1, 1, 4, 7), strict=True)):
        units = {}
        for j in range(count):
            stride = 1 if j else 2
            body = Bottleneck(inputs, outputs, outputs, stride, outputs // 8, inputs // 4, rngs)
            units[f"unit{j + 1}"] = Unit(inputs, outputs, stride, body, rngs)
            inputs = outputs
        stages[f"stage{i + 1}"] = Named(**units)
    return Classifier(stages, nnx.Linear(inputs, 1000, rngs=rngs))


def depthwise(channels, stride, rngs):
    return jnn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False, rngs=rngs)


class ShuffleUnit(nnx.Module):
    def __init__(self, inputs, outputs, down, rngs):
        middle = outputs // 2
        self.down = down
        self.compress_conv1 = pointwise(inputs if down else middle, middle, rngs, bias=False)
        self.compress_bn1 = norm(middle, rngs)
        self.dw_conv2 = depthwise(middle, 2 if down else 1, rngs)
        self.dw_bn2 = norm(middle, rngs)
        self.expand_conv3 = pointwise(middle, middle, rngs, bias=False)
        self.expand_bn3 = norm(middle, rngs)
        if down:
            self.dw_conv4 = depthwise(inputs, 2, rngs)
            self.dw_bn4 = norm(inputs, rngs)
            self.expand_conv5 = pointwise(inputs, middle, rngs, bias=False)
            self.expand_bn5 = norm(middle, rngs)

    def __call__(self, x):
        if self.down:
            y1 = self.dw_bn4(self.dw_conv4(x))
            y1, x2 = relu(self.expand_bn5(self.expand_conv5(y1))), x
        else:
            y1, x2 = jnp.split(x, 2, axis=-1)
        y2 = relu(self.compress_bn1(self.compress_conv1(x2)))
        y2 = self.dw_bn2(self.dw_conv2(y2))
        y2 = relu(self.expand_bn3(self.expand_conv3(y2)))
        return jnp.stack((y1, y2), axis=-1).reshape(*y1.shape[:-1], -1)  # the channel shuffle


class ShuffleInitBlock(nnx.Module):
    def __init__(self, outputs, rngs):
        self.conv = ConvBlock(3, outputs, 3, rngs, stride=2, padding=1)

    def __call__(self, x):
        return nnx.max_pool(self.conv(x), (3, 3), (2, 2), ((0, 1), (0, 1)))  # torch's ceil_mode


def shufflenetv2_wd2(rngs):
    stages, inputs = {"init_block": ShuffleInitBlock(24, rngs)}, 24
    for i, (outputs, count) in enumerate(zip((48, 96, 192), (4, 8, 4), strict=True)):
        units = {}
        for j in range(count):
            units[f"unit{j + 1}"] = ShuffleUnit(inputs, outputs, j == 0, rngs)
            inputs = outputs
        stages[f"stage{i + 1}"] = Named(**units)
    last = ConvBlock(inputs, 1024, 1, rngs)
    return Classifier(stages | {"final_block": last}, nnx.Linear(1024, 1000, rngs=rngs))


def rounded(channels):
    """The nearest multiple of 8, or the next one if that is less than 0.9 `channels`."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near


class MobileNetV3Unit(nnx.Module):
    def __init__(self, inputs, outputs, middle, kernel, stride, activation, squeezed, rngs):
        self.residual = inputs == outputs and stride == 1
        expanded = middle != outputs
        self.exp_conv = ConvBlock(inputs, middle, 1, rngs, activation) if expanded else same
        settings = {"stride": stride, "padding": kernel // 2, "groups": middle}
        self.conv1 = ConvBlock(middle, middle, kernel, rngs, activation, **settings)
        self.se = SEBlock(middle, rounded(middle / 4), rngs, hsigmoid) if squeezed else same
        self.conv2 = ConvBlock(middle, outputs, 1, rngs, same)

    def __call__(self, x):
        y = self.conv2(self.se(self.conv1(self.exp_conv(x))))
        return x + y if self.residual else y


class MobileNetV3Classifier(nnx.Module):
    def __init__(self, inputs, rngs):
        self.conv1 = pointwise(inputs, 1280, rngs, bias=False)
        self.conv2 = pointwise(1280, 1000, rngs)

    def __call__(self, x):
        return self.conv2(hswish(self.conv1(x)))


class FinalBlock(nnx.Module):
    def __init__(self, inputs, outputs, rngs):
        self.conv = ConvBlock(inputs, outputs, 1, rngs, hswish)

    def __call__(self, x):
        return self.conv(x)


# output and middle channels of every unit, kernel, activation, squeeze and excitation
MOBILENET_V3_SMALL = (
    (((16, 16),), 3, relu, True),
    (((24, 72), (24, 88)), 3, relu, False),
    (((40, 96), (40, 240), (40, 240), (48, 120), (48, 144)), 5, hswish, True),
    (((96, 288), (96, 576), (96, 576)), 5, hswish, True),
)


def mobilenetv3_small_w1(rngs):
    first = ConvBlock(3, 16, 3, rngs, hswish, stride=2, padding=1)
    stages, inputs = {"init_block": first}, 16
    for i, (sizes, kernel, activation, squeezed) in enumerate(MOBILENET_V3_SMALL):
        units = {}
        for j, (outputs, middle) in enumerate(sizes):
            settings = (kernel, 1 if j else 2, activation, squeezed)
            units[f"unit{j + 1}"] = MobileNetV3Unit(inputs, outputs, middle, *settings, rngs)
            inputs = outputs
        stages[f"stage{i + 1}"] = Named(**units)
    stages["final_block"] = FinalBlock(inputs, 576, rngs)
    return Classifier(stages, MobileNetV3Classifier(576, rngs))


class AsymConvBlock(nnx.Module):
    """3x1 and 1x3, dilated along their length."""

    def __init__(self, channels, dilation, last, rngs):
        tall = {"padding": (dilation, 0), "dilation": (dilation, 1), "bias": True}
        wide = {"padding": (0, dilation), "dilation": (1, dilation), "bias": True}
        self.lw_conv = ConvBlock(channels, channels, (3, 1), rngs, normalized=False, **tall)
        self.rw_conv = ConvBlock(channels, channels, (1, 3), rngs, last, **wide)

    def __call__(self, x):
        return self.rw_conv(self.lw_conv(x))


class FCU(nnx.Module):
    def __init__(self, channels, dilation, rngs):
        self.conv1 = AsymConvBlock(channels, 1, relu, rngs)
        self.conv2 = AsymConvBlock(channels, dilation, same, rngs)

    def __call__(self, x):
        return relu(x + self.conv2(self.conv1(x)))


class MixDownBlock(nnx.Module):
    def __init__(self, inputs, outputs, rngs):
        self.conv = jnn.Conv2d(inputs, outputs - inputs, 3, 2, 1, rngs=rngs)
        self.norm_activ = Named(bn=norm(outputs, rngs))

    def __call__(self, x):
        y = jnp.concatenate((self.conv(x), nnx.max_pool(x, (2, 2), (2, 2))), axis=-1)
        return relu(self.norm_activ(y))


class DeconvBlock(nnx.Module):
    def __init__(self, inputs, outputs, rngs):
        self.conv = jnn.ConvTranspose2d(inputs, outputs, 3, 2, 1, output_padding=1, rngs=rngs)
        self.bn = norm(outputs, rngs)

    def __call__(self, x):
        return relu(self.bn(self.conv(x)))


class ERFNet(nnx.Module):
    """Segmentation: dilated 3x1 and 1x3 convolutions down, transposed ones up."""

    def __init__(self, rngs):
        dilations = ((), (1,) * 5, (2, 4, 8, 16, 2, 4, 8, 16), (1, 1), (1, 1))
        stages, inputs = [], 3
        for i, outputs in enumerate((16, 64, 128, 64, 16)):
            change = MixDownBlock if i < 3 else DeconvBlock
            units = {"unit1": change(inputs, outputs, rngs)}
            for j, dilation in enumerate(dilations[i]):
                units[f"unit{j + 2}"] = FCU(outputs, dilation, rngs)
            stages.append(Named(**units))
            inputs = outputs
        self.encoder = Named(**{f"stage{i + 1}": stage for i, stage in enumerate(stages[:3])})
        self.decoder = Named(**{f"stage{i + 1}": stage for i, stage in enumerate(stages[3:])})
        self.head = jnn.ConvTranspose2d(16, 19, 2, 2, rngs=rngs)

    def __call__(self, x):
        return self.head(self.decoder(self.encoder(x)))


def erfnet_cityscapes(rngs):
    return ERFNet(rngs)
