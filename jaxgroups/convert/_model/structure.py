"""The structure of a Flax model: its layers and its parameters by path.

nnx models may be abstract (``nnx.eval_shape``) or real. linen modules are traced once with an
example input, to find the submodules and their settings.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
from flax import linen as nn
from flax import nnx

from jaxgroups._types import Shape
from jaxgroups.convert._model.placement import sharding_of

Path = tuple[Any, ...]


@dataclass(frozen=True)
class ParamInfo:
    """One array of a Flax checkpoint: a parameter or a running statistic.

    Attributes:
      path: its path, without linen's collection.
      shape, dtype: its shape and dtype.
      collection: linen's collection: params, batch_stats, ...
      sharding: that of an array on given devices, or None.
    """

    path: Path
    shape: Shape
    dtype: str
    collection: str = ""
    sharding: Any = None

    @cached_property
    def name(self) -> str:
        """The dotted path, with the collection before it if there is one."""
        parts = (self.collection, *self.path) if self.collection else self.path
        return dotted(parts)


@dataclass
class Structure:
    """Layers and parameters of one model.

    Attributes:
      kind: ``"nnx"`` or ``"linen"``.
      name: the name of the model's class.
      layers: the layers by path.
      params: the parameters.
      aliases: the other paths of each shared parameter.
      shared_layers: the shared layers by their other paths.
    """

    kind: str
    name: str
    layers: dict[Path, Any] = field(default_factory=dict)
    params: list[ParamInfo] = field(default_factory=list)
    aliases: dict[Path, list[Path]] = field(default_factory=dict)
    shared_layers: dict[Path, Any] = field(default_factory=dict)

    def at(self, path: Path) -> Any:
        """The layer at a path, which may be any path of a shared layer; None if there is none."""
        return self.layers.get(path, self.shared_layers.get(path))


def dotted(path: Path) -> str:
    return ".".join(str(part) for part in path)


# state that no checkpoint contains
_STATE = (nnx.RngState, nnx.Cache, nnx.Intermediate, nnx.Perturbation)


def of_nnx(model: nnx.Module) -> Structure:
    """The structure of an nnx model, without its random streams and caches."""
    structure = Structure("nnx", type(model).__name__)
    structure.layers = {tuple(path): module for path, module in nnx.iter_modules(model)}
    for path, variable in nnx.to_flat_state(nnx.state(model)):
        if isinstance(variable, _STATE):
            continue
        value = held(variable)
        where = sharding_of(value)
        structure.params.append(
            ParamInfo(tuple(path), tuple(value.shape), _dtype(value), sharding=where)
        )
    # nnx reports a shared object once, under its first path
    for group in nnx.find_duplicates(model):
        first, *others = sorted(map(tuple, group), key=lambda path: [str(p) for p in path])
        for param in structure.params:
            for shown in (first, *others):
                if param.path[: len(shown)] == shown:
                    tail = param.path[len(shown) :]
                    same = [(*p, *tail) for p in (first, *others) if p != shown]
                    structure.aliases.setdefault(param.path, []).extend(same)
        for path, layer in list(structure.layers.items()):
            for other in others if path[: len(first)] == first else ():
                structure.shared_layers[(*other, *path[len(first) :])] = layer
    return structure


def of_linen(module: nn.Module, example: Any, **kwargs: Any) -> Structure:
    """The structure of a linen module, by an abstract evaluation with `example`.

    A tuple is several arguments. Arrays and shapes are traced; other arguments, such as
    ``train=False``, are passed unchanged.
    """
    structure = Structure("linen", type(module).__name__)

    def record(call: Any, args: Any, kw: Any, context: nn.module.InterceptorContext) -> Any:
        # a cell within an RNN calls a part of itself under the path of the model
        structure.layers.setdefault(tuple(context.module.path), context.module)
        return call(*args, **kw)

    given = (example if isinstance(example, tuple) else (example,), kwargs)
    leaves, tree = jax.tree.flatten(given)
    traced = [hasattr(leaf, "shape") and hasattr(leaf, "dtype") for leaf in leaves]

    def init(arrays: list[Any]) -> Any:
        rest = iter(arrays)
        whole = [next(rest) if t else leaf for t, leaf in zip(traced, leaves, strict=True)]
        positional, named = jax.tree.unflatten(tree, whole)
        key = jax.random.key(0)
        return module.init({"params": key, "dropout": key}, *positional, **named)

    with nn.intercept_methods(record):
        variables = jax.eval_shape(
            init, [leaf for t, leaf in zip(traced, leaves, strict=True) if t]
        )
    variables = nn.meta.unbox(variables)
    for path, value in jax.tree_util.tree_flatten_with_path(variables)[0]:
        collection, *rest = (key.key for key in path)
        if collection not in ("cache", "intermediates", "perturbations"):
            structure.params.append(
                ParamInfo(tuple(rest), tuple(value.shape), _dtype(value), collection)
            )
    return structure


def nested(params: Iterable[ParamInfo], values: Mapping[str, Any]) -> dict[str, Any]:
    """linen's variables: values by name as nested dicts, by collection and path."""
    variables: dict[str, Any] = {}
    for param in params:
        if param.name in values:
            inner = variables.setdefault(param.collection, {})
            for part in param.path[:-1]:
                inner = inner.setdefault(part, {})
            inner[param.path[-1]] = values[param.name]
    return variables


def held(leaf: Any) -> Any:
    """The array in a leaf of nnx's state: a Variable's value, or the leaf (``nnx.data``) itself."""
    return leaf.get_value() if isinstance(leaf, nnx.Variable) else leaf


def _dtype(value: Any) -> str:
    return value.dtype.name
