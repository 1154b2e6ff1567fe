"""Super resolution: EDSR with PixelShuffle, and the same depth to space written by hand."""

import math

import torch
import torch.nn as nn


def default_conv(in_channels, out_channels, kernel_size, bias=True):
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding=(kernel_size // 2), bias=bias)


class MeanShift(nn.Conv2d):
    def __init__(self, rgb_range, rgb_mean=(0.4488, 0.4371, 0.4040), sign=-1):
        super().__init__(3, 3, kernel_size=1)
        std = torch.Tensor((1.0, 1.0, 1.0))
        self.weight.data = torch.eye(3).view(3, 3, 1, 1) / std.view(3, 1, 1, 1)
        self.bias.data = sign * rgb_range * torch.Tensor(rgb_mean) / std
        for p in self.parameters():
            p.requires_grad = False


class ResBlock(nn.Module):
    def __init__(self, conv, n_feats, kernel_size, act=None, res_scale=1):
        super().__init__()
        m = []
        for i in range(2):
            m.append(conv(n_feats, n_feats, kernel_size))
            if i == 0:
                m.append(nn.ReLU(True) if act is None else act)
        self.body = nn.Sequential(*m)
        self.res_scale = res_scale

    def forward(self, x):
        res = self.body(x).mul(self.res_scale)
        res += x
        return res


class Upsampler(nn.Sequential):
    def __init__(self, conv, scale, n_feats, act=False):
        m = []
        for _ in range(int(math.log(scale, 2))):
            m.append(conv(n_feats, 4 * n_feats, 3))
            m.append(nn.PixelShuffle(2))
            if act:
                m.append(nn.PReLU(n_feats))
        super().__init__(*m)


class EDSR(nn.Module):
    def __init__(self, n_resblocks=3, n_feats=8, scale=4, conv=default_conv):
        super().__init__()
        self.sub_mean = MeanShift(1.0)
        self.add_mean = MeanShift(1.0, sign=1)
        m_body = [ResBlock(conv, n_feats, 3, res_scale=0.1) for _ in range(n_resblocks)]
        m_body.append(conv(n_feats, n_feats, 3))
        self.head = nn.Sequential(conv(3, n_feats, 3))
        self.body = nn.Sequential(*m_body)
        self.tail = nn.Sequential(Upsampler(conv, scale, n_feats, act=True), conv(n_feats, 3, 3))

    def forward(self, x):
        x = self.sub_mean(x)
        x = self.head(x)
        res = self.body(x)
        res += x
        x = self.tail(res)
        x = self.add_mean(x)
        return x


class DepthToSpace(nn.Module):
    """``nn.PixelShuffle`` in the order of ONNX's DCR mode."""

    def __init__(self, block_size):
        super().__init__()
        self.bs = block_size

    def forward(self, x):
        N, C, H, W = x.size()
        x = x.view(N, self.bs, self.bs, C // (self.bs**2), H, W)
        x = x.permute(0, 3, 4, 1, 5, 2).contiguous()
        x = x.view(N, C // (self.bs**2), H * self.bs, W * self.bs)
        return x


class SpaceToDepth(nn.Module):
    def __init__(self, block_size=2):
        super().__init__()
        self.bs = block_size

    def forward(self, x):
        N, C, H, W = x.size()
        x = x.view(N, C, H // self.bs, self.bs, W // self.bs, self.bs)
        x = x.permute(0, 3, 5, 1, 2, 4).contiguous()
        x = x.view(N, C * (self.bs**2), H // self.bs, W // self.bs)
        return x


class SpaceDepthNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = SpaceToDepth(2)
        self.conv = nn.Conv2d(12, 16, 3, padding=1)
        self.up = DepthToSpace(2)

    def forward(self, x):
        return self.up(torch.relu(self.conv(self.down(x))))
