"""The weights of a ported model in a file, by the paths of the Flax model."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import safe_open
from safetensors.numpy import save_file


def save_weights(model: nnx.Module, path: str | Path) -> None:
    """Write every parameter and statistic of a model to a .safetensors file.

    Args:
      model: the model; streams of random numbers are left out.
      path: the file, which is replaced if it exists.
    """
    arrays = {
        name: np.ascontiguousarray(np.asarray(variable.get_value()))
        for name, variable in _variables(model)
    }
    save_file(arrays, str(path), {"format": "flax"})


def load_weights(model: nnx.Module, path: str | Path) -> None:
    """Fill a model, in place, from a file of `save_weights`; torch is not needed.

    Args:
      model: the model that was saved, or another one of the same class.
      path: the file.

    Raises:
      ValueError: a file that is not of this model: names or shapes that differ.
    """
    variables = dict(_variables(model))
    with safe_open(str(path), framework="numpy") as held:
        names = {*held.keys()}
        if names != {*variables}:
            missing, more = sorted({*variables} - names), sorted(names - {*variables})
            raise ValueError(
                f"{path} is not of this model: it lacks {missing[:3]!r} and has {more[:3]!r} too"
            )
        arrays = {name: held.get_tensor(name) for name in names}
    for name, variable in variables.items():
        if arrays[name].shape != variable.get_value().shape:
            raise ValueError(
                f"{path} is not of this model: {name} has shape {list(arrays[name].shape)} there, "
                f"{list(variable.get_value().shape)} in the model"
            )
    for name, variable in variables.items():
        variable.set_value(jnp.asarray(arrays[name], variable.get_value().dtype))


def _variables(model: nnx.Module) -> list[tuple[str, Any]]:
    flat = nnx.to_flat_state(nnx.state(model))
    return [
        (".".join(map(str, path)), variable)
        for path, variable in flat
        if not isinstance(variable, nnx.RngState)
    ]
