"""What a call of a layer or function besides the convolutions costs, from its settings and shapes.

Bytes are those of the arrays that go in and come out, once each: inputs, parameters, running
statistics where they are used, and the same again where they are changed.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxgroups._explain.feature_costs import Use, operations_of
from jaxgroups._types import Ints, Shape


@dataclass(frozen=True)
class Feature:
    """The cost of one call.

    Attributes:
      input, output: shapes of the first input and the first output.
      in_channels, out_channels: their channels.
      kernel_size: the window, or ().
      parameters: elements of the layer's parameters.
      operations: see `feature_costs`; None for a layer of matrix products, such as a recurrent one.
      bytes_moved: bytes read and written.
    """

    input: Shape
    output: Shape
    in_channels: int
    out_channels: int
    kernel_size: Ints
    parameters: int
    operations: int | None
    bytes_moved: int


def of_layer(
    run: Callable[..., Any], layer: nnx.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Callable[[Any], Feature]:
    """What makes the feature of the result, for a call of a layer that begins; `run` calls it."""
    before = _statistics(layer)

    def feature(result: Any) -> Feature:
        after = _statistics(layer)
        changed = [after[path] for path in after if after[path] is not before.get(path)]
        bound = inspect.signature(run).bind(*args, **kwargs).arguments
        computes = getattr(layer, "_uses_input", None)
        batch = computes(bound.get("use_running_average")) if computes else True
        params = jax.tree.leaves(nnx.state(layer, nnx.Param))
        used = tuple(before.values()) if changed or not batch else ()
        cls = type(layer)
        bases = tuple(base.__name__.lstrip("_") for base in cls.__mro__[1:])
        use = Use(cls.__name__, vars(layer), jnp.shape(args[0]), _first(result).shape, True, batch)
        return _feature(use, bases, params, (args, kwargs, params, used), (result, changed))

    return feature


def of_function(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Callable[[Any], Feature]:
    """What makes the feature of the result, for a call of a function."""
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    settings = bound.arguments
    name = function.__name__

    def feature(result: Any) -> Feature:
        use = Use(
            name,
            settings,
            jnp.shape(next(iter(settings.values()))),
            _first(result).shape,
            settings.get("data_format", "channels_last") == "channels_last",
            settings.get("training", settings.get("use_input_stats", True)),
        )
        return _feature(use, (), (), (args, kwargs), result)

    return feature


def _feature(
    use: Use, bases: tuple[str, ...], params: Iterable[Any], read: Any, written: Any
) -> Feature:
    inputs, outputs = use.channels
    return Feature(
        input=use.input,
        output=use.output,
        in_channels=inputs,
        out_channels=outputs,
        kernel_size=use.kernel_size,
        parameters=sum(prod(leaf.shape) for leaf in params),
        operations=operations_of(use, bases),
        bytes_moved=_bytes(read) + _bytes(written),
    )


def _statistics(layer: nnx.Module) -> dict[Any, Any]:
    """The running statistics by name, without the counter."""
    held = nnx.to_flat_state(nnx.state(layer, nnx.BatchStat))
    values = {path: leaf.get_value() for path, leaf in held}
    return {path: value for path, value in values.items() if value.ndim}


def _first(result: Any) -> Any:
    return jax.tree.leaves(result)[0]


def _bytes(arrays: Any) -> int:
    leaves = [leaf for leaf in jax.tree.leaves(arrays) if hasattr(leaf, "dtype")]
    return sum(prod(leaf.shape) * jnp.dtype(leaf.dtype).itemsize for leaf in leaves)
