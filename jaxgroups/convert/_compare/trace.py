"""The outputs of all modules of both models, in order of execution."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from flax import nnx
from jax.core import Tracer

from jaxgroups._wrap_calls import wrapped_calls
from jaxgroups.convert._files import copied
from jaxgroups.convert._model.structure import Path, Structure


@dataclass(frozen=True)
class Tensor:
    """One tensor object of torch, which several modules may read.

    Attributes:
      key: identifies the object.
      rank: its number of axes.
      since: the time at which a module first read or returned it.
    """

    key: int
    rank: int
    since: int


@dataclass(frozen=True)
class Call:
    """The first call of one torch module.

    Attributes:
      name: the name of the module.
      output: its output.
      reads: the tensors among its arguments.
      makes: the tensor that it returned.
      start, end: times, counted over the starts and ends of all calls.
      kind: the position of the features, by the class of the module: see `_kind`.
      spatial: the number of axes after the channels, for the kind ``"spatial"``.
    """

    name: str
    output: np.ndarray
    reads: tuple[Tensor, ...]
    makes: Tensor
    start: int
    end: int
    kind: str
    spatial: int = 0


def is_layer(call: Call) -> bool:
    """Whether it is the whole module, or a layer whose class says where its features are."""
    return not call.name or call.kind in ("spatial", "second", "last")


def run_torch(module: Any, arrays: list[np.ndarray]) -> list[Call]:
    """The first call of every module whose output is a tensor."""
    import torch  # installed, since the caller has a torch module

    clock = itertools.count()
    alive: dict[int, tuple[Any, Tensor]] = {}  # keeps tensors alive, so that ids stay unique
    started: dict[str, tuple[int, tuple[Tensor, ...]]] = {}
    calls: dict[str, Call] = {}

    def seen(tensor: Any, now: int) -> Tensor:
        entry = (tensor, Tensor(id(tensor), tensor.ndim, now))
        return alive.setdefault(id(tensor), entry)[1]

    def before(name: str, args: Any, kwargs: Any) -> None:
        now = next(clock)
        tensors = [t for t in _flat((args, kwargs)) if isinstance(t, torch.Tensor)]
        reads = tuple(seen(t, now) for t in tensors if t.is_floating_point() or t.is_complex())
        started.setdefault(name, (now, reads))

    def after(name: str, layer: Any, output: Any) -> None:
        now = next(clock)
        if isinstance(output, tuple) and output:  # attention also returns its weights
            output = output[0]
        if isinstance(output, torch.Tensor) and name not in calls:
            start, reads = started[name]
            makes = seen(output, now)
            calls[name] = Call(
                name, copied(output), reads, makes, start, now, *_kind(torch.nn, layer)
            )

    hooks = []
    for name, layer in module.named_modules():
        hooks.append(
            layer.register_forward_pre_hook(
                lambda _, args, kwargs, name=name: before(name, args, kwargs), with_kwargs=True
            )
        )
        hooks.append(
            layer.register_forward_hook(
                lambda layer, _, output, name=name: after(name, layer, output)
            )
        )
    try:
        with torch.no_grad():
            module(*[torch.from_numpy(a.copy()) for a in arrays])
    finally:
        for hook in hooks:
            hook.remove()
    return sorted(calls.values(), key=lambda call: call.end)


def _flat(value: Any) -> Iterator[Any]:
    """The leaves of nested tuples, lists and dicts."""
    if isinstance(value, tuple | list | dict):
        for child in value.values() if isinstance(value, dict) else value:
            yield from _flat(child)
    else:
        yield value


def _kind(tnn: Any, layer: Any) -> tuple[str, int]:
    """The position of the features in the output of a torch module, by its class.

    ``"spatial"``: before the given number of spatial axes; ``"second"``: axis 1; ``"last"``: the
    last axis; ``"as read"``: that of the input, for a module of torch without parameters and
    children; ``""``: not known, as for a ``forward`` that is not torch's own.
    """
    if not str(type(layer).forward.__module__).startswith("torch.nn."):
        return "", 0
    if isinstance(layer, tnn.modules.conv._ConvNd):
        return "spatial", len(layer.kernel_size)
    if isinstance(layer, tnn.LayerNorm | tnn.RMSNorm):
        return "spatial", len(layer.normalized_shape) - 1
    norms = (tnn.modules.batchnorm._BatchNorm, tnn.modules.instancenorm._InstanceNorm)
    if isinstance(layer, (*norms, tnn.GroupNorm, tnn.PReLU)):
        return "second", 0
    if isinstance(layer, tnn.Linear | tnn.Embedding | tnn.MultiheadAttention | tnn.RNNBase):
        return "last", 0
    plain = next(layer.children(), None) is None and next(layer.parameters(), None) is None
    return ("as read", 0) if plain else ("", 0)


def run_nnx(
    model: nnx.Module,
    structure: Structure,
    arrays: Iterable[np.ndarray],
    outputs: dict[Path, np.ndarray],
) -> None:
    """Fill `outputs` with the first output of every module, by path, in order of execution.

    If the model raises an error, `outputs` has the modules before it.
    """
    paths = {id(layer): path for path, layer in structure.layers.items()}

    def record(call: Any, layer: Any, args: tuple, kwargs: dict) -> Any:
        out = call(*args, **kwargs)
        path = paths.get(id(layer))
        made = out[0] if isinstance(out, tuple) and out else out  # as of torch's module
        if path is not None and hasattr(made, "shape") and not isinstance(made, Tracer):
            outputs.setdefault(path, np.asarray(made))
        return out

    kinds = {type(layer) for layer in structure.layers.values() if callable(layer)}
    with wrapped_calls(kinds, record):
        model(*arrays)  # pyright: ignore[reportCallIssue]
