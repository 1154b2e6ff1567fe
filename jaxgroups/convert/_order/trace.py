"""The axes of a model's parameters, by following them through one call of the model."""

from collections.abc import Mapping
from typing import Any

import jax
from flax import linen as nn
from flax import nnx

from jaxgroups._functional.observed import watched_by
from jaxgroups.convert._model.structure import Structure, nested
from jaxgroups.convert._order import axes
from jaxgroups.convert._order.axes import Dim, factors, fresh, mark
from jaxgroups.convert._order.flow import DATA, PARAMETER, Traced, follow
from jaxgroups.convert._order.pools import pool_warnings
from jaxgroups.convert._order.rearranged import one_step

Axes = Mapping[str, list[Dim]]  # of each parameter, by its name


def axes_of(
    model: Any, structure: Structure, example: Any, warnings: list[str] | None = None
) -> Axes:
    """The axes of every parameter, by an abstract evaluation of the model with `example`.

    Args:
      model: an nnx model, or a linen module.
      structure: its structure.
      example: an input or its ``jax.ShapeDtypeStruct``, a tuple for several arguments. Arguments
        other than arrays are passed unchanged.
      warnings: a list to which the warnings on pools are added, if the example has a real size.
    """
    arguments = example if isinstance(example, tuple) else (example,)
    is_array = [hasattr(a, "shape") and hasattr(a, "dtype") for a in arguments]
    arrays = [_struct(a) for a, is_one in zip(arguments, is_array, strict=True) if is_one]
    names, values, call = (_nnx if structure.kind == "nnx" else _linen)(model, structure)

    def run(values: list[Any], arrays: list[Any]) -> Any:
        rest = iter(arrays)
        pairs = zip(arguments, is_array, strict=True)
        return call(values, [next(rest) if is_one else a for a, is_one in pairs])

    promotion = jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard")
    with promotion[0], promotion[1], watched_by(one_step):
        closed = jax.make_jaxpr(run)(values, arrays)
    if warnings is not None:
        warnings += pool_warnings(closed)
    parameters = [Traced([fresh(int(n)) for n in v.shape], PARAMETER) for v in values]
    inputs = [Traced([fresh(int(n)) for n in a.shape], DATA) for a in arrays]
    for given in inputs:
        _mark_ends(given.dims)
    for result in follow(closed, [*parameters, *inputs]):
        if result.of == DATA:
            _mark_ends(result.dims)
    return {
        name: [factors(dim) for dim in traced.dims]
        for name, traced in zip(names, parameters, strict=True)
        if name is not None
    }


def _mark_ends(dims: list[Dim]) -> None:
    """Mark an input or output of the model, which may be an image (N, *spatial, C)."""
    if len(dims) < 3:
        mark(tuple(dims[0]) if len(dims) == 2 else (), axes.BATCH)
        return
    mark(dims[0], axes.BATCH)
    if len(dims) >= 4:
        for dim in dims[1:-1]:
            mark(dim, axes.END)
        mark(dims[-1], axes.END_CHANNEL)


def _struct(value: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(value.shape, value.dtype)


def _nnx(model: nnx.Module, structure: Structure) -> tuple[list[str | None], list[Any], Any]:
    graph, state = nnx.split(model)
    leaves, tree = jax.tree_util.tree_flatten_with_path(state)
    known = {param.path: param.name for param in structure.params}
    names = [known.get(tuple(k.key for k in path if hasattr(k, "key"))) for path, _ in leaves]

    def call(values: list[Any], arguments: list[Any]) -> Any:
        return nnx.merge(graph, jax.tree.unflatten(tree, values))(*arguments)

    return names, [_struct(leaf) for _, leaf in leaves], call


def _linen(module: nn.Module, structure: Structure) -> tuple[list[str | None], list[Any], Any]:
    params = structure.params

    def call(values: list[Any], arguments: list[Any]) -> Any:
        names = (param.name for param in params)
        variables = nested(params, dict(zip(names, values, strict=True)))
        keys = {name: jax.random.key(0) for name in ("params", "dropout")}
        return module.apply(variables, *arguments, rngs=keys, mutable=True)[0]

    values = [jax.ShapeDtypeStruct(param.shape, param.dtype) for param in params]
    return [param.name for param in params], values, call
