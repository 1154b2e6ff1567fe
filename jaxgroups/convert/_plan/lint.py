"""Warnings on settings that no checkpoint contains, where Flax's default differs from torch's."""

from collections import defaultdict
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from flax import nnx

from jaxgroups.convert._files.show import first_and_more
from jaxgroups.convert._model.structure import Path, Structure, dotted
from jaxgroups.convert._plan.plan import Plan
from jaxgroups.convert._rules import ops
from jaxgroups.convert._rules.layers import rule_of

_EPSILON = {  # kind -> its types and torch's default; Flax's default is always 1e-6
    "LayerNorm": ((nnx.LayerNorm, nn.LayerNorm), "1e-05"),
    "GroupNorm": ((nnx.GroupNorm, nn.GroupNorm), "1e-05"),
    "InstanceNorm": ((nnx.InstanceNorm, nn.InstanceNorm), "1e-05"),
    "RMSNorm": ((nnx.RMSNorm, nn.RMSNorm), "the dtype's own (1.2e-07 of float32)"),
}
_BATCH_NORMS = (nnx.BatchNorm, nn.BatchNorm)
_FLAX_CONVS = (nnx.Conv, nn.Conv, nnx.ConvTranspose, nn.ConvTranspose)
_TRANSPOSED = (nnx.ConvTranspose, nn.ConvTranspose)


def lint(structure: Structure, plan: Plan) -> list[str]:
    """The warnings, each once, with the layers that it is about."""
    layers: dict[str, list[str]] = defaultdict(list)
    for path, layer in structure.layers.items():
        if not _within(structure, path):
            for warning in _layer(layer):
                layers[warning].append(dotted(path) or "the model")
    for entry in plan.leaves():
        module, leaf = _split(entry.flax)
        if leaf == "scale" and (warning := _several_axes(entry.op)):
            layers[warning].append(module or "the model")
    return [f"{first_and_more(paths)}: {warning}" for warning, paths in layers.items()]


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
                "the file does not contain it"
            )
    if isinstance(layer, _BATCH_NORMS) and layer.momentum == 0.99:
        warnings.append(
            "BatchNorm has momentum=0.99, its default in Flax; torch's default 0.1 is 0.9 here "
            "(matters for training only)"
        )
    if isinstance(layer, _BATCH_NORMS) and layer.momentum == 0.1:
        warnings.append(
            "BatchNorm has momentum=0.1, torch's default, which is 0.9 here: Flax counts the part "
            "of the old statistics (matters for training only)"
        )
    if isinstance(layer, _FLAX_CONVS):
        warnings += _padding(layer)
    warnings += _activations(layer)
    return warnings


def _padding(layer: Any) -> list[str]:
    """Warnings on padding by name: torch has numbers, and its default is 0."""
    padding = layer.padding
    if padding not in ("SAME", "SAME_LOWER"):
        return []
    rank = np.size(layer.kernel_size)
    kernel, strides, dilation = (
        np.broadcast_to(1 if value is None else value, rank)
        for value in (layer.kernel_size, layer.strides, layer.kernel_dilation)
    )
    if isinstance(layer, _TRANSPOSED):
        pads = [
            _transposed(padding, int(n), int(stride))
            for n, stride in zip((kernel - 1) * dilation + 1, strides, strict=True)
        ]
        theirs = [
            (int(d * (k - 1)) - a, int(d * (k - 1)) - b)
            for d, k, (a, b) in zip(dilation, kernel, pads, strict=True)
        ]
    elif strides.max() > 1:
        if kernel.max() == 1:
            return []
        return [
            f"padding={padding!r} with strides={layer.strides} pads by the input's size, torch's "
            "padding=p on both sides alike: give explicit pairs"
        ]
    else:
        totals = [int(n) for n in (kernel - 1) * dilation]
        theirs = [(n // 2, n - n // 2) for n in totals]
    if not any(map(any, theirs)):
        return []
    same = all(a == b for a, b in theirs)
    number = f"torch's padding={tuple(a for a, _ in theirs)}" if same else "no padding of torch's"
    return [
        f"padding={padding!r}, Flax's default, is {number} here; torch's default is 0, and the "
        "file does not contain it: give explicit pairs"
    ]


def _transposed(padding: str, kernel: int, stride: int) -> tuple[int, int]:
    """The padding that lax uses for the input of a transposed convolution."""
    total = kernel + stride - 2
    first = kernel - 1 if stride > kernel - 1 else -(-total // 2)
    return (first, total - first) if padding == "SAME" else (total - first, first)


def _activations(layer: Any) -> list[str]:
    """Warnings on gelu as an item of a Sequential; gelu inside functions is not detected."""
    if not isinstance(layer, (nnx.Sequential, nn.Sequential)):
        return []
    if not any(item is jax.nn.gelu for item in layer.layers):
        return []
    return [
        "gelu is the approximation by tanh, the default in Flax; torch's default is exact: use "
        "partial(gelu, approximate=False)"
    ]


def _several_axes(op: ops.Op) -> str:
    if isinstance(op, ops.Permute) and op.axes == (*range(1, len(op.axes)), 0):
        return (
            f"a norm over {len(op.axes)} axes is taken as torch's (C, *spatial) and moved to "
            "(*spatial, C); where torch has Flax's order, pass rules with Identity() for its leaves"
        )
    return ""


def _split(flax: str | None) -> tuple[str, str]:
    """The dotted path of a parameter's module, and the parameter's name in it."""
    module, _, leaf = str(flax).rpartition(".")
    return module, leaf
