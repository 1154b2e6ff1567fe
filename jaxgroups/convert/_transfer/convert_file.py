"""Convert a checkpoint file into another by a plan, one tensor at a time, without a model.

A file in Flax layout is a .safetensors file whose names are the dotted Flax paths; it holds torch's
counters as ``torch:<key>``. Its metadata ``jaxgroups.format`` keeps it from being converted twice,
``jaxgroups.plan`` (a digest) from being converted back by another plan.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxgroups.convert._files import (
    Checkpoint,
    CheckpointError,
    TensorInfo,
    open_checkpoint,
    write_safetensors,
)
from jaxgroups.convert._files.flax_layout import (
    COUNTER_PREFIX,
    FORMAT,
    FORMAT_KEY,
    PLAN_KEY,
    SOURCE_KEY,
)
from jaxgroups.convert._plan.declared import declared
from jaxgroups.convert._plan.fits import check_flax, check_torch
from jaxgroups.convert._plan.plan import Plan
from jaxgroups.convert._transfer import move
from jaxgroups.convert._transfer.orbax import write_orbax
from jaxgroups.convert._transfer.read import check_aliases, refuse_stamped
from jaxgroups.convert._transfer.save import check_suffix

Progress = Callable[[str, int, int], Any] | None


def convert_file(
    source: str | Path,
    target: str | Path,
    plan: Plan,
    *,
    to: str = "flax",
    key: str | None = None,
    reader: str | None = None,
    overwrite: bool = False,
    progress: Progress = None,
) -> list[str]:
    """Convert the file `source` to the other layout, and write it to `target`.

    Args:
      source: the checkpoint to read.
      target: the file or directory to write.
      plan: from `plan`, or from a load's report.
      to: ``"flax"`` or ``"torch"``, the layout of `target`. A .safetensors target is written one
        tensor at a time: the memory in use grows by at most twice the largest tensor and 32 MiB.
        For Flax a name without suffix, or with ``.orbax``, is a directory that orbax writes, the
        whole model at once, with about three times the model's size in memory. It has neither
        torch's counters nor a way back.
      key, reader: how to read a torch checkpoint, as in `open_checkpoint`.
      overwrite: whether to replace an existing target; a symbolic link is refused.
      progress: called with (tensor, bytes done, bytes in all).

    Returns:
      Sentences on merged weight norms, on NaN and infinities among the values, and on a layout that
      the metadata of `source` do not tell.

    Raises:
      ConversionError: an incomplete plan, or a source that differs from the planned one.
      CheckpointError: a source that cannot be read, is already in that layout, was made by another
        plan, or says that it is in another framework's; a target that exists without `overwrite`,
        or is a symbolic link.
    """
    if to not in ("flax", "torch"):
        raise ValueError(f'to must be "flax" or "torch", but got to={to!r}')
    orbax = to == "flax" and Path(target).suffix in ("", ".orbax")
    if not orbax:
        check_suffix(target)
    notes = [e.note for e in plan.entries if e.status == "folded"]
    with open_checkpoint(source, key=key, reader=reader, streaming=True) as opened:
        if to == "flax":
            refuse_stamped(opened)
            declaration = declared(opened, plan.entries)
            notes += [text for text in declaration if text not in plan.warnings]
            plan.raise_if_incomplete()
            check_torch(plan, opened)
            check_aliases(plan, opened)
            counters = _aside(plan, opened)
            if orbax and counters:
                notes.append(f"{target} does not hold torch's {len(counters)} counters")
            tensors = [*move.flax_tensors(plan, opened.read), *([] if orbax else counters)]
            metadata = {
                FORMAT_KEY: FORMAT,
                PLAN_KEY: digest(plan),
                SOURCE_KEY: _sha256(Path(source)),
            }
        else:
            check_stamp(opened, plan)
            check_flax(plan, opened)
            tensors = list(move.torch_tensors(plan, opened.read, extras_of(opened)))
            metadata = {"format": "pt"}
        noted = [_noting(tensor, notes) for tensor in tensors]
        if orbax:
            write_orbax(Path(target), noted, overwrite)
            return notes
        infos = [(name, TensorInfo(shape, dtype), data) for name, shape, dtype, data in noted]
        write_safetensors(target, infos, metadata, overwrite=overwrite, progress=progress)
    return notes


def _noting(tensor: move.Tensor, notes: list[str]) -> move.Tensor:
    """The same tensor; when it is made, `notes` gets a sentence on NaN and infinities in it."""
    name, shape, dtype, make = tensor

    def made() -> Any:
        array = make()
        note = move.not_finite(name, array)
        notes.extend([note] if note else [])
        return array

    return name, shape, dtype, made


def digest(plan: Plan) -> str:
    """A hash of what the plan does to the data, without its notes and warnings."""
    entries = [replace(e, note="") for e in plan.entries if e.status != "ignored"]
    return hashlib.sha256(Plan("", entries).to_json().encode()).hexdigest()


def check_stamp(source: Checkpoint, plan: Plan) -> None:
    if source.metadata.get(FORMAT_KEY) != FORMAT:
        raise CheckpointError(
            f"{source.path} is not in Flax layout: its metadata lack {FORMAT_KEY}={FORMAT}; "
            "a torch checkpoint is converted with to='flax'"
        )
    if source.metadata.get(PLAN_KEY) != digest(plan):
        raise CheckpointError(f"{source.path} was made by another plan: use the original one")


def _aside(plan: Plan, source: Checkpoint) -> list[move.Tensor]:
    counters = [e.torch[0] for e in plan.entries if e.status == "counter"]
    return [
        (
            COUNTER_PREFIX + n,
            source.infos[n].shape,
            source.infos[n].dtype,
            lambda n=n: source.read(n),
        )
        for n in counters
    ]


def extras_of(source: Checkpoint) -> dict[str, Any]:
    names = [name for name in source.infos if name.startswith(COUNTER_PREFIX)]
    return {name.removeprefix(COUNTER_PREFIX): source.read(name) for name in names}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
