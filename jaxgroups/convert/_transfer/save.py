"""Save a Flax model as a torch state_dict: the inverse of `load`."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from flax import nnx

from jaxgroups._printable import printable
from jaxgroups.convert._files import TensorInfo, write_safetensors
from jaxgroups.convert._model.names import Names
from jaxgroups.convert._model.structure import Structure, held
from jaxgroups.convert._order.order import order_features
from jaxgroups.convert._plan.build import build
from jaxgroups.convert._plan.plan import Plan
from jaxgroups.convert._plan.warn import warn_of
from jaxgroups.convert._transfer import move
from jaxgroups.convert._transfer.load import structure_of
from jaxgroups.convert._transfer.memory import recall, with_known_ops


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
    plan: Plan | None = None,
    overwrite: bool = False,
    progress: Callable[[str, int, int], Any] | None = None,
) -> Plan:
    """Write a Flax model as a torch state_dict in .safetensors: the inverse of `load_torch`.

    A model that `load_torch` has filled is saved with the names, rules and orders of features of
    that load. For another model, or a copy, pass them, or ``plan=report.plan``. A
    `ConversionWarning` reports features that may be in another order than torch's.

    Args:
      model: the nnx model, or a linen module with `variables` and `example`.
      path: the .safetensors file to write.
      variables: the variables of a linen module.
      example: an input of the model, as in `plan`; required for a linen module.
      extras: torch's counters, from the report of the load; missing ones are written as 0.
      names, rules, prefix: as in `plan`. Without `names` and `prefix`, those of the load that
        filled this model are used; likewise without `rules`.
      plan: ``report.plan`` of the load, in place of names, rules and prefix.
      overwrite: whether to replace an existing file; a symbolic link is refused.
      progress: called with (tensor, bytes done, total bytes).

    Returns:
      The plan of the file.

    Raises:
      CheckpointError: `path` exists and `overwrite` is not set, or is a symbolic link.
      ConversionError: layers without a rule.
      ValueError: `path` does not end in .safetensors, parameters have no value, or `extras` has
        counters that the model does not have.
    """
    check_suffix(path)
    structure = structure_of(model, example)
    arrays = _arrays(model, structure, variables)
    # the dtypes of the arrays are used; a linen module does not have them
    structure.params = [replace(s, dtype=arrays[s.name].dtype.name) for s in structure.params]
    if plan is None:
        made = _planned(model, structure, names, rules, prefix, example)
    elif names or rules or prefix:
        raise ValueError("plan= includes names, rules and prefix: pass either the plan or these")
    else:
        made = _with_dtypes(structure, plan)
    made.raise_if_incomplete()
    counters = {e.torch[0] for e in made.entries if e.status == "counter"}
    unknown = [name for name in extras or {} if name not in counters]
    if unknown:
        named = printable(", ".join(unknown))
        raise ValueError(f"extras has {named}, for which the model has no counter")
    warn_of(made.warnings)
    tensors = move.torch_tensors(made, lambda name: np.asarray(arrays[name]), extras or {})
    write_safetensors(
        path,
        [(n, TensorInfo(s, d), data) for n, s, d, data in tensors],
        {"format": "pt"},
        overwrite=overwrite,
        progress=progress,
    )
    return made


def _planned(
    model: Any,
    structure: Structure,
    names: Names,
    rules: Mapping[str, Any] | None,
    prefix: str,
    example: Any,
) -> Plan:
    """The plan for export, from the arguments and from the load of the model."""
    memory = recall(model, structure)
    if memory is not None and names is None and not prefix:
        names, prefix = memory.names, memory.prefix
    known: set[str] = set()
    if memory is None or rules is not None:
        made = build(structure, None, {}, names=names, rules=rules, prefix=prefix)
    else:
        made = build(structure, None, {}, names=names, rules=memory.rules, prefix=prefix)
        made, known = with_known_ops(made, memory)
    return order_features(made, model, structure, rules=rules, example=example, settled=known)


def _with_dtypes(structure: Structure, plan: Plan) -> Plan:
    """The plan of a load, with the current dtypes of the model."""
    params = {param.name: param for param in structure.params}
    planned = {str(e.flax): e for e in plan.leaves()}
    wrong = [f"{n} is not in the plan" for n in params if n not in planned]
    wrong += [f"{n} is not in the model" for n in planned if n not in params]
    wrong += [
        f"{n} has shape {params[n].shape}, planned as {e.flax_shape}"
        for n, e in planned.items()
        if n in params and params[n].shape != e.flax_shape
    ]
    if wrong:
        raise ValueError(printable(f"the plan is of another model: {'; '.join(wrong)}"))
    dtypes = {key: params[n].dtype for n, e in planned.items() for key in e.torch or (n,)}
    entries = []
    for e in plan.entries:
        of = e.torch[-1] if e.status == "alias" else e.torch[0] if e.torch else e.flax
        entries.append(replace(e, dtype=dtypes.get(of, e.dtype)) if of else e)
    return Plan(plan.model, entries, hints=plan.hints)  # its warnings were given by the load


def check_suffix(path: str | Path) -> None:
    """Check that a file to write ends in .safetensors: torch would not load it as a .pth.

    Raises:
      ValueError: another suffix.
    """
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"{path}: the file of a torch state_dict must end in .safetensors")


def _arrays(model: Any, structure: Structure, variables: Mapping[str, Any] | None) -> dict:
    if structure.kind == "nnx":
        flat = {tuple(p): held(leaf) for p, leaf in nnx.to_flat_state(nnx.state(model))}
        found = {param.name: flat[param.path] for param in structure.params}
    elif variables is None:
        raise ValueError("a linen module holds no values: pass its variables={'params': ...}")
    else:
        tree = nn.meta.unbox(variables)
        found = {s.name: _at(tree, (s.collection, *s.path)) for s in structure.params}
    empty = [n for n, v in found.items() if v is None or isinstance(v, jax.ShapeDtypeStruct)]
    if empty:
        raise ValueError(f"these parameters have no value: {', '.join(empty)}")
    return found


def _at(tree: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        if not isinstance(tree, Mapping) or part not in tree:
            return None
        tree = tree[part]
    return tree
