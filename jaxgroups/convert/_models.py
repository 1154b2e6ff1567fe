"""Checkpoints into Flax models and back: plan, read everything, and only then touch the model."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx

from jaxgroups.convert import _move as move
from jaxgroups.convert._build import build
from jaxgroups.convert._files import (
    Checkpoint,
    TensorInfo,
    from_dict,
    open_checkpoint,
    write_safetensors,
)
from jaxgroups.convert._names import Names
from jaxgroups.convert._plan import Plan
from jaxgroups.convert._structure import Structure, of_linen, of_nnx

Source = Any  # a path, an open Checkpoint, or a dict of arrays


@dataclass
class Report:
    """What a load did, in torch's words; `extras` holds torch's counters for the way back."""

    plan: Plan
    missing_keys: list[str] = field(default_factory=list)
    unexpected_keys: list[str] = field(default_factory=list)
    extras: dict[str, np.ndarray] = field(default_factory=dict)
    casts: list[str] = field(default_factory=list)
    folded: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def structure_of(model: Any, example: Any = None) -> Structure:
    """Structure of an nnx model, or of a linen module with an example of its input.

    Raises:
      TypeError: neither of them, or a linen module without `example`.
    """
    if isinstance(model, Structure):
        return model
    if isinstance(model, nnx.Module):
        return of_nnx(model)
    if isinstance(model, nn.Module) and example is not None:
        return of_linen(model, example)
    raise TypeError(
        "model must be a flax.nnx.Module (nnx.eval_shape is enough), or a flax.linen.Module with "
        f"example= an input or its shape; got {type(model).__name__}"
    )


def plan(
    model: Any,
    checkpoint: Source,
    *,
    names: Names = None,
    rules: Mapping[str, Any] | None = None,
    ignore: Iterable[str] = (),
    prefix: str = "",
    key: str | None = None,
    example: Any = None,
) -> Plan:
    """Which torch tensor goes into which Flax leaf, and how; nothing is loaded.

    Args:
      model: ``flax.nnx`` model, real or from ``nnx.eval_shape``, or linen module with `example`.
      checkpoint: path of a .safetensors, .safetensors.index.json, .pt or .pth file; a dict works.
      names: torch names that differ from the Flax paths: ``{flax path: torch name}``,
        (regex, replacement) pairs, or a function.
      rules: ``{flax path: rule}`` for single layers, such as ``FlattenLinear(512, 7, 7)``.
      ignore: regular expressions of torch keys to leave out.
      prefix: what stands before every torch key, such as ``"module."``.
      key: where in a nested checkpoint the state_dict is, such as ``"model"``.
    """
    structure = structure_of(model, example)
    with _opened(checkpoint, key) as source:
        made = build(
            structure,
            source.infos,
            source.aliases,
            names=names,
            rules=rules,
            ignore=ignore,
            prefix=prefix,
        )
    from jaxgroups.convert._lint import lint  # reads plans, so it stands above them

    made.warnings += lint(structure, made)
    return made


def load_torch(
    model: nnx.Module,
    checkpoint: Source,
    *,
    strict: bool = True,
    dtype: str = "keep",
    key: str | None = None,
    **how: Any,
) -> tuple[Any, Report]:
    """Fill an nnx model with a torch checkpoint; `how` is as in `plan`.

    Args:
      strict: refuse unless every leaf is filled and every tensor used.
      dtype: ``"keep"`` the checkpoint's dtypes bit for bit, ``"model"`` casts to the model's, or
        a dtype for all floating leaves; casts are listed in the report.

    Returns:
      The same model, filled, and the report. An abstract model becomes a real one.

    Raises:
      ConversionError: all problems at once; the model is then untouched.
    """
    structure = of_nnx(model)
    with _opened(checkpoint, key) as source:
        made = plan(model, source, **how)
        values, report = _read(made, source, structure, strict, dtype)
    slots = {slot.name: slot.path for slot in structure.slots}
    state = nnx.state(model)
    flat = dict(nnx.to_flat_state(state))
    abstract = [
        name
        for name, path in slots.items()
        if name not in values and isinstance(flat[path].get_value(), jax.ShapeDtypeStruct)
    ]
    if abstract and strict:
        raise ValueError(f"these leaves would stay without a value: {', '.join(abstract)}")
    for name, value in values.items():
        flat[slots[name]].set_value(value)
    nnx.update(model, state)
    return model, report


def load_torch_linen(
    module: nn.Module,
    checkpoint: Source,
    *,
    example: Any,
    strict: bool = True,
    dtype: str = "keep",
    key: str | None = None,
    **how: Any,
) -> tuple[dict[str, Any], Report]:
    """The variables of a linen module from a torch checkpoint: ``{"params": ..., ...}``.

    `example` is an input, or its ``jax.ShapeDtypeStruct``; the rest as in `load_torch`.
    """
    structure = of_linen(module, example)
    with _opened(checkpoint, key) as source:
        made = plan(structure, source, **how)
        values, report = _read(made, source, structure, strict, dtype)
    variables: dict[str, Any] = {}
    for slot in structure.slots:
        if slot.name in values:
            place = variables.setdefault(slot.collection, {})
            for part in slot.path[:-1]:
                place = place.setdefault(part, {})
            place[slot.path[-1]] = values[slot.name]
    return variables, report


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
) -> Plan:
    """Write a Flax model as a torch state_dict in .safetensors: the inverse of `load_torch`.

    Args:
      variables: of a linen module, with `example`.
      extras: torch's counters, from the load's report; without them they are written as 0.

    Raises:
      FileExistsError: `path` exists and `overwrite` is not set.
      ConversionError: layers without a rule.
    """
    structure = structure_of(model, example)
    made = build(structure, None, {}, names=names, rules=rules, prefix=prefix)
    made.raise_if_incomplete()
    if structure.kind == "nnx":
        flat = {tuple(p): v.get_value() for p, v in nnx.to_flat_state(nnx.state(model))}
        arrays = {slot.name: flat[slot.path] for slot in structure.slots}
    else:
        tree = nn.meta.unbox(variables or {})
        arrays = {slot.name: _at(tree, (slot.collection, *slot.path)) for slot in structure.slots}
    tensors = move.torch_tensors(made, lambda name: np.asarray(arrays[name]), extras or {})
    write_safetensors(
        path,
        [(n, TensorInfo(s, d), data) for n, s, d, data in tensors],
        {"format": "pt"},
        overwrite=overwrite,
    )
    return made


def _at(tree: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        tree = tree[part]
    return tree


def _opened(checkpoint: Source, key: str | None) -> Any:
    if isinstance(checkpoint, Checkpoint):
        return _Open(checkpoint)
    if isinstance(checkpoint, Mapping):
        return from_dict(dict(checkpoint))
    return open_checkpoint(checkpoint, key=key)


class _Open:
    """A checkpoint that somebody else closes."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint

    def __enter__(self) -> Checkpoint:
        return self.checkpoint

    def __exit__(self, *error: object) -> None:
        pass


def _read(
    made: Plan, source: Checkpoint, structure: Structure, strict: bool, dtype: str
) -> tuple[dict[str, jax.Array], Report]:
    """All arrays of a plan as jax holds them, and what was done to them."""
    refuse_stamped(source)
    if strict:
        made.raise_if_incomplete()
    _check_aliases(made, source)
    report = Report(
        made,
        missing_keys=[e.torch[0] for e in made.entries if e.status == "missing"],
        unexpected_keys=[e.torch[0] for e in made.entries if e.status == "unexpected"],
        extras={e.torch[0]: source.read(e.torch[0]) for e in made.entries if e.status == "counter"},
        folded=[e.note for e in made.entries if e.status == "folded"],
        warnings=list(made.warnings),
    )
    declared = {slot.name: slot.dtype for slot in structure.slots}
    values = {}
    for entry in made.leaves():
        name = str(entry.flax)
        array = move.flax_leaf(entry, source.read)
        wanted = array.dtype.name if dtype == "keep" else dtype
        if dtype == "model":
            wanted = declared[name]
        elif dtype != "keep" and not jnp.issubdtype(array.dtype, jnp.inexact):
            wanted = array.dtype.name
        if wanted != array.dtype.name:
            report.casts.append(f"{name}: {array.dtype.name} -> {wanted}")
            array = array.astype(jnp.dtype(wanted))
        values[name] = _exact(name, array)
    return values, report


def _exact(name: str, array: np.ndarray) -> jax.Array:
    """The array in jax, or an error where jax would silently narrow it."""
    if jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype:
        raise ValueError(
            f"{name} is {array.dtype.name}, which jax narrows to "
            f"{jax.dtypes.canonicalize_dtype(array.dtype).name} unless jax_enable_x64 is set: set "
            'it, or pass dtype="model" to cast'
        )
    return jnp.asarray(array)


def _check_aliases(made: Plan, source: Checkpoint) -> None:
    for entry in made.entries:
        if entry.status == "alias":
            one, other = map(source.read, entry.torch)
            if one.dtype != other.dtype or one.tobytes() != other.tobytes():
                raise ValueError(
                    f"{entry.torch[0]} and {entry.torch[1]} are one tensor in the model, but "
                    "they differ in the checkpoint"
                )


def refuse_stamped(source: Checkpoint) -> None:
    """A file in Flax layout is no torch checkpoint: converting it twice would corrupt it."""
    stamp = source.metadata.get("jaxgroups.format")
    if stamp is not None:
        raise ValueError(
            f"{source.path} is already converted (jaxgroups.format={stamp}): converting it again "
            "would permute its kernels twice; use the original, or convert --to torch"
        )
