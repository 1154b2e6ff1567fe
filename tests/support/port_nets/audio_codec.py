"""A 1-d audio codec: weight_norm, reflection padding by computed amounts, Snake, trimmed ends."""

import math
import warnings

import torch
import torch.nn as nn
import torch.nn.functional as F


def old_weight_norm(module):
    """``torch.nn.utils.weight_norm``, which warns that it is old."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return torch.nn.utils.weight_norm(module)


def new_weight_norm(module):
    return torch.nn.utils.parametrizations.weight_norm(module)


def snake(x, alpha):
    shape = x.shape
    x = x.reshape(shape[0], shape[1], -1)
    x = x + (alpha + 1e-9).reciprocal() * torch.sin(alpha * x).pow(2)
    x = x.reshape(shape)
    return x


class Snake1d(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x):
        return snake(x, self.alpha)


def get_extra_padding_for_conv1d(x, kernel_size, stride, padding_total=0):
    length = x.shape[-1]
    n_frames = (length - kernel_size + padding_total) / stride + 1
    ideal_length = (math.ceil(n_frames) - 1) * stride + (kernel_size - padding_total)
    return ideal_length - length


def unpad1d(x, paddings):
    padding_left, padding_right = paddings
    end = x.shape[-1] - padding_right
    return x[..., padding_left:end]


class SConv1d(nn.Module):
    """Conv1d with reflection padding on both sides, or on the left if it is causal."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, dilation=1, causal=False,
                 norm=new_weight_norm):  # fmt: skip
        super().__init__()
        self.conv = norm(
            nn.Conv1d(in_channels, out_channels, kernel_size, stride, dilation=dilation)
        )
        self.kernel_size = (kernel_size - 1) * dilation + 1
        self.stride = stride
        self.causal = causal

    def forward(self, x):
        padding_total = self.kernel_size - self.stride
        if self.causal:
            x = F.pad(x, (padding_total, 0), mode="reflect")
        else:
            padding_right = padding_total // 2
            padding_left = padding_total - padding_right
            x = F.pad(x, (padding_left, padding_right), "reflect")
        return self.conv(x)


class SConvTranspose1d(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size, stride, norm=new_weight_norm):
        super().__init__()
        self.convtr = norm(nn.ConvTranspose1d(in_channels, out_channels, kernel_size, stride))
        self.padding_total = kernel_size - stride

    def forward(self, x):
        y = self.convtr(x)
        padding_right = self.padding_total // 2
        padding_left = self.padding_total - padding_right
        return unpad1d(y, (padding_left, padding_right))


class ResnetBlock(nn.Module):
    def __init__(self, dim, kernel_sizes=(3, 1), dilations=(1, 1), norm=new_weight_norm):
        super().__init__()
        block = []
        for i, (kernel_size, dilation) in enumerate(zip(kernel_sizes, dilations, strict=True)):
            in_chs = dim if i == 0 else dim // 2
            out_chs = dim if i == len(kernel_sizes) - 1 else dim // 2
            block += [
                nn.ELU(alpha=1.0),
                SConv1d(in_chs, out_chs, kernel_size, dilation=dilation, norm=norm),
            ]
        self.block = nn.Sequential(*block)
        self.shortcut = SConv1d(dim, dim, 1, norm=norm)

    def forward(self, x):
        return self.shortcut(x) + self.block(x)


class Codec(nn.Module):
    def __init__(self, channels=1, n_filters=4, ratios=(2, 4), norm=new_weight_norm, causal=False):
        super().__init__()
        mult = 1
        model = [SConv1d(channels, n_filters, 7, causal=causal, norm=norm)]
        for ratio in ratios:
            model += [
                ResnetBlock(mult * n_filters, dilations=(2, 1), norm=norm),
                Snake1d(mult * n_filters),
                SConv1d(mult * n_filters, mult * n_filters * 2, ratio * 2, stride=ratio, norm=norm),
            ]
            mult *= 2
        self.encoder = nn.Sequential(*model)
        model = []
        for ratio in reversed(ratios):
            model += [
                nn.ELU(),
                SConvTranspose1d(
                    mult * n_filters, mult * n_filters // 2, ratio * 2, ratio, norm=norm
                ),
                ResnetBlock(mult * n_filters // 2, norm=norm),
            ]
            mult //= 2
        model += [nn.ELU(), SConv1d(n_filters, channels, 7, norm=norm), nn.Tanh()]
        self.decoder = nn.Sequential(*model)

    def forward(self, x):
        length = x.shape[-1]
        codes = self.encoder(x)
        out = self.decoder(codes)
        return {"audio": out[..., :length], "codes": codes}


def codec():
    return Codec()


def old_codec():
    return Codec(norm=old_weight_norm, causal=True)
