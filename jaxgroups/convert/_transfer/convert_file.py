"""Checkpoint file to checkpoint file by a plan, streaming: no model, no jax arrays.

A file in Flax layout is a .safetensors whose names are the dotted Flax paths; torch's counters go
along as ``torch:<key>``. It is stamped: ``jaxgroups.format`` keeps it from being converted twice,
``jaxgroups.plan`` (a digest) from being converted back by another plan.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxgroups.convert._files import Checkpoint, TensorInfo, open_checkpoint, write_safetensors
from jaxgroups.convert._plan.fits import check_flax, check_torch
from jaxgroups.convert._plan.plan import Plan
from jaxgroups.convert._transfer import move
from jaxgroups.convert._transfer.orbax import write_orbax
from jaxgroups.convert._transfer.read import check_aliases, refuse_stamped
from jaxgroups.convert._transfer.save import check_suffix

STAMP = "jaxgroups.format"
FLAX = "flax-v1"
ASIDE = "torch:"
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
    """Write `source` in the other layout to `target`.

    Args:
      to: ``"flax"`` or ``"torch"``, the layout of `target`. A .safetensors target is streamed
        with a peak memory near the largest tensor. For Flax a name without suffix, or with
        ``.orbax``, is a directory that orbax writes, all of the model at once, for Flax alone:
        without torch's counters and without a way back.
      key, reader: of a torch checkpoint, as in `open_checkpoint`.
      progress: called with (tensor, bytes done, bytes in all).

    Returns:
      Sentences on what was folded, and on NaN and infinities among the values.

    Raises:
      ConversionError: an incomplete plan, or a source that is not what was planned.
      ValueError: a source that is already in that layout, or was made by another plan.
      CheckpointError: a source that cannot be read; a target that exists without `overwrite`.
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
            plan.raise_if_incomplete()
            check_torch(plan, opened)
            check_aliases(plan, opened)
            counters = _aside(plan, opened)
            if orbax and counters:
                notes.append(f"torch's counters ({len(counters)}) are not in {target}")
            tensors = [*move.flax_tensors(plan, opened.read), *([] if orbax else counters)]
            metadata = {
                STAMP: FLAX,
                "jaxgroups.plan": digest(plan),
                "jaxgroups.source_sha256": _sha256(Path(source)),
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
    """The same tensor; whatever is not finite in it is noted when it is made."""
    name, shape, dtype, make = tensor

    def made() -> Any:
        array = make()
        note = move.not_finite(name, array)
        notes.extend([note] if note else [])
        return array

    return name, shape, dtype, made


def digest(plan: Plan) -> str:
    """Of what the plan does to the data; notes, reports and warnings do not matter."""
    entries = [replace(e, note="") for e in plan.entries if e.status != "ignored"]
    return hashlib.sha256(Plan("", entries).to_json().encode()).hexdigest()


def check_stamp(source: Checkpoint, plan: Plan) -> None:
    if source.metadata.get(STAMP) != FLAX:
        raise ValueError(
            f"{source.path} is not in Flax layout: it lacks the stamp {STAMP}={FLAX} that "
            "jaxgroups writes; a torch checkpoint is converted with to='flax'"
        )
    if source.metadata.get("jaxgroups.plan") != digest(plan):
        raise ValueError(f"{source.path} was made by another plan; use the one it was made by")


def _aside(plan: Plan, source: Checkpoint) -> list[move.Tensor]:
    counters = [e.torch[0] for e in plan.entries if e.status == "counter"]
    return [
        (ASIDE + n, source.infos[n].shape, source.infos[n].dtype, lambda n=n: source.read(n))
        for n in counters
    ]


def extras_of(source: Checkpoint) -> dict[str, Any]:
    names = [name for name in source.infos if name.startswith(ASIDE)]
    return {name.removeprefix(ASIDE): source.read(name) for name in names}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
