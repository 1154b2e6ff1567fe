"""Grouped convolutions for JAX with PyTorch's arguments, results and weights.

Everything but `ConvSpec` is imported when it is first used: ``import jaxgroups`` loads neither JAX
nor Flax nor torch.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from jaxgroups._spec.spec import ConvSpec as ConvSpec

__version__ = "0.1.0"

__all__ = [
    "Acceleration",
    "ConvSpec",
    "Explanation",
    "Optimized",
    "accelerate",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "affine_grid",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "bilinear",
    "channel_shuffle",
    "clamp",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_general_dilated",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "convert",
    "diagrams",
    "explain",
    "fold",
    "grid_sample",
    "group_norm",
    "hardshrink",
    "hardtanh",
    "instance_norm",
    "interpolate",
    "keep_memory",
    "layer_norm",
    "leaky_relu",
    "linen",
    "local_response_norm",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "nnx",
    "optimize",
    "pad",
    "pixel_shuffle",
    "pixel_unshuffle",
    "port",
    "prelu",
    "prove",
    "rms_norm",
    "softplus",
    "softshrink",
    "std",
    "threshold",
    "unfold",
    "vector_norm",
]

if TYPE_CHECKING:
    from jaxgroups import convert as convert
    from jaxgroups import diagrams as diagrams
    from jaxgroups import linen as linen
    from jaxgroups import nnx as nnx
    from jaxgroups import port as port
    from jaxgroups import prove as prove
    from jaxgroups._explain import Explanation as Explanation
    from jaxgroups._explain import explain as explain
    from jaxgroups._functional.activations import clamp as clamp
    from jaxgroups._functional.activations import hardshrink as hardshrink
    from jaxgroups._functional.activations import hardtanh as hardtanh
    from jaxgroups._functional.activations import leaky_relu as leaky_relu
    from jaxgroups._functional.activations import softplus as softplus
    from jaxgroups._functional.activations import softshrink as softshrink
    from jaxgroups._functional.activations import threshold as threshold
    from jaxgroups._functional.adaptive_pool import adaptive_avg_pool1d as adaptive_avg_pool1d
    from jaxgroups._functional.adaptive_pool import adaptive_avg_pool2d as adaptive_avg_pool2d
    from jaxgroups._functional.adaptive_pool import adaptive_avg_pool3d as adaptive_avg_pool3d
    from jaxgroups._functional.adaptive_pool import adaptive_max_pool1d as adaptive_max_pool1d
    from jaxgroups._functional.adaptive_pool import adaptive_max_pool2d as adaptive_max_pool2d
    from jaxgroups._functional.adaptive_pool import adaptive_max_pool3d as adaptive_max_pool3d
    from jaxgroups._functional.affine_grid import affine_grid as affine_grid
    from jaxgroups._functional.bilinear import bilinear as bilinear
    from jaxgroups._functional.fold import fold as fold
    from jaxgroups._functional.fold import unfold as unfold
    from jaxgroups._functional.grid_sample import grid_sample as grid_sample
    from jaxgroups._functional.interpolate import interpolate as interpolate
    from jaxgroups._functional.local_response import local_response_norm as local_response_norm
    from jaxgroups._functional.max_unpool import max_unpool1d as max_unpool1d
    from jaxgroups._functional.max_unpool import max_unpool2d as max_unpool2d
    from jaxgroups._functional.max_unpool import max_unpool3d as max_unpool3d
    from jaxgroups._functional.norm import batch_norm as batch_norm
    from jaxgroups._functional.norm import group_norm as group_norm
    from jaxgroups._functional.norm import instance_norm as instance_norm
    from jaxgroups._functional.norm import layer_norm as layer_norm
    from jaxgroups._functional.norm import rms_norm as rms_norm
    from jaxgroups._functional.pad import pad as pad
    from jaxgroups._functional.pool import avg_pool1d as avg_pool1d
    from jaxgroups._functional.pool import avg_pool2d as avg_pool2d
    from jaxgroups._functional.pool import avg_pool3d as avg_pool3d
    from jaxgroups._functional.pool import lp_pool1d as lp_pool1d
    from jaxgroups._functional.pool import lp_pool2d as lp_pool2d
    from jaxgroups._functional.pool import lp_pool3d as lp_pool3d
    from jaxgroups._functional.pool import max_pool1d as max_pool1d
    from jaxgroups._functional.pool import max_pool2d as max_pool2d
    from jaxgroups._functional.pool import max_pool3d as max_pool3d
    from jaxgroups._functional.prelu import prelu as prelu
    from jaxgroups._functional.shuffle import channel_shuffle as channel_shuffle
    from jaxgroups._functional.shuffle import pixel_shuffle as pixel_shuffle
    from jaxgroups._functional.shuffle import pixel_unshuffle as pixel_unshuffle
    from jaxgroups._functional.std import std as std
    from jaxgroups._functional.vector_norm import vector_norm as vector_norm
    from jaxgroups._native.keep_memory import keep_memory as keep_memory
    from jaxgroups._op.accelerate import Acceleration as Acceleration
    from jaxgroups._op.accelerate import accelerate as accelerate
    from jaxgroups._op.conv import conv1d as conv1d
    from jaxgroups._op.conv import conv2d as conv2d
    from jaxgroups._op.conv import conv3d as conv3d
    from jaxgroups._op.conv_transpose import conv_transpose1d as conv_transpose1d
    from jaxgroups._op.conv_transpose import conv_transpose2d as conv_transpose2d
    from jaxgroups._op.conv_transpose import conv_transpose3d as conv_transpose3d
    from jaxgroups._op.lax_api import conv_general_dilated as conv_general_dilated
    from jaxgroups._optimize import Optimized as Optimized
    from jaxgroups._optimize import optimize as optimize
else:  # hidden from type checkers, which would take every name for known

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module 'jaxgroups' has no attribute {name!r}")
        if name not in _HOMES:
            return importlib.import_module(f"jaxgroups.{name}")
        value = getattr(importlib.import_module(f"jaxgroups.{_HOMES[name]}"), name)
        return globals().setdefault(name, value)

    def __dir__() -> list[str]:
        return [*__all__, "__version__"]


_POOL = "_functional.pool"
_HOMES = {  # of what is imported when it is first used, submodules apart
    "Acceleration": "_op.accelerate",
    "Explanation": "_explain",
    "Optimized": "_optimize",
    "optimize": "_optimize",
    "accelerate": "_op.accelerate",
    "conv1d": "_op.conv",
    "conv2d": "_op.conv",
    "conv3d": "_op.conv",
    "conv_general_dilated": "_op.lax_api",
    "conv_transpose1d": "_op.conv_transpose",
    "conv_transpose2d": "_op.conv_transpose",
    "conv_transpose3d": "_op.conv_transpose",
    "explain": "_explain",
    "keep_memory": "_native.keep_memory",
    **dict.fromkeys((f"{k}_pool{r}d" for k in ("avg", "lp", "max") for r in (1, 2, 3)), _POOL),
    "adaptive_avg_pool1d": "_functional.adaptive_pool",
    "adaptive_avg_pool2d": "_functional.adaptive_pool",
    "adaptive_avg_pool3d": "_functional.adaptive_pool",
    "adaptive_max_pool1d": "_functional.adaptive_pool",
    "adaptive_max_pool2d": "_functional.adaptive_pool",
    "adaptive_max_pool3d": "_functional.adaptive_pool",
    "bilinear": "_functional.bilinear",
    "fold": "_functional.fold",
    "unfold": "_functional.fold",
    "max_unpool1d": "_functional.max_unpool",
    "max_unpool2d": "_functional.max_unpool",
    "max_unpool3d": "_functional.max_unpool",
    "pad": "_functional.pad",
    "channel_shuffle": "_functional.shuffle",
    "pixel_shuffle": "_functional.shuffle",
    "pixel_unshuffle": "_functional.shuffle",
    "local_response_norm": "_functional.local_response",
    "batch_norm": "_functional.norm",
    "group_norm": "_functional.norm",
    "instance_norm": "_functional.norm",
    "layer_norm": "_functional.norm",
    "rms_norm": "_functional.norm",
    "prelu": "_functional.prelu",
    "clamp": "_functional.activations",
    "hardshrink": "_functional.activations",
    "hardtanh": "_functional.activations",
    "leaky_relu": "_functional.activations",
    "softplus": "_functional.activations",
    "softshrink": "_functional.activations",
    "threshold": "_functional.activations",
    "std": "_functional.std",
    "vector_norm": "_functional.vector_norm",
    "affine_grid": "_functional.affine_grid",
    "grid_sample": "_functional.grid_sample",
    "interpolate": "_functional.interpolate",
}


def _notebook(spec: ConvSpec) -> dict[str, str]:
    """What a notebook shows of a spec, which cannot import `diagrams`: that imports specs."""
    return importlib.import_module("jaxgroups.diagrams._picture").mimebundle(spec)


ConvSpec.notebook = _notebook
if "jax" in sys.modules:  # so that programs that another process compiled find the kernels
    importlib.import_module("jaxgroups._native").register()
