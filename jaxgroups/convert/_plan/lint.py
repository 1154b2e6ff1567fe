"""Warnings on settings that no checkpoint holds, where Flax's default differs from torch's."""

from collections import defaultdict
from math import isqrt
from typing import Any

import numpy as np
from flax import linen as nn
from flax import nnx

from jaxgroups import linen as jg_linen
from jaxgroups import nnx as jg_nnx
from jaxgroups.convert._model.structure import Path, Structure, dotted
from jaxgroups.convert._plan.plan import Plan
from jaxgroups.convert._rules import ops
from jaxgroups.convert._rules.layers import rule_of

_EPSILON = {  # kind: its types and torch's default; Flax's default is 1e-6 for all of them
    "LayerNorm": ((nnx.LayerNorm, nn.LayerNorm), "1e-05"),
    "GroupNorm": ((nnx.GroupNorm, nn.GroupNorm), "1e-05"),
    "InstanceNorm": ((nnx.InstanceNorm, nn.InstanceNorm), "1e-05"),
    "RMSNorm": ((nnx.RMSNorm, nn.RMSNorm), "the dtype's own (1.2e-07 of float32)"),
}
_BATCH_NORMS = (nnx.BatchNorm, nn.BatchNorm)
_FLAX_CONVS = (nnx.Conv, nn.Conv, nnx.ConvTranspose, nn.ConvTranspose)
_CONVS = (*_FLAX_CONVS, jg_nnx.Layer, jg_linen.Layer)
_GENERAL = (nnx.LinearGeneral, nn.DenseGeneral)
_OTHERS = (nnx.Linear, nn.Dense, nnx.Embed, nn.Embed)


def lint(structure: Structure, plan: Plan) -> list[str]:
    """The warnings, each once for all layers that it concerns."""
    found: dict[str, list[str]] = defaultdict(list)
    for path, layer in structure.layers.items():
        if not _within(structure, path):
            for warning in _layer(layer):
                found[warning].append(dotted(path) or "the model")
    for entry in plan.leaves():
        module, leaf = _split(entry.flax)
        if leaf == "scale" and (warning := _several_axes(entry.op)):
            found[warning].append(module or "the model")
    texts = [f"{_some(paths)}: {warning}" for warning, paths in found.items()]
    return texts + _flattened(structure, plan)


def _some(paths: list[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def _within(structure: Structure, path: Path) -> bool:
    """Whether the layer is part of another one that has a rule, such as an attention."""
    above = [structure.layers.get(path[:length]) for length in range(len(path))]
    return any(layer is not None and rule_of(layer) is not None for layer in above)


def _layer(layer: Any) -> list[str]:
    warnings = []
    for kind, (types, theirs) in _EPSILON.items():
        if isinstance(layer, types) and layer.epsilon == 1e-6:
            warnings.append(
                f"{kind} has epsilon=1e-06, its default in Flax; torch's default is {theirs}, and "
                "the file does not hold it"
            )
    if isinstance(layer, _BATCH_NORMS) and layer.momentum == 0.99:
        warnings.append(
            "BatchNorm has momentum=0.99, its default in Flax; torch's default 0.1 is 0.9 here "
            "(matters for training only)"
        )
    if isinstance(layer, _FLAX_CONVS):
        warnings += _padding(layer.padding, layer.strides)
    if isinstance(layer, _GENERAL):
        warnings += _axes(layer.axis)
    return warnings


def _padding(padding: Any, strides: Any) -> list[str]:
    if padding not in ("SAME", "SAME_LOWER") or np.max(strides or 1) == 1:
        return []
    return [
        f"padding={padding!r} with strides={strides} pads by the input's size, torch's padding=p "
        "on both sides alike: give explicit pairs"
    ]


def _axes(axis: Any) -> list[str]:
    if np.size(axis) < 2:
        return []
    return [
        f"it reads the axes {tuple(axis)} together; torch flattens a feature map "
        "as (C, H, W), which is another order"
    ]


def _several_axes(op: ops.Op) -> str:
    if isinstance(op, ops.Permute) and op.axes == (*range(1, len(op.axes)), 0):
        return (
            f"a norm over {len(op.axes)} axes is taken as torch's (C, *spatial) and moved to "
            "(*spatial, C); where torch has Flax's order, pass rules with Identity() for its leaves"
        )
    return ""


def _features(structure: Structure, types: tuple[type, ...]) -> set[int]:
    found = set()
    for layer in structure.layers.values():
        if isinstance(layer, types):
            names = ("out_channels", "out_features", "features")
            found |= {getattr(layer, name) for name in names if hasattr(layer, name)}
    return {n for n in found if isinstance(n, int)}


def _flattened(structure: Structure, plan: Plan) -> list[str]:
    """Linear layers whose input may be a flattened feature map: torch orders it differently."""
    channels = sorted(_features(structure, _CONVS) - {1}, reverse=True)
    known = {*channels, *_features(structure, _OTHERS)}
    warnings = []
    for entry in plan.leaves():
        module, leaf = _split(entry.flax)
        if leaf != "kernel" or entry.op != ops.Permute((1, 0)) or entry.flax_shape is None:
            continue
        rows = entry.flax_shape[0]
        maps = [(c, rows // c) for c in channels if rows % c == 0 and rows > c]
        if rows in known or not maps:
            continue
        c, n = next(((c, n) for c, n in maps if isqrt(n) ** 2 == n), maps[0])
        k = isqrt(n)
        size = f"{c}, {k}, {k}" if k * k == n else f"{c}, h, w"
        warnings.append(
            f"{module or 'the model'} reads {rows} = {c} * {n} features: if they are a flattened "
            f'feature map, pass rules={{"{module}": FlattenLinear({size})}}'
            + ("" if k * k == n else f" with h * w = {n}")
        )
    return warnings


def _split(flax: str | None) -> tuple[str, str]:
    """The dotted path of a parameter's module, and the parameter's name in it."""
    module, _, leaf = str(flax).rpartition(".")
    return module, leaf
