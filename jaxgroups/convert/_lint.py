"""Settings that a checkpoint cannot hold: where Flax's defaults are not torch's, say so."""

from collections import defaultdict
from math import isqrt
from typing import Any

import numpy as np
from flax import linen as nn
from flax import nnx

from jaxgroups import linen as jg_linen
from jaxgroups import nnx as jg_nnx
from jaxgroups.convert import _ops as ops
from jaxgroups.convert._plan import Plan
from jaxgroups.convert._structure import Structure, dotted

_NORMS = {
    "LayerNorm": (nnx.LayerNorm, nn.LayerNorm),
    "GroupNorm": (nnx.GroupNorm, nn.GroupNorm),
    "InstanceNorm": (nnx.InstanceNorm, nn.InstanceNorm),
    "BatchNorm": (nnx.BatchNorm, nn.BatchNorm),
}
_FLAX_CONVS = (nnx.Conv, nn.Conv, nnx.ConvTranspose, nn.ConvTranspose)
_CONVS = (*_FLAX_CONVS, jg_nnx.Layer, jg_linen.Layer)


def lint(structure: Structure, plan: Plan) -> list[str]:
    """Warnings, each once for all the layers that it concerns."""
    found: dict[str, list[str]] = defaultdict(list)
    for path, layer in structure.layers.items():
        for warning in _layer(layer):
            found[warning].append(dotted(path) or "the model")
    texts = [f"{_some(paths)}: {warning}" for warning, paths in found.items()]
    return texts + _flattened(structure, plan)


def _some(paths: list[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def _layer(layer: Any) -> list[str]:
    warnings = []
    for kind, types in _NORMS.items():
        if isinstance(layer, types) and layer.epsilon == 1e-6:
            warnings.append(
                f"{kind} has epsilon=1e-06, its default in Flax; in torch it is 1e-05 and the file "
                "does not hold it"
            )
    if isinstance(layer, _NORMS["BatchNorm"]) and layer.momentum == 0.99:
        warnings.append(
            "BatchNorm has momentum=0.99, its default in Flax; torch's default 0.1 is 0.9 here "
            "(matters for training only)"
        )
    by_size = isinstance(layer, _FLAX_CONVS) and layer.padding in ("SAME", "SAME_LOWER")
    if by_size and np.max(layer.strides or 1) > 1:
        warnings.append(
            f"padding={layer.padding!r} with strides={layer.strides} pads by the input's size, "
            "torch's padding=p on both sides alike: give explicit pairs"
        )
    return warnings


def _out_channels(layer: Any) -> int | None:
    if isinstance(layer, _CONVS):
        for name in ("out_channels", "out_features", "features"):
            if hasattr(layer, name):
                return getattr(layer, name)
    return None


def _flattened(structure: Structure, plan: Plan) -> list[str]:
    """Linear layers that look fed by a flattened feature map, whose order differs."""
    features = {n for layer in structure.layers.values() if (n := _out_channels(layer))}
    warnings = []
    for entry in plan.leaves():
        if entry.op != ops.Permute((1, 0)) or entry.flax_shape is None:
            continue
        rows = entry.flax_shape[0]
        for c in sorted(features - {1}, reverse=True):
            n = rows // c
            if rows not in features and rows % c == 0 and n > 1 and isqrt(n) ** 2 == n:
                k = isqrt(n)
                module = str(entry.flax).rpartition(".")[0]
                warnings.append(
                    f"{module} reads {rows} = {c} * {k} * {k} features: if they are a flattened "
                    f'feature map, pass rules={{"{module}": FlattenLinear({c}, {k}, {k})}}'
                )
                break
    return warnings
