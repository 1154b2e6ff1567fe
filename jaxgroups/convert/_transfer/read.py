"""Read all tensors of a plan as jax arrays, before any model is changed."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgroups._printable import printable
from jaxgroups.convert._files import Checkpoint, CheckpointError, from_dict, open_checkpoint
from jaxgroups.convert._files.flax_layout import FORMAT_KEY
from jaxgroups.convert._files.show import counted, html_table
from jaxgroups.convert._model.structure import Structure
from jaxgroups.convert._plan import dtype_kinds as kinds
from jaxgroups.convert._plan.plan import ConversionError, Plan
from jaxgroups.convert._transfer import move

_LISTED = ("missing_keys", "unexpected_keys", "unfilled", "casts", "folded")
_SHOWN = 3  # items of each kind in the text
Source = Any  # a path, an open Checkpoint, or a dict of arrays


@dataclass(repr=False)
class Report:
    """The report of a load.

    Attributes:
      plan: the plan of the load, an argument of `save_torch`.
      missing_keys: torch keys that a load without `strict` did not find.
      unexpected_keys: torch keys that a load without `strict` did not use.
      unfilled: names of the Flax parameters that kept their values.
      extras: torch's counters by key, an argument of `save_torch`.
      casts: notes on parameters that were cast to another dtype.
      folded: notes on parameters that were computed from several tensors.
      warnings: notes on settings that no file contains, and on NaN and infinities.
    """

    plan: Plan
    missing_keys: list[str] = field(default_factory=list)
    unexpected_keys: list[str] = field(default_factory=list)
    unfilled: list[str] = field(default_factory=list)
    extras: dict[str, np.ndarray] = field(default_factory=dict)
    casts: list[str] = field(default_factory=list)
    folded: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"Report({printable(self.plan.model)}: {', '.join(self._counts())})"

    def __str__(self) -> str:
        """A summary line, a line for each attribute that is not empty, and all warnings."""
        lines = [repr(self)]
        for name in _LISTED:
            items = getattr(self, name)
            more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
            shown = printable(", ".join(items[:_SHOWN]))
            lines += [f"{name}: {shown}{more}"] if items else []
        return "\n".join([*lines, *(f"warning: {printable(text)}" for text in self.warnings)])

    def _repr_html_(self) -> str:
        """The report as an HTML table, for notebooks."""
        return html_table(repr(self), ("what", "details"), self._lines())

    def _counts(self) -> list[str]:
        filled = len(self.plan.leaves())
        counts = [f"{counted(filled, 'parameter')} filled"]
        counts += [f"{len(self.unfilled)} not filled"] if self.unfilled else []
        for found, noun in ((self.casts, "cast"), (self.warnings, "warning")):
            counts += [counted(len(found), noun)] if found else []
        return counts

    def _lines(self) -> list[tuple[str, str]]:
        """The items of the attributes in `_LISTED` and the warnings, with the attribute's name."""
        return [(name, text) for name in (*_LISTED, "warnings") for text in getattr(self, name)]


def opened(checkpoint: Source, key: str | None, reader: str | None = None) -> Any:
    """The checkpoint as a context manager; an open checkpoint stays open."""
    if reader is not None and isinstance(checkpoint, (Checkpoint, Mapping)):
        raise ValueError(f"reader={reader!r} is for a path, got {type(checkpoint).__name__}")
    if isinstance(checkpoint, Checkpoint):
        if key is not None:
            raise ValueError(f"key={key!r} is for a path or a dict, but checkpoint is open already")
        return _Open(checkpoint)
    if isinstance(checkpoint, Mapping):
        return from_dict(_inner(checkpoint, key))
    if not isinstance(checkpoint, (str, os.PathLike)):
        raise TypeError(
            "checkpoint must be a path, a dict of tensors such as torch_module.state_dict(), or a "
            f"Checkpoint from open_checkpoint, got {type(checkpoint).__name__}"
        )
    return open_checkpoint(checkpoint, key=key, reader=reader)


def _inner(tensors: Mapping[str, Any], key: str | None) -> dict[str, Any]:
    for part in key.split(".") if key else ():
        found = tensors.get(part)
        if not isinstance(found, Mapping):
            raise CheckpointError(
                f"key={key!r} leads to no dict: there are {', '.join(map(str, tensors))}"
            )
        tensors = found
    return dict(tensors)


class _Open:
    """A context manager for an open checkpoint, which does not close it."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint

    def __enter__(self) -> Checkpoint:
        return self.checkpoint

    def __exit__(self, *error: object) -> None:
        pass


def read(
    made: Plan, source: Checkpoint, structure: Structure, strict: bool, dtype: Any
) -> tuple[dict[str, jax.Array], Report]:
    """The arrays of the Flax parameters by name, and the report."""
    _refuse(made, strict)
    check_aliases(made, source)
    report = Report(
        made,
        missing_keys=list(dict.fromkeys(e.torch[0] for e in made.of_status("missing"))),
        unexpected_keys=[e.torch[0] for e in made.entries if e.status == "unexpected"],
        unfilled=list(dict.fromkeys(str(e.flax) for e in made.problems if e.flax)),
        extras={e.torch[0]: source.read(e.torch[0]) for e in made.entries if e.status == "counter"},
        folded=list(dict.fromkeys(e.note for e in made.leaves() if e.merge)),
        warnings=list(made.warnings),
    )
    by_name = isinstance(dtype, str) and dtype in ("keep", "model")
    wanted = dtype if by_name else jnp.dtype(dtype).name
    declared = {param.name: param for param in structure.params}
    values = {}
    for entry in made.leaves():
        name = str(entry.flax)
        array = move.flax_leaf(entry, source.read)
        before = array.dtype.name
        if wanted == "model":
            array = _cast(name, array, declared[name].dtype)
        elif wanted != "keep" and kinds.kind(before) == "float":
            array = _cast(name, array, wanted)
        array = _counted(array)
        if array.dtype.name != before:
            report.casts.append(f"{name}: {before} -> {array.dtype.name}")
        note = move.not_finite(name, array)
        report.warnings += [note] if note else []
        values[name] = _exact(name, array, declared[name].sharding)
    return values, report


def _refuse(made: Plan, strict: bool) -> None:
    """Raise for problems; without `strict`, missing and unexpected tensors are allowed."""
    fatal = [
        e
        for e in made.problems
        if strict
        or e.status in ("mismatched", "ambiguous")
        or (e.status == "unknown" and not e.flax)
    ]
    if fatal:
        raise ConversionError(made.model, made.entries if strict else fatal, made.hints)


def _cast(name: str, array: np.ndarray, dtype: str) -> np.ndarray:
    if array.dtype.name == dtype:
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(jnp.dtype(dtype))
    if cast.dtype.kind in "iu" and not np.array_equal(cast, array):
        raise ValueError(f"{name} has values of {array.dtype.name} that {dtype} cannot hold")
    return cast


def _counted(array: np.ndarray) -> np.ndarray:
    """Integers, such as counts of batches, in jax's narrower dtype if that holds their values."""
    narrow = jax.dtypes.canonicalize_dtype(array.dtype)
    if array.dtype.kind in "iu" and narrow != array.dtype:
        cast = array.astype(narrow)
        return cast if np.array_equal(cast, array) else array
    return array


def _exact(name: str, array: np.ndarray, sharding: Any) -> jax.Array:
    """The array in jax, on its devices; refuses one that jax would narrow."""
    if jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype:
        raise ValueError(
            f"{name} is {array.dtype.name}, which jax narrows to "
            f"{jax.dtypes.canonicalize_dtype(array.dtype).name} unless jax_enable_x64 is set: set "
            'it, or pass dtype="model" to cast'
        )
    return jnp.asarray(array) if sharding is None else jax.device_put(array, sharding)


def check_aliases(made: Plan, source: Checkpoint) -> None:
    """Check that aliases have the same bits, since the model has one array for them.

    Raises:
      CheckpointError: they differ.
    """
    for entry in made.entries:
        if entry.status != "alias":
            continue
        root = {name: source.aliases.get(name, name) for name in entry.torch}
        if len(set(root.values())) == 1:
            continue
        one, other = map(source.read, entry.torch)
        if not move.same_bits(one, other):
            raise CheckpointError(
                f"{entry.torch[0]} and {entry.torch[1]} are one tensor in the model, but they "
                "differ in the checkpoint"
            )


def refuse_stamped(source: Checkpoint) -> None:
    """Refuse a file that is already in Flax layout: converting it twice would corrupt it.

    Raises:
      CheckpointError: its metadata declare that layout.
    """
    stamp = source.metadata.get(FORMAT_KEY)
    if stamp is not None:
        raise CheckpointError(
            f"{source.path} is already converted ({FORMAT_KEY}={stamp}): converting it again "
            "would permute its kernels twice; use the original, or convert --to torch"
        )
