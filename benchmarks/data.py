"""The arrays of a convolution, in torch's layout."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # torch's worker imports this file, but no jax
    import jaxgroups as jg


@dataclass(frozen=True)
class Data:
    """float32 or float64 arrays in torch's layout, rounded to the dtype that is measured."""

    x: np.ndarray
    weight: np.ndarray
    cotangent: np.ndarray

    @classmethod
    def random(cls, spec: "jg.ConvSpec", seed: int = 0) -> "Data":
        import jax.numpy as jnp

        rng = np.random.default_rng(seed)
        exact = "float64" if spec.dtype == "float64" else "float32"

        def normal(shape: tuple[int, ...]) -> np.ndarray:
            values = rng.standard_normal(shape, dtype="float32")
            return values.astype(jnp.dtype(spec.dtype)).astype(exact)

        first = replace(spec, data_format="channels_first")
        return cls(*map(normal, (first.input_shape, spec.torch_weight_shape, first.output_shape)))

    def save(self, path: Path) -> None:
        np.savez(path, **asdict(self))

    @classmethod
    def load(cls, path: str | Path) -> "Data":
        with np.load(path) as found:
            return cls(**found)
