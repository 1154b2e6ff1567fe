"""Convert a checkpoint file to another by a plan, one tensor at a time, without a model.

A file in Flax layout is a .safetensors file whose names are the dotted Flax paths; torch's counters
are in it as ``torch:<key>``. Its metadata prevent that it is converted twice (``jaxgroups.format``)
or converted back by another plan (``jaxgroups.plan``, a digest).
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
    READER_KEY,
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
        For Flax, a name without suffix or with ``.orbax`` is a directory that orbax writes, all
        tensors at once, with about three times the model's size in memory. It does not contain
        torch's counters, and cannot be converted back.
      key, reader: how to read a torch checkpoint, as in `open_checkpoint`.
      overwrite: whether to replace an existing target; a symbolic link is refused.
      progress: called with (tensor, bytes done, total bytes).

    Returns:
      Notes on tensors that are merged, such as weight norms, on NaN and infinities, and on a layout
      that the metadata of `source` do not specify.

    Raises:
      ConversionError: an incomplete plan, or a source that differs from the planned one.
      CheckpointError: a source that cannot be read, is already in that layout, was converted by
        another plan, or declares the layout of another framework; a target that exists without
        `overwrite`, or is a symbolic link.
      ValueError: `to` is neither of the two; a target without a suffix of the format.
    """
    if to not in ("flax", "torch"):
        raise ValueError(f'to must be "flax" or "torch", but got to={to!r}')
    orbax = to == "flax" and Path(target).suffix in ("", ".orbax")
    if not orbax:
        check_suffix(target)
    notes = list(dict.fromkeys(e.note for e in plan.leaves() if e.merge))
    with open_checkpoint(source, key=key, reader=reader) as opened:
        if to == "flax":
            refuse_stamped(opened)
            declaration = declared(opened, plan.entries)
            notes += [text for text in declaration if text not in plan.warnings]
            plan.raise_if_incomplete()
            check_torch(plan, opened)
            check_aliases(plan, opened)
            counters = _counters(plan, opened)
            if orbax and counters:
                notes.append(f"{target} does not hold torch's {len(counters)} counters")
            tensors = [*move.flax_tensors(plan, opened.read), *([] if orbax else counters)]
            metadata = {
                FORMAT_KEY: FORMAT,
                PLAN_KEY: digest(plan),
                READER_KEY: opened.reader,
                SOURCE_KEY: _sha256(Path(source)),
            }
        else:
            check_stamp(opened, plan)
            check_flax(plan, opened)
            tensors = list(move.torch_tensors(plan, opened.read, extras_of(opened)))
            metadata = {"format": "pt"}
        noted = [_with_note(tensor, notes) for tensor in tensors]
        if orbax:
            write_orbax(Path(target), noted, overwrite)
            return notes
        infos = [(name, TensorInfo(shape, dtype), data) for name, shape, dtype, data in noted]
        write_safetensors(target, infos, metadata, overwrite=overwrite, progress=progress)
    return notes


def _with_note(tensor: move.Tensor, notes: list[str]) -> move.Tensor:
    """The tensor; when it is read, a note on its NaN and infinities is added to `notes`."""
    name, shape, dtype, make = tensor

    def made() -> Any:
        array = make()
        note = move.not_finite(name, array)
        notes.extend([note] if note else [])
        return array

    return name, shape, dtype, made


def digest(plan: Plan) -> str:
    """A hash of the plan without its notes and warnings."""
    entries = [replace(e, note="") for e in plan.entries if e.status != "ignored"]
    return hashlib.sha256(Plan("", entries).to_json().encode()).hexdigest()


def check_stamp(source: Checkpoint, plan: Plan) -> None:
    """Check that a file is in Flax layout and was converted by this plan.

    Raises:
      CheckpointError: it is not, or was not.
    """
    if source.metadata.get(FORMAT_KEY) != FORMAT:
        raise CheckpointError(
            f"{source.path} is not in Flax layout: its metadata lack {FORMAT_KEY}={FORMAT}; "
            "a torch checkpoint is converted with to='flax'"
        )
    if source.metadata.get(PLAN_KEY) != digest(plan):
        raise CheckpointError(f"{source.path} was made by another plan: use the original one")


def _counters(plan: Plan, source: Checkpoint) -> list[move.Tensor]:
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
    """torch's counters in a file in Flax layout, by torch key."""
    names = [name for name in source.infos if name.startswith(COUNTER_PREFIX)]
    return {name.removeprefix(COUNTER_PREFIX): source.read(name) for name in names}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
