"""What is convolved, and what convolves it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np

import jaxgroups as jg


@dataclass
class Contestant:
    """A call that returns when its work is done, and its results in torch's layout."""

    name: str
    call: Callable[[], object]
    results: Callable[[], list[np.ndarray]]
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Data:
    """float32 or float64 arrays in torch's layout, already rounded to the dtype measured."""

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

        first = (spec.batch[0], spec.out_channels, *spec.output_size)
        x = normal((spec.batch[0], spec.in_channels, *spec.size))
        return cls(x, normal(spec.torch_weight_shape), normal(first))
