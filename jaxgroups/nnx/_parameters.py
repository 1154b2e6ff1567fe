"""Parameters of the layers: those that a setting leaves out, and the `rngs` that draw them."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from jaxgroups import _keywords as keywords
from jaxgroups._types import Shape

Init = TypeVar("Init", bound=Callable[..., None])


def checked(init: Init) -> Init:
    """`init` that explains wrong keywords and a missing `rngs`; type checkers see `init` itself."""
    return keywords.checked(init, {"rngs": "rngs=nnx.Rngs(0)"})


def check_rngs(layer: str, rngs: Any) -> None:
    """Refuse random streams that are not ``nnx.Rngs``; `layer` is the name of the layer's class."""
    if not isinstance(rngs, nnx.Rngs):
        raise TypeError(
            f"{layer}(): rngs must be flax.nnx.Rngs, such as nnx.Rngs(0), not {type(rngs).__name__}"
        )


def scale(wanted: bool, shape: Shape, dtype: DTypeLike) -> Any:
    """A parameter of ones, or None."""
    return nnx.Param(jnp.ones(shape, dtype)) if wanted else nnx.data(None)


def bias(wanted: bool, shape: Shape, dtype: DTypeLike) -> Any:
    """A parameter of zeros, or None."""
    return nnx.Param(jnp.zeros(shape, dtype)) if wanted else nnx.data(None)


def value(variable: nnx.Variable | None) -> jax.Array | None:
    """The array of a variable; None for None."""
    return None if variable is None else variable[...]
