"""Grouped convolutions for JAX with PyTorch's arguments, results and weights.

``jaxgroups.nnx``, ``jaxgroups.linen``, ``jaxgroups.convert``, ``jaxgroups.prove`` and
``jaxgroups.diagrams`` are imported when they are first used, so that ``import jaxgroups`` loads
neither Flax nor torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from jaxgroups import _native
from jaxgroups._explain import Explanation as Explanation
from jaxgroups._explain import explain as explain
from jaxgroups._functional.pool import avg_pool1d as avg_pool1d
from jaxgroups._functional.pool import avg_pool2d as avg_pool2d
from jaxgroups._functional.pool import avg_pool3d as avg_pool3d
from jaxgroups._functional.pool import lp_pool1d as lp_pool1d
from jaxgroups._functional.pool import lp_pool2d as lp_pool2d
from jaxgroups._functional.pool import lp_pool3d as lp_pool3d
from jaxgroups._functional.pool import max_pool1d as max_pool1d
from jaxgroups._functional.pool import max_pool2d as max_pool2d
from jaxgroups._functional.pool import max_pool3d as max_pool3d
from jaxgroups._op.accelerate import Acceleration as Acceleration
from jaxgroups._op.accelerate import accelerate as accelerate
from jaxgroups._op.conv import conv1d as conv1d
from jaxgroups._op.conv import conv2d as conv2d
from jaxgroups._op.conv import conv3d as conv3d
from jaxgroups._op.conv_transpose import conv_transpose1d as conv_transpose1d
from jaxgroups._op.conv_transpose import conv_transpose2d as conv_transpose2d
from jaxgroups._op.conv_transpose import conv_transpose3d as conv_transpose3d
from jaxgroups._op.lax_api import conv_general_dilated as conv_general_dilated
from jaxgroups._spec.spec import ConvSpec as ConvSpec

__version__ = "0.1.0"

__all__ = [
    "Acceleration",
    "ConvSpec",
    "Explanation",
    "accelerate",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
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
    "linen",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "nnx",
    "prove",
]

if TYPE_CHECKING:
    from jaxgroups import convert as convert
    from jaxgroups import diagrams as diagrams
    from jaxgroups import linen as linen
    from jaxgroups import nnx as nnx
    from jaxgroups import prove as prove
else:  # hidden from type checkers, which would take every name for known

    def __getattr__(name: str) -> Any:
        if name in ("convert", "diagrams", "linen", "nnx", "prove"):
            return importlib.import_module(f"jaxgroups.{name}")
        raise AttributeError(f"module 'jaxgroups' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return [*__all__, "__version__"]


def _notebook(spec: ConvSpec) -> dict[str, str]:
    """What a notebook shows of a spec, which cannot import `diagrams`: that imports specs."""
    return importlib.import_module("jaxgroups.diagrams._picture").mimebundle(spec)


ConvSpec.notebook = _notebook
_native.register()
