"""Flax nnx layers with torch's names, arguments and meaning, channels last."""

from jaxgroups.nnx._batch_norm import BatchNorm1d as BatchNorm1d
from jaxgroups.nnx._batch_norm import BatchNorm2d as BatchNorm2d
from jaxgroups.nnx._batch_norm import BatchNorm3d as BatchNorm3d
from jaxgroups.nnx._batch_norm import InstanceNorm1d as InstanceNorm1d
from jaxgroups.nnx._batch_norm import InstanceNorm2d as InstanceNorm2d
from jaxgroups.nnx._batch_norm import InstanceNorm3d as InstanceNorm3d
from jaxgroups.nnx._conv import Conv1d as Conv1d
from jaxgroups.nnx._conv import Conv2d as Conv2d
from jaxgroups.nnx._conv import Conv3d as Conv3d
from jaxgroups.nnx._conv import ConvTranspose1d as ConvTranspose1d
from jaxgroups.nnx._conv import ConvTranspose2d as ConvTranspose2d
from jaxgroups.nnx._conv import ConvTranspose3d as ConvTranspose3d
from jaxgroups.nnx._conv import Layer as Layer
from jaxgroups.nnx._norm import GroupNorm as GroupNorm
from jaxgroups.nnx._norm import LayerNorm as LayerNorm
from jaxgroups.nnx._norm import LocalResponseNorm as LocalResponseNorm
from jaxgroups.nnx._norm import RMSNorm as RMSNorm
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

__all__ = [
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "Layer",
    "LayerNorm",
    "LocalResponseNorm",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "PReLU",
    "RMSNorm",
]


def __dir__() -> list[str]:
    return __all__
