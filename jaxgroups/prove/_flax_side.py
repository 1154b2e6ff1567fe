"""Outputs, gradients and SGD steps of the Flax module, as jitted functions."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxgroups._wrap_calls import wrapped_calls
from jaxgroups.convert._model.structure import dotted, held
from jaxgroups.prove._dropout import factor
from jaxgroups.prove._inputs import Arrays

Values = dict[str, np.ndarray]
_NARROW = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
_CONCRETE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerBoolConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)


class FlaxSide:
    """A copy of an nnx model in one mode, as functions of its state.

    Args:
      model: the model; it is not changed.
      to_flax: converts the inputs to Flax's layout.
      train: whether it is in training mode, with `factor` in place of dropout.

    Attributes:
      branches: whether Python branched on a traced value, so that calls are not jitted.
      draws: whether a call drew random numbers.
    """

    def __init__(
        self, model: nnx.Module, to_flax: Callable[[Any], list[Any]], *, train: bool = False
    ) -> None:
        self.model = in_mode(model, train)
        self.train = train
        self.branches = False
        self.draws = False
        self._to_flax = to_flax
        self._graph, self.params, self.rest = nnx.split(self.model, nnx.Param, ...)
        self._run = jax.jit(self._apply)

    def forward(self, arrays: Arrays) -> tuple[list[np.ndarray], Values]:
        """The outputs, and the state after the call, without the parameters.

        The state of this object does not change.
        """
        outputs, rest = self._called(self._run, self._apply, self.params, self.rest, arrays)
        self.draws |= _drawn(self.rest, rest)
        return [np.asarray(leaf) for leaf in outputs], values(rest)

    def narrow(self, arrays: Arrays) -> str:
        """The dtype of an intermediate result with fewer bits than float64; or ``""``."""
        if self.branches:
            return ""
        text = str(jax.make_jaxpr(self._apply)(self.params, self.rest, arrays))
        match = re.search(r":(f32|f16|bf16)\[[^=\n]* = ", text)
        return _NARROW[match[1]] if match else ""

    def gradients(self, arrays: Arrays, weights: Arrays) -> tuple[Values, list[Any]]:
        """Gradients of ``sum(weights * outputs)``: of the parameters, and of the inputs."""
        floating = [np.issubdtype(a.dtype, np.floating) for a in arrays]

        def total(params: Any, wanted: list[Any], given: list[Any]) -> Any:
            rest = iter(wanted)
            whole = [next(rest) if f else x for f, x in zip(floating, given, strict=True)]
            outputs, _ = self._apply(params, self.rest, whole)
            pairs = zip(_floating(outputs), weights, strict=True)
            return sum(jnp.vdot(w, y) for y, w in pairs)

        wanted = [a for a, f in zip(arrays, floating, strict=True) if f]
        of_params, of_inputs = jax.jit(jax.grad(total, argnums=(0, 1), allow_int=True))(
            self.params, wanted, arrays
        )
        rest = iter(of_inputs)
        by_input = [np.asarray(next(rest)) if f else None for f in floating]
        return values(of_params), by_input

    def sgd(self, batches: list[tuple[Arrays, Arrays]], rate: float) -> list[float]:
        """SGD steps on the mean squared error to the targets; returns the losses.

        The state of this object is the new one afterwards.
        """

        def loss(params: Any, rest: Any, arrays: Any, targets: Any) -> Any:
            outputs, rest = self._apply(params, rest, arrays)
            pairs = zip(_floating(outputs), targets, strict=True)
            return sum(jnp.mean((y - t) ** 2) / 2 for y, t in pairs), rest

        @jax.jit
        def step(params: Any, rest: Any, arrays: Any, targets: Any) -> Any:
            (value, rest), gradients = jax.value_and_grad(loss, has_aux=True)(
                params, rest, arrays, targets
            )
            return value, jax.tree.map(lambda p, g: p - rate * g, params, gradients), rest

        losses = []
        for arrays, targets in batches:
            value, self.params, self.rest = step(self.params, self.rest, arrays, targets)
            losses.append(float(value))
        return losses

    def _apply(self, params: Any, rest: Any, arrays: Any) -> Any:
        model: Any = nnx.merge(self._graph, params, rest, copy=True)
        with marked_dropout(model) if self.train else nullcontext():
            outputs = model(*self._to_flax(arrays))
        return jax.tree.leaves(outputs), nnx.split(model, nnx.Param, ...)[2]

    def _called(self, jitted: Any, eager: Any, *args: Any) -> Any:
        if not self.branches:
            try:
                return jitted(*args)
            except _CONCRETE:
                self.branches = True
        return eager(*args)


def widen(model: nnx.Module) -> None:
    """Set the dtype of layers that compute in float32 to float64, in place.

    Some layers, such as ``nnx.Embed``, store the dtype of their initial weights.
    """
    for _, layer in nnx.iter_modules(model):
        dtype = getattr(layer, "dtype", None)
        # a dtype or a scalar type of numpy or jax, not an array that is named dtype
        if not isinstance(dtype, jax.Array | np.ndarray) and dtype in ("float32", jnp.float32):
            layer.dtype = jnp.dtype("float64")  # pyright: ignore[reportAttributeAccessIssue]


def in_mode(model: nnx.Module, train: bool) -> nnx.Module:
    """A copy of the model in the mode, with dropout off."""
    copied = nnx.clone(model)
    if train:
        copied.train()
        for layer in dropouts(copied):
            layer.eval()
    else:
        copied.eval()
    return copied


@contextmanager
def marked_dropout(model: nnx.Module) -> Iterator[None]:
    """Within the block, a dropout multiplies by its `factor`."""

    def around(call: Any, layer: Any, args: Any, kwargs: Any) -> Any:
        whole = bool(getattr(layer, "broadcast_dims", ()))
        return args[0] * factor(_rate(layer), type(layer).__name__, whole)

    with wrapped_calls({type(layer) for layer in dropouts(model)}, around):
        yield


def dropouts(model: nnx.Module) -> list[Any]:
    """The dropout layers: those with a rate, and with Dropout in the name of the class."""
    modules = (module for _, module in nnx.iter_modules(model))
    return [m for m in modules if "Dropout" in type(m).__name__ and _rate(m) is not None]


def values(state: Any) -> Values:
    """The arrays of a state by dotted path, without random streams."""
    flat = nnx.to_flat_state(state)
    return {
        dotted(path): np.asarray(held(leaf))
        for path, leaf in flat
        if not isinstance(leaf, nnx.RngState)
    }


def _rate(layer: Any) -> Any:
    rate = getattr(layer, "rate", getattr(layer, "p", None))
    return rate if isinstance(rate, int | float) else None


def _floating(outputs: list[Any]) -> list[Any]:
    return [y for y in outputs if jnp.issubdtype(y.dtype, jnp.floating)]


def _drawn(before: Any, after: Any) -> bool:
    """Whether the counter of a random stream has changed."""
    counts = [
        [int(held(leaf)) for _, leaf in nnx.to_flat_state(s) if isinstance(leaf, nnx.RngCount)]
        for s in (before, after)
    ]
    return counts[0] != counts[1]
