"""The arrays of a convolution, and a contestant that computes it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax.numpy as jnp
import numpy as np

import jaxgroups as jg


@dataclass
class Contestant:
    """`call` returns when its work is done; `results` are in torch's layout."""

    name: str
    call: Callable[[], object]
    results: Callable[[], list[np.ndarray]]
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Data:
    """float32 or float64 arrays in torch's layout, rounded to the dtype that is measured."""

    x: np.ndarray
    weight: np.ndarray
    cotangent: np.ndarray

    @classmethod
    def random(cls, spec: jg.ConvSpec, seed: int = 0) -> "Data":
        rng = np.random.default_rng(seed)
        exact = "float64" if spec.dtype == "float64" else "float32"

        def normal(shape: tuple[int, ...]) -> np.ndarray:
            values = rng.standard_normal(shape, dtype="float32")
            return values.astype(jnp.dtype(spec.dtype)).astype(exact)

        first = replace(spec, data_format="channels_first")
        return cls(*map(normal, (first.input_shape, spec.torch_weight_shape, first.output_shape)))
