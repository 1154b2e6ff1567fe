"""Flax nnx layers with torch's arguments: Conv1d, Conv2d, Conv3d, ConvTranspose1d, 2d, 3d."""

from jaxgroups.nnx._conv import Conv1d as Conv1d
from jaxgroups.nnx._conv import Conv2d as Conv2d
from jaxgroups.nnx._conv import Conv3d as Conv3d
from jaxgroups.nnx._conv import ConvTranspose1d as ConvTranspose1d
from jaxgroups.nnx._conv import ConvTranspose2d as ConvTranspose2d
from jaxgroups.nnx._conv import ConvTranspose3d as ConvTranspose3d
from jaxgroups.nnx._conv import Layer as Layer

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Layer",
]


def __dir__() -> list[str]:
    return __all__
