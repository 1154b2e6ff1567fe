"""WaveNet: dilated causal convolutions, tanh * sigmoid gates, a sum of skips."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class CausalConv1d(nn.Conv1d):
    """Conv1d that sees the past only."""

    def __init__(self, in_channels, out_channels, kernel_size, dilation=1, bias=True):
        super().__init__(
            in_channels, out_channels, kernel_size, padding=0, dilation=dilation, bias=bias
        )
        self.left = (kernel_size - 1) * dilation

    def forward(self, input):
        return super().forward(F.pad(input, (self.left, 0)))


class ResidualLayer(nn.Module):
    def __init__(self, residual_size, skip_size, dilation):
        super().__init__()
        self.conv_filter = CausalConv1d(residual_size, residual_size, 2, dilation=dilation)
        self.conv_gate = CausalConv1d(residual_size, residual_size, 2, dilation=dilation)
        self.resconv1_1 = nn.Conv1d(residual_size, residual_size, kernel_size=1)
        self.skipconv1_1 = nn.Conv1d(residual_size, skip_size, kernel_size=1)

    def forward(self, x):
        fx = torch.tanh(self.conv_filter(x)) * torch.sigmoid(self.conv_gate(x))
        skip = self.skipconv1_1(fx)
        residual = self.resconv1_1(fx) + x
        return skip, residual


class WaveNet(nn.Module):
    def __init__(self, in_depth=6, residual_size=8, skip_size=12, blocks=2, layers=3):
        super().__init__()
        self.causal = CausalConv1d(in_depth, residual_size, 2)
        self.res_stacks = nn.ModuleList()
        for _ in range(blocks):
            for i in range(layers):
                self.res_stacks.append(ResidualLayer(residual_size, skip_size, 2**i))
        self.post = nn.ModuleList(
            [nn.Conv1d(skip_size, skip_size, 1), nn.Conv1d(skip_size, in_depth, 1)]
        )

    def forward(self, x):
        x = self.causal(x)
        skips = []
        for layer in self.res_stacks:
            skip, x = layer(x)
            skips.append(skip)
        x = torch.stack(skips).sum(0)
        for conv in self.post:
            x = conv(F.relu(x))
        return F.log_softmax(x, dim=1)


class GatedWaveNet(nn.Module):
    """The gates of one convolution, split; skips are added as they come."""

    def __init__(self, channels=8, n_layers=3, kernel_size=3, dilation_rate=2):
        super().__init__()
        self.n_layers = n_layers
        self.hidden_channels = channels
        self.in_layers = nn.ModuleList()
        self.res_skip_layers = nn.ModuleList()
        for i in range(n_layers):
            dilation = dilation_rate**i
            padding = int((kernel_size * dilation - dilation) / 2)
            self.in_layers.append(
                nn.Conv1d(channels, 2 * channels, kernel_size, dilation=dilation, padding=padding)
            )
            res_skip_channels = 2 * channels if i < n_layers - 1 else channels
            self.res_skip_layers.append(nn.Conv1d(channels, res_skip_channels, 1))

    def forward(self, x, x_mask):
        output = torch.zeros_like(x)
        for i in range(self.n_layers):
            x_in = self.in_layers[i](x)
            t_act = torch.tanh(x_in[:, : self.hidden_channels, :])
            s_act = torch.sigmoid(x_in[:, self.hidden_channels :, :])
            acts = t_act * s_act
            res_skip_acts = self.res_skip_layers[i](acts)
            if i < self.n_layers - 1:
                res_acts = res_skip_acts[:, : self.hidden_channels, :]
                x = (x + res_acts) * x_mask
                output = output + res_skip_acts[:, self.hidden_channels :, :]
            else:
                output = output + res_skip_acts
        return output * x_mask
