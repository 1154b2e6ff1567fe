"""ShuffleNet V2 units: split, branches, concatenation, channel shuffle."""

import torch
import torch.nn as nn


def channel_shuffle(x, groups):
    batchsize, num_channels, height, width = x.size()
    channels_per_group = num_channels // groups
    x = x.view(batchsize, groups, channels_per_group, height, width)
    x = torch.transpose(x, 1, 2).contiguous()
    x = x.view(batchsize, num_channels, height, width)
    return x


class InvertedResidual(nn.Module):
    def __init__(self, inp, oup, stride):
        super().__init__()
        self.stride = stride
        branch_features = oup // 2
        if self.stride > 1:
            self.branch1 = nn.Sequential(
                nn.Conv2d(inp, inp, 3, stride=stride, padding=1, bias=False, groups=inp),
                nn.BatchNorm2d(inp),
                nn.Conv2d(inp, branch_features, kernel_size=1, bias=False),
                nn.BatchNorm2d(branch_features),
                nn.ReLU(inplace=True),
            )
        else:
            self.branch1 = nn.Sequential()
        self.branch2 = nn.Sequential(
            nn.Conv2d(
                inp if (self.stride > 1) else branch_features,
                branch_features,
                kernel_size=1,
                bias=False,
            ),
            nn.BatchNorm2d(branch_features),
            nn.ReLU(inplace=True),
            nn.Conv2d(
                branch_features,
                branch_features,
                kernel_size=3,
                stride=stride,
                padding=1,
                bias=False,
                groups=branch_features,
            ),
            nn.BatchNorm2d(branch_features),
        )

    def forward(self, x):
        if self.stride == 1:
            x1, x2 = x.chunk(2, dim=1)
            out = torch.cat((x1, self.branch2(x2)), dim=1)
        else:
            out = torch.cat((self.branch1(x), self.branch2(x)), dim=1)
        out = channel_shuffle(out, 2)
        return out


class ShuffleNet(nn.Module):
    def __init__(self, repeats=(1,), channels=(8, 16, 24), num_classes=6):
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, channels[0], 3, 2, 1, bias=False),
            nn.BatchNorm2d(channels[0]),
            nn.ReLU(inplace=True),
        )
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        inp = channels[0]
        for i, repeat in enumerate(repeats):
            seq = [InvertedResidual(inp, channels[i + 1], 2)]
            for _ in range(repeat - 1):
                seq.append(InvertedResidual(channels[i + 1], channels[i + 1], 1))
            setattr(self, f"stage{i + 2}", nn.Sequential(*seq))
            inp = channels[i + 1]
        self.stages = len(repeats)
        self.fc = nn.Linear(inp, num_classes)

    def forward(self, x):
        x = self.conv1(x)
        x = self.maxpool(x)
        for i in range(self.stages):
            x = getattr(self, f"stage{i + 2}")(x)
        x = x.mean([2, 3])  # globalpool
        x = self.fc(x)
        return x


def one_shuffle():
    return ShuffleNet()


def stages():
    return ShuffleNet(repeats=(3,))
