"""Flax nnx layers with torch's names, arguments and meaning, channels last."""

from jaxgroups.nnx._activations import Hardshrink as Hardshrink
from jaxgroups.nnx._activations import Hardtanh as Hardtanh
from jaxgroups.nnx._activations import LeakyReLU as LeakyReLU
from jaxgroups.nnx._activations import Softplus as Softplus
from jaxgroups.nnx._activations import Softshrink as Softshrink
from jaxgroups.nnx._activations import Threshold as Threshold
from jaxgroups.nnx._adaptive_pool import AdaptiveAvgPool1d as AdaptiveAvgPool1d
from jaxgroups.nnx._adaptive_pool import AdaptiveAvgPool2d as AdaptiveAvgPool2d
from jaxgroups.nnx._adaptive_pool import AdaptiveAvgPool3d as AdaptiveAvgPool3d
from jaxgroups.nnx._adaptive_pool import AdaptiveMaxPool1d as AdaptiveMaxPool1d
from jaxgroups.nnx._adaptive_pool import AdaptiveMaxPool2d as AdaptiveMaxPool2d
from jaxgroups.nnx._adaptive_pool import AdaptiveMaxPool3d as AdaptiveMaxPool3d
from jaxgroups.nnx._batch_norm import BatchNorm1d as BatchNorm1d
from jaxgroups.nnx._batch_norm import BatchNorm2d as BatchNorm2d
from jaxgroups.nnx._batch_norm import BatchNorm3d as BatchNorm3d
from jaxgroups.nnx._batch_norm import InstanceNorm1d as InstanceNorm1d
from jaxgroups.nnx._batch_norm import InstanceNorm2d as InstanceNorm2d
from jaxgroups.nnx._batch_norm import InstanceNorm3d as InstanceNorm3d
from jaxgroups.nnx._bilinear import Bilinear as Bilinear
from jaxgroups.nnx._conv import Conv1d as Conv1d
from jaxgroups.nnx._conv import Conv2d as Conv2d
from jaxgroups.nnx._conv import Conv3d as Conv3d
from jaxgroups.nnx._conv import ConvTranspose1d as ConvTranspose1d
from jaxgroups.nnx._conv import ConvTranspose2d as ConvTranspose2d
from jaxgroups.nnx._conv import ConvTranspose3d as ConvTranspose3d
from jaxgroups.nnx._conv import Layer as Layer
from jaxgroups.nnx._dropout import AlphaDropout as AlphaDropout
from jaxgroups.nnx._dropout import Dropout1d as Dropout1d
from jaxgroups.nnx._dropout import Dropout2d as Dropout2d
from jaxgroups.nnx._dropout import Dropout3d as Dropout3d
from jaxgroups.nnx._dropout import FeatureAlphaDropout as FeatureAlphaDropout
from jaxgroups.nnx._flatten import Flatten as Flatten
from jaxgroups.nnx._flatten import Unflatten as Unflatten
from jaxgroups.nnx._fold import Fold as Fold
from jaxgroups.nnx._fold import Unfold as Unfold
from jaxgroups.nnx._max_unpool import MaxUnpool1d as MaxUnpool1d
from jaxgroups.nnx._max_unpool import MaxUnpool2d as MaxUnpool2d
from jaxgroups.nnx._max_unpool import MaxUnpool3d as MaxUnpool3d
from jaxgroups.nnx._norm import GroupNorm as GroupNorm
from jaxgroups.nnx._norm import LayerNorm as LayerNorm
from jaxgroups.nnx._norm import LocalResponseNorm as LocalResponseNorm
from jaxgroups.nnx._norm import RMSNorm as RMSNorm
from jaxgroups.nnx._pad import CircularPad1d as CircularPad1d
from jaxgroups.nnx._pad import CircularPad2d as CircularPad2d
from jaxgroups.nnx._pad import CircularPad3d as CircularPad3d
from jaxgroups.nnx._pad import ConstantPad1d as ConstantPad1d
from jaxgroups.nnx._pad import ConstantPad2d as ConstantPad2d
from jaxgroups.nnx._pad import ConstantPad3d as ConstantPad3d
from jaxgroups.nnx._pad import ReflectionPad1d as ReflectionPad1d
from jaxgroups.nnx._pad import ReflectionPad2d as ReflectionPad2d
from jaxgroups.nnx._pad import ReflectionPad3d as ReflectionPad3d
from jaxgroups.nnx._pad import ReplicationPad1d as ReplicationPad1d
from jaxgroups.nnx._pad import ReplicationPad2d as ReplicationPad2d
from jaxgroups.nnx._pad import ReplicationPad3d as ReplicationPad3d
from jaxgroups.nnx._pad import ZeroPad1d as ZeroPad1d
from jaxgroups.nnx._pad import ZeroPad2d as ZeroPad2d
from jaxgroups.nnx._pad import ZeroPad3d as ZeroPad3d
from jaxgroups.nnx._pool import AvgPool1d as AvgPool1d
from jaxgroups.nnx._pool import AvgPool2d as AvgPool2d
from jaxgroups.nnx._pool import AvgPool3d as AvgPool3d
from jaxgroups.nnx._pool import LPPool1d as LPPool1d
from jaxgroups.nnx._pool import LPPool2d as LPPool2d
from jaxgroups.nnx._pool import LPPool3d as LPPool3d
from jaxgroups.nnx._pool import MaxPool1d as MaxPool1d
from jaxgroups.nnx._pool import MaxPool2d as MaxPool2d
from jaxgroups.nnx._pool import MaxPool3d as MaxPool3d
from jaxgroups.nnx._prelu import PReLU as PReLU
from jaxgroups.nnx._recurrent import GRU as GRU
from jaxgroups.nnx._recurrent import LSTM as LSTM
from jaxgroups.nnx._recurrent import RNN as RNN
from jaxgroups.nnx._recurrent_cell import GRUCell as GRUCell
from jaxgroups.nnx._recurrent_cell import LSTMCell as LSTMCell
from jaxgroups.nnx._recurrent_cell import RNNCell as RNNCell
from jaxgroups.nnx._resize import Upsample as Upsample
from jaxgroups.nnx._resize import UpsamplingBilinear2d as UpsamplingBilinear2d
from jaxgroups.nnx._resize import UpsamplingNearest2d as UpsamplingNearest2d
from jaxgroups.nnx._sequential import Sequential as Sequential
from jaxgroups.nnx._shuffle import ChannelShuffle as ChannelShuffle
from jaxgroups.nnx._shuffle import PixelShuffle as PixelShuffle
from jaxgroups.nnx._shuffle import PixelUnshuffle as PixelUnshuffle

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AlphaDropout",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Bilinear",
    "ChannelShuffle",
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "FeatureAlphaDropout",
    "Flatten",
    "Fold",
    "GRUCell",
    "GroupNorm",
    "Hardshrink",
    "Hardtanh",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "LSTMCell",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "LocalResponseNorm",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
    "PReLU",
    "PixelShuffle",
    "PixelUnshuffle",
    "RMSNorm",
    "RNNCell",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "Sequential",
    "Softplus",
    "Softshrink",
    "Threshold",
    "Unflatten",
    "Unfold",
    "Upsample",
    "UpsamplingBilinear2d",
    "UpsamplingNearest2d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]


def __dir__() -> list[str]:
    return __all__
