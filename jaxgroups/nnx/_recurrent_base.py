"""What recurrent layers and their cells share: settings, parameters, dtype, and their checks."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from jaxgroups import _layers as layers
from jaxgroups._types import Shape
from jaxgroups.nnx import _parameters as parameters
from jaxgroups.nnx._base import FeatureLayer

MODES = {"tanh": "RNN_TANH", "relu": "RNN_RELU"}


def at_least(minimum: int, name: str, value: Any, sentence: str = "") -> int:
    """The argument as an int; refuses one below `minimum` with torch's sentence."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} should be of type int, got: {type(value).__name__}")
    if value < minimum:
        raise ValueError(f"{sentence or f'{name} must be greater than zero'}, got {name}={value}")
    return int(value)


def boolean(name: str, value: Any) -> bool:
    """The argument as a bool; refuses other types with torch's sentence."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} should be of type bool, got: {type(value).__name__}")
    return value


def mode_of(nonlinearity: Any) -> str:
    """The key in `CELLS` of an RNN with this nonlinearity."""
    if not isinstance(nonlinearity, str) or nonlinearity not in MODES:
        raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
    return MODES[nonlinearity]


class RecurrentBase(FeatureLayer):
    """A layer whose parameters are attributes with torch's names and shapes."""

    hidden_size: int
    dtype: DTypeLike | None

    def _add(self, shapes: dict[str, Shape], rngs: nnx.Rngs, param_dtype: DTypeLike) -> None:
        """Add the parameters: U(-b, b) with ``b = 1 / sqrt(hidden_size)``, as in torch."""
        name = type(self).__name__
        parameters.check_rngs(name, rngs)
        if not jnp.issubdtype(param_dtype, jnp.floating):
            raise ValueError(
                "Only Tensors of floating point and complex dtype can require gradients: "
                f"{name} takes real ones, got param_dtype={jnp.dtype(param_dtype).name}"
            )
        self.param_dtype = param_dtype
        uniform = layers.torch_uniform(self.hidden_size)
        for parameter, shape in shapes.items():
            setattr(self, parameter, nnx.Param(uniform(rngs.params(), shape, param_dtype)))

    def _parameter(self, name: str) -> jax.Array | None:
        return parameters.value(getattr(self, name, None))

    def _array(self, input: Any) -> jax.Array:
        """The argument `input` as an array of floating-point numbers."""
        name = type(self).__name__
        if type(input).__name__ == "PackedSequence":
            raise TypeError(
                f"{name}: a PackedSequence is not supported: call the layer with the padded "
                "sequences, and use no output beyond the length of a sequence"
            )
        if not hasattr(input, "shape") and not isinstance(input, list):
            raise TypeError(
                f"{name}: argument 'input' must be an array, not {type(input).__name__}"
            )
        array = jnp.asarray(input)
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(
                f"RNN input dtype ({array.dtype.name}) does not match weight dtype "
                f"({jnp.dtype(self.param_dtype).name}): {name} needs floating-point numbers"
            )
        return array

    def _states(self, hx: Any, count: int) -> list[jax.Array] | None:
        """The arrays of the argument `hx`; an LSTM has two."""
        if hx is None:
            return None
        pair = isinstance(hx, Sequence)
        if pair != (count == 2) or (pair and len(hx) != 2):
            needed = "a pair (h_0, c_0)" if count == 2 else "one array h_0"
            got = f"{len(hx)} of them" if pair else type(hx).__name__
            raise TypeError(f"{type(self).__name__}: hx must be {needed}, got {got}")
        return [jnp.asarray(state) for state in (hx if pair else [hx])]

    def _common(self, *arrays: Any) -> Any:
        """The dtype to compute in."""
        return jnp.dtype(self.dtype) if self.dtype is not None else jnp.result_type(*arrays)
