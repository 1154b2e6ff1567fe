"""Inverted residuals with squeeze and excitation, as MobileNetV3 and SENet write them."""

import torch
import torch.nn as nn
import torch.nn.functional as F


def _make_divisible(v, divisor, min_value=None):
    if min_value is None:
        min_value = divisor
    new_v = max(min_value, int(v + divisor / 2) // divisor * divisor)
    if new_v < 0.9 * v:
        new_v += divisor
    return new_v


class h_sigmoid(nn.Module):
    def __init__(self, inplace=True):
        super().__init__()
        self.relu = nn.ReLU6(inplace=inplace)

    def forward(self, x):
        return self.relu(x + 3) / 6


class h_swish(nn.Module):
    def __init__(self, inplace=True):
        super().__init__()
        self.sigmoid = h_sigmoid(inplace=inplace)

    def forward(self, x):
        return x * self.sigmoid(x)


class SELayer(nn.Module):
    """The weights by linear layers: (N, C) in the middle."""

    def __init__(self, channel, reduction=4):
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            nn.Linear(channel, _make_divisible(channel // reduction, 4)),
            nn.ReLU(inplace=True),
            nn.Linear(_make_divisible(channel // reduction, 4), channel),
            h_sigmoid(),
        )

    def forward(self, x):
        b, c, _, _ = x.size()
        y = self.avg_pool(x).view(b, c)
        y = self.fc(y).view(b, c, 1, 1)
        return x * y


class SEConv(nn.Module):
    """The weights by 1x1 convolutions: (N, C, 1, 1) in the middle."""

    def __init__(self, chs, rd=4):
        super().__init__()
        self.conv_reduce = nn.Conv2d(chs, rd, 1, bias=True)
        self.conv_expand = nn.Conv2d(rd, chs, 1, bias=True)

    def forward(self, x):
        x_se = x.mean((2, 3), keepdim=True)
        x_se = self.conv_reduce(x_se)
        x_se = F.relu(x_se, inplace=True)
        x_se = self.conv_expand(x_se)
        return x * x_se.sigmoid()


class SCSE(nn.Module):
    """Squeeze over space and over channels at once."""

    def __init__(self, channel):
        super().__init__()
        self.linear = nn.Linear(channel, channel)
        self.conv = nn.Conv2d(channel, 1, kernel_size=1, bias=False)

    def forward(self, x):
        n, c = x.shape[:2]
        z = torch.mean(x.view(n, c, -1), dim=2)
        cse = torch.sigmoid(self.linear(z))[:, :, None, None] * x
        sse = self.conv(x).sigmoid().expand_as(x) * x
        return torch.max(cse, sse)


class InvertedResidual(nn.Module):
    def __init__(self, inp, hidden_dim, oup, kernel_size, stride, se, use_hs):
        super().__init__()
        self.identity = stride == 1 and inp == oup
        self.conv = nn.Sequential(
            nn.Conv2d(inp, hidden_dim, 1, 1, 0, bias=False),
            nn.BatchNorm2d(hidden_dim),
            h_swish() if use_hs else nn.ReLU(inplace=True),
            nn.Conv2d(
                hidden_dim,
                hidden_dim,
                kernel_size,
                stride,
                (kernel_size - 1) // 2,
                groups=hidden_dim,
                bias=False,
            ),
            nn.BatchNorm2d(hidden_dim),
            se(hidden_dim) if se else nn.Identity(),
            h_swish() if use_hs else nn.ReLU(inplace=True),
            nn.Conv2d(hidden_dim, oup, 1, 1, 0, bias=False),
            nn.BatchNorm2d(oup),
        )

    def forward(self, x):
        if self.identity:
            return x + self.conv(x)
        else:
            return self.conv(x)


class MobileNetSE(nn.Module):
    def __init__(self, num_classes=5):
        super().__init__()
        layers = [nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), h_swish())]
        settings = [
            # k, exp, c, se, hs, s
            (3, 16, 8, SELayer, False, 1),
            (5, 24, 12, None, False, 2),
            (5, 24, 12, SEConv, True, 1),
            (3, 24, 12, SCSE, True, 1),
        ]
        inp = 8
        for k, exp, c, se, hs, s in settings:
            layers.append(InvertedResidual(inp, exp, c, k, s, se, hs))
            inp = c
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(12, 20), h_swish(), nn.Dropout(0.2), nn.Linear(20, num_classes)
        )

    def forward(self, x):
        x = self.features(x)
        x = F.adaptive_avg_pool2d(x, 1)
        x = x.view(x.size(0), -1)
        x = self.classifier(x)
        return x
