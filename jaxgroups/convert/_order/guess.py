"""Layers whose features may be a flattened feature map, by the widths of the layers.

This is for models that cannot be traced. It gives the text of a warning, and reorders nothing. The
order of the tensors in a torch file is taken for the order of the layers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt, prod
from typing import Any

from flax import linen as nn
from flax import nnx

from jaxgroups import linen as jg_linen
from jaxgroups import nnx as jg_nnx
from jaxgroups.convert._model.structure import Path, Structure, dotted
from jaxgroups.convert._plan.plan import Entry, Plan
from jaxgroups.convert._rules import norms, recurrent
from jaxgroups.convert._rules.feature_order import FlattenLinear, OrderRule, is_reordered

_CONVS = (nnx.Conv, nn.Conv, nnx.ConvTranspose, nn.ConvTranspose, jg_nnx.Layer, jg_linen.Layer)
_LINEARS = (nnx.Linear, nn.Dense)
_GENERALS = (nnx.LinearGeneral, nn.DenseGeneral)
_NORMS = (
    *(nnx.BatchNorm, nn.BatchNorm, nnx.LayerNorm, nn.LayerNorm, nnx.RMSNorm, nn.RMSNorm),
    *(*norms.BATCH_NORMS, *norms.TRAILING_NORMS),
)
_EMBEDS = (nnx.Embed, nn.Embed)


@dataclass(frozen=True)
class _Layer:
    """A layer with weights.

    Attributes:
      path: its path.
      kind: conv, linear, recurrent, embedding or norm.
      reads, makes: the numbers of its input and output features.
      weights: for a recurrent layer, the parameters that its input is multiplied by.
    """

    path: Path
    kind: str
    reads: int
    makes: int
    weights: tuple[str, ...] = ()


def guesses(
    plan: Plan, structure: Structure, given: Mapping[str, Any], keys: Sequence[str] | None
) -> list[str]:
    """Statements on layers that may need a rule.

    Args:
      plan: the plan.
      structure: the structure of the model.
      given: the rules of the user by parameter name.
      keys: the torch keys in the order of the torch model; None if the order is not known.
    """
    layers = _layers(plan, structure, keys)
    convs = [layer for layer in layers if layer.kind == "conv"]
    undecided = _undecided(plan, structure, given)
    statements = _wrong_channels(given, convs) + _general(structure, undecided)
    if not convs:
        return statements
    flat: dict[int, tuple[str, str]] = {}
    for number, layer in enumerate(layers):
        if layer.kind not in ("linear", "recurrent") or layer.path not in undecided:
            continue
        before = _next(layers[:number][::-1], keys)
        after = _next(layers[number + 1 :], keys)
        sizes = _map_sizes(layer.reads, before, [conv.makes for conv in convs], "makes")
        if sizes is not None:
            text = _sizes_text(*sizes)
            flat[layer.reads] = text
            statements.append(
                f"{dotted(layer.path) or 'the model'} reads {layer.reads} = {sizes[0]} * "
                f"{sizes[1]} features: if they are a flattened feature map, pass "
                f"rules={{{_reading(layer, text[0])}}}{text[1]}"
            )
        elif before is not None and before.kind == "conv" and before.makes < layer.reads:
            statements.append(
                f"{dotted(layer.path)} reads {layer.reads} features, of which a feature map of "
                f"{dotted(before.path)} may be a part"
            )
        sizes = _map_sizes(layer.makes, after, [conv.reads for conv in convs], "reads")
        if sizes is not None and layer.kind == "linear":
            text = _sizes_text(*sizes)
            statements.append(
                f"{dotted(layer.path) or 'the model'} makes {layer.makes} = {sizes[0]} * "
                f"{sizes[1]} features: if they become a feature map, pass "
                f'rules={{"{dotted(layer.path)}": UnflattenLinear({text[0]})}}{text[1]}'
            )
    for rule in given.values():
        if isinstance(rule, FlattenLinear) and rule.input is not None:
            flat[prod(rule.input)] = ", ".join(map(str, rule.input)), ""
    of_maps = {conv.makes for conv in convs}
    for layer in layers:
        if layer.reads in of_maps:
            continue
        if layer.kind == "norm" and layer.reads in flat and layer.path in undecided:
            sizes, where = flat[layer.reads]
            statements.append(
                f"{dotted(layer.path)} has {layer.reads} features: if they are a flattened feature "
                f'map, pass rules={{"{dotted(layer.path)}": FlattenVector({sizes})}}{where}'
            )
    return statements + _shuffled(convs)


def _shuffled(convs: list[_Layer]) -> list[str]:
    """Statements on convolutions whose channels may become positions, as in depth to space."""
    read = {conv.reads for conv in convs}
    texts = []
    for number, conv in enumerate(convs):
        after = {c.reads for c in convs[number + 1 :]} or {0}
        factors = [m * m for m in (2, 3, 4) if conv.makes / (m * m) in after]
        if conv.makes not in read and factors:
            n = factors[0]
            texts.append(
                f"{dotted(conv.path)} makes {conv.makes} = {conv.makes // n} * {n} channels: if "
                "they become positions, torch's order is (C, r, r)"
            )
    return texts


def _reading(layer: _Layer, sizes: str) -> str:
    """The rule of a layer that reads a flattened feature map, by its path."""
    path = dotted(layer.path)
    if layer.kind == "linear":
        return f'"{path}": FlattenLinear({sizes})'
    leaves = [".".join(filter(None, (path, leaf))) for leaf in layer.weights]
    return ", ".join(f'"{leaf}": ChannelsLast(axis=1, sizes=({sizes}))' for leaf in leaves)


def _sizes_text(c: int, n: int) -> tuple[str, str]:
    """The sizes of a map of `c` channels and `n` positions, square if possible, and a condition."""
    k = isqrt(n)
    return (f"{c}, {k}, {k}", "") if k * k == n else (f"{c}, h, w", f" with h * w = {n}")


def _undecided(plan: Plan, structure: Structure, given: Mapping[str, Any]) -> set[Path]:
    """The layers whose order of features is given neither by a rule nor by an operation."""
    paths = {param.name: param.path[:-1] for param in structure.params}
    closed = {paths[str(e.flax)] for e in plan.leaves() if is_reordered(e.op)}
    closed |= {paths[name] for name in given if name in paths}
    return set(paths.values()) - closed


def _layers(plan: Plan, structure: Structure, keys: Sequence[str] | None) -> list[_Layer]:
    """The layers with weights, in the order of the torch model where that is known."""
    names = {param.name: param.path for param in structure.params}
    entries = plan.leaves()
    if keys is not None:
        place = {key: number for number, key in enumerate(keys)}
        entries = [entry for entry in entries if entry.torch]  # without constants
        entries = sorted(entries, key=lambda e: place.get(e.torch[0], len(place)))
    found: dict[Path, _Layer] = {}
    for entry in entries:
        path = names[str(entry.flax)]
        layer = structure.at(path[:-1])
        made = None if layer is None or path[:-1] in found else _layer(path, layer, entry)
        if made is not None:
            found[path[:-1]] = made
    return list(found.values())


def _layer(path: Path, layer: Any, entry: Entry) -> _Layer | None:
    shape = tuple(entry.flax_shape or ())
    leaf = path[-1]
    if leaf == "kernel" and isinstance(layer, _CONVS):
        reads = getattr(layer, "in_channels", None) or getattr(layer, "in_features", shape[-2])
        makes = next(
            getattr(layer, n)
            for n in ("out_channels", "out_features", "features")
            if isinstance(getattr(layer, n, None), int)
        )
        return _Layer(path[:-1], "conv", int(reads), int(makes))
    if leaf == "kernel" and isinstance(layer, _LINEARS) and len(shape) == 2:
        return _Layer(path[:-1], "linear", shape[0], shape[1])
    if isinstance(layer, recurrent.OURS) and leaf in ("weight_ih", "weight_ih_l0"):
        both = getattr(layer, "bidirectional", False)
        features = getattr(layer, "proj_size", 0) or layer.hidden_size
        weights = (leaf, f"{leaf}_reverse") if both else (leaf,)
        return _Layer(path[:-1], "recurrent", shape[1], features * len(weights), weights)
    if leaf == "embedding" and isinstance(layer, _EMBEDS):
        return _Layer(path[:-1], "embedding", 0, shape[-1])
    if isinstance(layer, _NORMS) and len(shape) == 1:
        return _Layer(path[:-1], "norm", shape[0], shape[0])
    return None


def _next(layers: Sequence[_Layer], keys: Sequence[str] | None) -> _Layer | None:
    """The nearest layer other than a norm; None if the order is not known."""
    if keys is None:
        return None
    return next((layer for layer in layers if layer.kind != "norm"), None)


def _map_sizes(
    width: int, beside: _Layer | None, channels: list[int], side: str
) -> tuple[int, int] | None:
    """Possible channels and positions of `width` features; None if the neighbouring layer fits.

    The channels are those of the neighbouring convolution, or else of any convolution.
    """
    if beside is not None and getattr(beside, side) == width:
        return None
    if beside is not None and beside.kind == "conv":
        channels = [getattr(beside, side)]
    maps = [(c, width // c) for c in sorted({*channels} - {1}, reverse=True)]
    maps = [(c, n) for c, n in maps if n > 1 and c * n == width]
    if not maps:
        return None
    return next(((c, n) for c, n in maps if isqrt(n) ** 2 == n), maps[0])


def _wrong_channels(given: Mapping[str, Any], convs: list[_Layer]) -> list[str]:
    """Statements on rules of the user with channels that no convolution has."""
    known = {conv.makes for conv in convs} | {conv.reads for conv in convs}
    texts: dict[str, None] = {}
    for name, rule in given.items():
        if not isinstance(rule, OrderRule):
            continue
        sizes = [getattr(rule, side, None) for side in ("input", "output", "sizes")]
        for size in sizes:
            if size is not None and known and size[0] not in known:
                texts[
                    f"{rule} for {name.rpartition('.')[0] or 'the model'} has {size[0]} channels, "
                    f"but the convolutions here have {', '.join(map(str, sorted(known)))}: the "
                    "sizes are channels first, (c, h, w)"
                ] = None
    return list(texts)


def _general(structure: Structure, undecided: set[Path]) -> list[str]:
    """Statements on general linear layers over three axes or more, such as (H, W, C)."""
    texts = []
    for path, layer in structure.layers.items():
        if not isinstance(layer, _GENERALS) or path not in undecided:
            continue
        features = layer.out_features if isinstance(layer, nnx.LinearGeneral) else layer.features
        where = dotted(path) or "the model"
        if isinstance(layer.axis, (tuple, list)) and len(layer.axis) > 2:
            texts.append(
                f"{where} reads the axes {tuple(layer.axis)} together; torch flattens a feature "
                f'map as (C, H, W): pass rules={{"{dotted(path)}": FlattenLinear(c, h, w)}}'
            )
        if isinstance(features, (tuple, list)) and len(features) > 2:
            *spatial, c = features
            sizes = ", ".join(map(str, (c, *spatial)))
            texts.append(
                f"{where} makes the axes {tuple(features)}; torch unflattens to (C, H, W): pass "
                f'rules={{"{dotted(path)}": UnflattenLinear({sizes})}}'
            )
    return texts
