"""The structure of a Flax model: its layers and its parameters by path.

nnx models are walked as objects, abstract ones (``nnx.eval_shape``) as well as real ones; linen
modules are traced once with an example input, which shows every submodule with its settings.
"""

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
    """One array that a checkpoint of a Flax model holds: a parameter or a running statistic."""

    path: Path  # without the collection of linen
    shape: Shape
    dtype: str
    collection: str = ""  # of linen: params, batch_stats, ...
    sharding: Any = None  # of an array that is bound to devices

    @cached_property
    def name(self) -> str:
        """The dotted path, with the collection in front where there is one."""
        parts = (self.collection, *self.path) if self.collection else self.path
        return dotted(parts)


@dataclass
class Structure:
    """Layers and parameters of one model."""

    kind: str  # "nnx" or "linen"
    name: str
    layers: dict[Path, Any] = field(default_factory=dict)
    params: list[ParamInfo] = field(default_factory=list)
    aliases: dict[Path, list[Path]] = field(
        default_factory=dict
    )  # of a shared parameter, its other paths
    again: dict[Path, Any] = field(default_factory=dict)  # shared layers by their other paths

    def at(self, path: Path) -> Any:
        """The layer at a path, which may be any path of a shared layer; None if there is none."""
        return self.layers.get(path, self.again.get(path))


def dotted(path: Path) -> str:
    return ".".join(str(part) for part in path)


# state of a running layer, which no checkpoint holds
_STATE = (nnx.RngState, nnx.Cache, nnx.Intermediate, nnx.Perturbation)


def of_nnx(model: nnx.Module) -> Structure:
    """Structure of an nnx model, without its random streams and caches."""
    found = Structure("nnx", type(model).__name__)
    found.layers = {tuple(path): module for path, module in nnx.iter_modules(model)}
    for path, variable in nnx.to_flat_state(nnx.state(model)):
        if isinstance(variable, _STATE):
            continue
        value = held(variable)
        where = sharding_of(value)
        found.params.append(
            ParamInfo(tuple(path), tuple(value.shape), _dtype(value), sharding=where)
        )
    # nnx reports a shared object once, under its first path
    for group in nnx.find_duplicates(model):
        first, *others = sorted(map(tuple, group), key=lambda path: [str(p) for p in path])
        for param in found.params:
            for shown in (first, *others):
                if param.path[: len(shown)] == shown:
                    tail = param.path[len(shown) :]
                    same = [(*p, *tail) for p in (first, *others) if p != shown]
                    found.aliases.setdefault(param.path, []).extend(same)
        for path, layer in list(found.layers.items()):
            for other in others if path[: len(first)] == first else ():
                found.again[(*other, *path[len(first) :])] = layer
    return found


def of_linen(module: nn.Module, example: Any, **kwargs: Any) -> Structure:
    """Structure of a linen module, traced without computing on `example`.

    A tuple stands for several arguments. Arrays and shapes are traced; other arguments, such as
    ``train=False``, are passed as they are.
    """
    found = Structure("linen", type(module).__name__)

    def note(call: Any, args: Any, kw: Any, context: nn.module.InterceptorContext) -> Any:
        # a cell that RNN scans calls a part of itself under the path of the model
        found.layers.setdefault(tuple(context.module.path), context.module)
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

    with nn.intercept_methods(note):
        variables = jax.eval_shape(
            init, [leaf for t, leaf in zip(traced, leaves, strict=True) if t]
        )
    variables = nn.meta.unbox(variables)
    for path, value in jax.tree_util.tree_flatten_with_path(variables)[0]:
        collection, *rest = (key.key for key in path)
        if collection not in ("cache", "intermediates", "perturbations"):
            found.params.append(
                ParamInfo(tuple(rest), tuple(value.shape), _dtype(value), collection)
            )
    return found


def held(leaf: Any) -> Any:
    """The array in a leaf of nnx's state: a Variable's value, or (``nnx.data``) the leaf itself."""
    return leaf.get_value() if isinstance(leaf, nnx.Variable) else leaf


def _dtype(value: Any) -> str:
    return value.dtype.name
