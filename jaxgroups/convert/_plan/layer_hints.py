"""Hints on layers whose settings in torch differ from the model's, from the problems of a plan."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flax import linen as nn
from flax import nnx

from jaxgroups.convert._model.structure import Structure
from jaxgroups.convert._plan.plan import Entry
from jaxgroups.convert._rules import norms
from jaxgroups.convert._rules.recurrent import OURS, RECURRENT

_BATCH_NORMS = (nnx.BatchNorm, nn.BatchNorm)
_INSTANCE_NORMS = (nnx.InstanceNorm, nn.InstanceNorm)
_OUR_NORMS = (*norms.BATCH_NORMS, *norms.INSTANCE_NORMS)
_KNOWN = (*_BATCH_NORMS, *_INSTANCE_NORMS, *_OUR_NORMS, *RECURRENT, *OURS)


@dataclass(frozen=True)
class _Problems:
    """The tensors of one layer.

    Attributes:
      path: the layer's Flax path.
      front: its torch name.
      layer: the layer.
      missing, present: torch's names of the tensors that the checkpoint lacks and has.
    """

    path: str
    front: str
    layer: Any
    missing: frozenset[str]
    present: frozenset[str]


def layer_hints(structure: Structure, entries: Iterable[Entry]) -> list[str]:
    """Hints that may solve the problems of the layers, each once."""
    entries = list(entries)
    unexpected = {e.torch[0]: e.torch_shape or () for e in entries if e.status == "unexpected"}
    found: dict[str, None] = {}
    for problems in _by_layer(structure, entries, unexpected):
        for make in (_batch_norm, _instance_norm, _our_norm, _recurrent, _our_recurrent):
            found |= dict.fromkeys(make(problems))
    found |= dict.fromkeys(_prelu(entries))
    found |= dict.fromkeys(_stacked(entries, unexpected))
    return list(found)


def _by_layer(
    structure: Structure, entries: list[Entry], unexpected: Mapping[str, Any]
) -> Iterator[_Problems]:
    """The layers with missing or unexpected tensors."""
    layers = {".".join(map(str, path)): layer for path, layer in structure.layers.items()}
    layers = {path: layer for path, layer in layers.items() if isinstance(layer, _KNOWN)}
    by_path: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.flax and entry.torch:
            path = entry.flax if structure.kind == "nnx" else entry.flax.partition(".")[2]
            while path:
                path = path.rpartition(".")[0]
                if path in layers:
                    by_path.setdefault(path, []).append(entry)
    for path, own in by_path.items():
        fronts = {key.rpartition(".")[0] for entry in own for key in entry.torch}
        for front in fronts:
            keys = {key: e.status for e in own for key in e.torch}
            inside = {key for key in unexpected if key.rpartition(".")[0] == front}
            missing = {_last(key) for key, status in keys.items() if status == "missing"}
            if missing or inside:
                there = {_last(key) for key in {*keys, *inside}} - missing
                yield _Problems(path, front, layers[path], frozenset(missing), frozenset(there))


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _batch_norm(of: _Problems) -> Iterator[str]:
    if not isinstance(of.layer, _BATCH_NORMS):
        return
    where = of.path or "the model"
    if of.missing & {"weight", "bias"} and "running_mean" in of.present:
        yield (
            f"{where}: torch's layer has affine=False: make the model's with use_scale=False, "
            "use_bias=False"
        )
    if of.missing >= {"running_mean", "running_var"} and not of.present & {"running_mean"}:
        front = f"{of.path}." if of.path else ""
        yield (
            f"{where}: torch's layer has track_running_stats=False and uses the batch's own "
            "statistics in evaluation too: call the model's with use_running_average=False, and "
            f'pass rules={{"{front}mean": FlaxOnly(0, exact=False), '
            f'"{front}var": FlaxOnly(1, exact=False)}}'
        )


def _instance_norm(of: _Problems) -> Iterator[str]:
    stats = sorted(of.present & {"running_mean", "running_var", "num_batches_tracked"})
    if isinstance(of.layer, _INSTANCE_NORMS) and stats:
        yield (
            f"Unexpected running stats buffer(s) {' and '.join(map(repr, stats))} for "
            f"{type(of.layer).__name__}, {of.path or 'the model'}: a torch layer with "
            "track_running_stats=True normalizes by them in evaluation, which is a BatchNorm with "
            "use_running_average=True in Flax; of a file from before torch 0.4, which did not use "
            r'them, ignore them: ignore=[r".*\.(running_mean|running_var|num_batches_tracked)"]'
        )


def _our_norm(of: _Problems) -> Iterator[str]:
    if not isinstance(of.layer, _OUR_NORMS):
        return
    for setting, names in (
        ("affine", {"weight"}),
        ("track_running_stats", {"running_mean", "running_var"}),
    ):
        theirs = bool(names & of.present)
        if theirs != getattr(of.layer, setting):
            yield (
                f"{of.path or 'the model'}: torch's layer has {setting}={theirs}: make the model's "
                f"{type(of.layer).__name__} with {setting}={theirs}"
            )


def _recurrent(of: _Problems) -> Iterator[str]:
    if not isinstance(of.layer, RECURRENT):
        return
    projected = sorted(name for name in of.present if name.startswith("weight_hr_l"))
    if projected:
        yield (
            f"{of.front}.{projected[0]}: an LSTM with proj_size has no counterpart in Flax: take "
            "jaxgroups.nnx.LSTM"
        )
    biases = [name for name in of.missing if name.startswith("bias_")]
    weights = any(name.startswith("weight_ih") for name in of.present)
    if biases and weights and not any(name.startswith("bias_") for name in of.present):
        yield (
            f"{of.front}: torch's layer has no biases: pass RNNLayers(bias=False) as its rule, and "
            "the model's are filled with zeros"
        )
    if "weight_ih" in of.missing and "weight_ih_l0" in of.present:
        yield (
            f"{of.front}: a cell has torch's names of a cell; as a layer of an LSTM, GRU or RNN "
            f'it has the rule RNNLayers(): pass rules={{"{of.path}": RNNLayers()}}'
        )


def _our_recurrent(of: _Problems) -> Iterator[str]:
    """Settings that follow from the names of the tensors and differ from the model's."""
    weights = [name for name in of.present if name.startswith("weight_")]
    if not isinstance(of.layer, OURS) or not weights:
        return
    layer: Any = of.layer
    bias = any(name.startswith("bias_") for name in of.present)
    wrong = [] if bias == layer.bias else [f"bias={bias}"]
    numbers = [int(found[1]) for name in weights if (found := re.search(r"_l(\d+)", name))]
    if numbers and hasattr(layer, "num_layers"):
        count, both = max(numbers) + 1, any(name.endswith("_reverse") for name in weights)
        projected = any(name.startswith("weight_hr_l") for name in weights)
        wrong += [] if count == layer.num_layers else [f"num_layers={count}"]
        wrong += [] if both == layer.bidirectional else [f"bidirectional={both}"]
        if projected != bool(layer.proj_size):
            wrong.append("proj_size > 0" if projected else "proj_size=0")
    if wrong:
        yield (
            f"{of.path or 'the model'}: torch's layer has {', '.join(wrong)}: make the model's "
            f"{type(layer).__name__} with the same"
        )


def _stacked(entries: list[Entry], unexpected: Mapping[str, Any]) -> Iterator[str]:
    """Recurrent layers of a container that are one layer with num_layers in torch."""
    for entry in entries:
        if entry.status != "missing":
            continue
        match = re.fullmatch(r"(.+)\.(\d+)\.weight_ih_l0(_reverse)?", entry.torch[0])
        if match and f"{match[1]}.weight_ih_l{match[2]}{match[3] or ''}" in unexpected:
            yield (
                f"{match[1]} is one layer with num_layers in torch: pass "
                f'rules={{"{match[1]}": RNNLayers()}} (by its path in the model)'
            )


def _prelu(entries: list[Entry]) -> Iterator[str]:
    """PReLU with a slope for each channel in torch, and with one slope in the model."""
    for entry in entries:
        if entry.status != "mismatched" or not str(entry.flax).endswith("negative_slope"):
            continue
        if entry.flax_shape in ((), (1,)) and entry.torch_shape and len(entry.torch_shape) == 1:
            (channels,) = entry.torch_shape
            slopes = f"jnp.full(({channels},), 0.25)" if entry.flax_shape == () else channels
            yield (
                f"{entry.torch[0]} has a slope for each of {channels} channels: make the model's "
                f"layer with as many, PReLU({slopes})"
            )
