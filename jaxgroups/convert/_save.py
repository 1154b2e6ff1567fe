"""A Flax model as a torch state_dict: the inverse of loading one."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from flax import nnx

from jaxgroups.convert import _move as move
from jaxgroups.convert._build import build
from jaxgroups.convert._files import TensorInfo, write_safetensors
from jaxgroups.convert._models import structure_of
from jaxgroups.convert._names import Names
from jaxgroups.convert._plan import Plan
from jaxgroups.convert._structure import Structure, held


def save_torch(
    model: Any,
    path: str | Path,
    *,
    variables: Mapping[str, Any] | None = None,
    example: Any = None,
    extras: Mapping[str, Any] | None = None,
    names: Names = None,
    rules: Mapping[str, Any] | None = None,
    prefix: str = "",
    overwrite: bool = False,
    progress: Callable[[str, int, int], Any] | None = None,
) -> Plan:
    """Write a Flax model as a torch state_dict in .safetensors: the inverse of `load_torch`.

    Args:
      variables: of a linen module, with `example`.
      extras: torch's counters, from the load's report; without them they are written as 0.
      names, rules, prefix: as they were given to the load.
      progress: called with (tensor, bytes done, bytes in all).

    Raises:
      CheckpointError: `path` exists and `overwrite` is not set, or does not end in .safetensors.
      ConversionError: layers without a rule.
      ValueError: leaves without a value, or counters in `extras` that the model does not have.
    """
    check_suffix(path)
    structure = structure_of(model, example)
    arrays = _arrays(model, structure, variables)
    # what is held decides, which of a linen module only its variables tell
    structure.slots = [replace(s, dtype=arrays[s.name].dtype.name) for s in structure.slots]
    made = build(structure, None, {}, names=names, rules=rules, prefix=prefix)
    made.raise_if_incomplete()
    counters = {e.torch[0] for e in made.entries if e.status == "counter"}
    strangers = [name for name in extras or {} if name not in counters]
    if strangers:
        raise ValueError(f"extras has {', '.join(strangers)}, which no layer of the model counts")
    tensors = move.torch_tensors(made, lambda name: np.asarray(arrays[name]), extras or {})
    write_safetensors(
        path,
        [(n, TensorInfo(s, d), data) for n, s, d, data in tensors],
        {"format": "pt"},
        overwrite=overwrite,
        progress=progress,
    )
    return made


def check_suffix(path: str | Path) -> None:
    """Only .safetensors is written, and under no other name: a .pth of it would not load.

    Raises:
      ValueError: another suffix.
    """
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"{path}: a torch state_dict is written as .safetensors: name it so")


def _arrays(model: Any, structure: Structure, variables: Mapping[str, Any] | None) -> dict:
    if structure.kind == "nnx":
        flat = {tuple(p): held(leaf) for p, leaf in nnx.to_flat_state(nnx.state(model))}
        found = {slot.name: flat[slot.path] for slot in structure.slots}
    elif variables is None:
        raise ValueError("a linen module holds no values: pass its variables={'params': ...}")
    else:
        tree = nn.meta.unbox(variables)
        found = {s.name: _at(tree, (s.collection, *s.path)) for s in structure.slots}
    empty = [n for n, v in found.items() if v is None or isinstance(v, jax.ShapeDtypeStruct)]
    if empty:
        raise ValueError(f"these leaves have no value: {', '.join(empty)}")
    return found


def _at(tree: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        if not isinstance(tree, Mapping) or part not in tree:
            return None
        tree = tree[part]
    return tree
