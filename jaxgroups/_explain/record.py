"""Run a Flax model on shapes alone, and note every call of a layer or a function of jaxgroups.

The layers' ``__call__`` is wrapped while the model is traced, and the functions are watched. Each
call runs under a scope that carries its number; in the traced program everything under such a scope
is of that call.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx
from jax import lax

from jaxgroups._explain import features
from jaxgroups._explain import layer_kinds as layers
from jaxgroups._functional.observed import watched_by
from jaxgroups._spec.spec import ConvSpec
from jaxgroups._wrap_calls import wrapped_calls

SCOPE = "jaxgroups.call."


@dataclass(frozen=True)
class Call:
    """One call of one layer, or of a function outside of layers."""

    path: str
    layer: Any
    spec: ConvSpec | layers.Linear | features.Feature


@dataclass
class Recording:
    """A traced model: its program, its calls in order, and the size of its parameters."""

    name: str
    program: Any
    calls: list[Call] = field(default_factory=list)
    parameters: int = 0


def record(model: Any, example: Any, call: Mapping[str, Any]) -> Recording:
    """Trace a model without computing; `example` is its input or inputs, arrays or shapes.

    Raises:
      TypeError: neither an nnx nor a linen module.
    """
    inputs = shapes(example)
    if isinstance(model, nnx.Module):
        return _nnx(model, inputs, call)
    if isinstance(model, nn.Module):
        return _linen(model, inputs, call)
    raise TypeError(
        "explain takes a ConvSpec, its descriptor, the path of a checkpoint, or a flax.nnx or "
        f"flax.linen module with an example of its input; got {type(model).__name__}"
    )


def shapes(example: Any) -> tuple[Any, ...]:
    """Inputs as abstract arrays: of ``(1, 224, 224, 3)``, of an array, or of a tuple of them."""
    if isinstance(example, tuple | list) and not all(isinstance(n, int) for n in example):
        return tuple(shapes(one)[0] for one in example)
    if isinstance(example, tuple | list):
        return (jax.ShapeDtypeStruct(tuple(example), jnp.float32),)
    return (jax.ShapeDtypeStruct(example.shape, example.dtype),)


class _Notes:
    """Runs each call in a scope of its own and notes it; calls within it are not noted."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.inside = False

    def around(
        self, run: Callable[..., Any], layer: Any, path: str, args: tuple, kwargs: dict
    ) -> Any:
        """The call of a layer."""
        which = layers.kind(layer)
        if self.inside or not args or which is None:
            return run(*args, **kwargs)
        if which == "feature":
            uses = features.of_layer(run, layer, args, kwargs)
            return self._noted(run, args, kwargs, path, layer, uses)
        x = args[0]
        size = kwargs.get("output_size", args[1] if len(args) > 1 else None)
        spec = layers.spec_of_call(layer, jnp.shape(x), _dtype(layer, x), size)
        if spec is None:
            return run(*args, **kwargs)
        return self._noted(run, args, kwargs, path, layer, lambda y: spec)

    def watch(self, function: Callable[..., Any], args: tuple, kwargs: dict) -> Any:
        """The call of a function."""
        if self.inside:
            return function(*args, **kwargs)
        uses = features.of_function(function, args, kwargs)
        return self._noted(function, args, kwargs, f"({function.__name__})", function, uses)

    def _noted(
        self,
        run: Callable[..., Any],
        args: tuple,
        kwargs: dict,
        path: str,
        layer: Any,
        spec_of: Callable[[Any], Any],
    ) -> Any:
        number = len(self.calls)
        self.inside = True
        try:
            with jax.named_scope(f"{SCOPE}{number}"):
                y = run(*args, **kwargs)
                if any(y is x for x in args):  # the scope of a call holds an equation
                    y = lax.optimization_barrier(y)
        finally:
            self.inside = False
        self.calls.append(Call(path, layer, spec_of(y)))
        return y


def _dtype(layer: Any, x: Any) -> str:
    """The dtype that a layer computes in: its own, or the common one of input and parameters."""
    if layer.dtype is not None:
        return jnp.dtype(layer.dtype).name
    return jnp.promote_types(jnp.asarray(x).dtype, layer.param_dtype).name


def _nnx(model: nnx.Module, inputs: tuple[Any, ...], call: Mapping[str, Any]) -> Recording:
    graph, state = nnx.split(model)
    notes = _Notes()

    def run(state: Any, *inputs: Any) -> tuple[()]:
        mine = nnx.merge(graph, state)
        names = {id(m): ".".join(map(str, path)) for path, m in nnx.iter_modules(mine)}
        kinds = {type(m) for _, m in nnx.iter_modules(mine) if layers.kind(m)}

        def note(run: Any, layer: Any, args: tuple, kwargs: dict) -> Any:
            path = names.get(id(layer), type(layer).__name__)
            return notes.around(run, layer, path, args, kwargs)

        with wrapped_calls(kinds, note), watched_by(notes.watch):
            mine(*inputs, **call)
        return ()

    program = jax.make_jaxpr(run)(state, *inputs)
    params = nnx.state(model, nnx.Param)
    sizes = sum(leaf.size for leaf in jax.tree.leaves(params))
    return Recording(type(model).__name__, program, notes.calls, sizes)


def _linen(module: nn.Module, inputs: tuple[Any, ...], call: Mapping[str, Any]) -> Recording:
    keys = {name: jax.random.key(0) for name in ("params", "dropout")}
    variables = jax.eval_shape(lambda *a: module.init(keys, *a, **call), *inputs)
    notes = _Notes()

    def note(run: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        if context.method_name != "__call__":
            return run(*args, **kwargs)
        path = ".".join(context.module.path)
        return notes.around(run, context.module, path, args, kwargs)

    def run(variables: Any, *inputs: Any) -> tuple[()]:
        with nn.intercept_methods(note), watched_by(notes.watch):
            module.apply(variables, *inputs, **call, rngs=keys, mutable=True)
        return ()

    program = jax.make_jaxpr(run)(variables, *inputs)
    sizes = sum(leaf.size for leaf in jax.tree.leaves(variables.get("params", {})))
    return Recording(type(module).__name__, program, notes.calls, sizes)
