"""Flax nnx layers with torch's names, arguments and meaning, channels last."""

from jaxgroups.nnx._conv import Conv1d as Conv1d
from jaxgroups.nnx._conv import Conv2d as Conv2d
from jaxgroups.nnx._conv import Conv3d as Conv3d
from jaxgroups.nnx._conv import ConvTranspose1d as ConvTranspose1d
from jaxgroups.nnx._conv import ConvTranspose2d as ConvTranspose2d
from jaxgroups.nnx._conv import ConvTranspose3d as ConvTranspose3d
from jaxgroups.nnx._conv import Layer as Layer
from jaxgroups.nnx._pool import AvgPool1d as AvgPool1d
from jaxgroups.nnx._pool import AvgPool2d as AvgPool2d
from jaxgroups.nnx._pool import AvgPool3d as AvgPool3d
from jaxgroups.nnx._pool import LPPool1d as LPPool1d
from jaxgroups.nnx._pool import LPPool2d as LPPool2d
from jaxgroups.nnx._pool import LPPool3d as LPPool3d
from jaxgroups.nnx._pool import MaxPool1d as MaxPool1d
from jaxgroups.nnx._pool import MaxPool2d as MaxPool2d
from jaxgroups.nnx._pool import MaxPool3d as MaxPool3d
from jaxgroups.nnx._resize import Upsample as Upsample
from jaxgroups.nnx._resize import UpsamplingBilinear2d as UpsamplingBilinear2d
from jaxgroups.nnx._resize import UpsamplingNearest2d as UpsamplingNearest2d

__all__ = [
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "Layer",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "Upsample",
    "UpsamplingBilinear2d",
    "UpsamplingNearest2d",
]


def __dir__() -> list[str]:
    return __all__
