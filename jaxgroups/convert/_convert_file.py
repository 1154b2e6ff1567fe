"""Checkpoint file to checkpoint file by a plan, streaming: no model, no jax arrays.

A file in Flax layout is a .safetensors whose names are the dotted Flax paths; torch's counters go
along as ``torch:<key>``. It is stamped: ``jaxgroups.format`` keeps it from being converted twice,
``jaxgroups.plan`` (a digest) from being converted back by another plan.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxgroups.convert import _move as move
from jaxgroups.convert._files import Checkpoint, TensorInfo, open_checkpoint, write_safetensors
from jaxgroups.convert._models import refuse_stamped
from jaxgroups.convert._plan import Plan

STAMP = "jaxgroups.format"
FLAX = "flax-v1"
_ASIDE = "torch:"


def convert_file(
    source: str | Path,
    target: str | Path,
    plan: Plan,
    *,
    to: str = "flax",
    key: str | None = None,
    overwrite: bool = False,
    progress: Callable[[str, int, int], Any] | None = None,
) -> None:
    """Write `source` in the other layout to `target`.

    Args:
      to: ``"flax"`` or ``"torch"``, the layout of `target`. A .safetensors target is streamed
        with a peak memory near the largest tensor; any other name for Flax is an orbax directory.
      key: where in a nested torch checkpoint the state_dict is.
      progress: called with (tensor, bytes done, bytes in all).

    Raises:
      ConversionError: an incomplete plan.
      ValueError: a source that is already in that layout, or was made by another plan.
      FileExistsError: `target` exists and `overwrite` is not set.
    """
    if to not in ("flax", "torch"):
        raise ValueError(f'to must be "flax" or "torch", but got to={to!r}')
    with open_checkpoint(source, key=key) as opened:
        if to == "flax":
            refuse_stamped(opened)
            tensors = [*move.flax_tensors(plan, opened.read), *_aside(plan, opened)]
            metadata = {
                STAMP: FLAX,
                "jaxgroups.plan": digest(plan),
                "jaxgroups.source_sha256": _sha256(Path(source)),
            }
            if Path(target).suffix != ".safetensors":
                _write_orbax(Path(target), tensors, overwrite)
                return
        else:
            check_stamp(opened, plan)
            tensors = list(move.torch_tensors(plan, opened.read, _extras(opened)))
            metadata = {"format": "pt"}
        infos = [(name, TensorInfo(shape, dtype), data) for name, shape, dtype, data in tensors]
        write_safetensors(target, infos, metadata, overwrite=overwrite, progress=progress)


def verify_file(source: str | Path, converted: str | Path, plan: Plan, key: str | None = None):
    """Names of the torch tensors that do not come back bit for bit from `converted`.

    Raises:
      ValueError: `converted` is not a Flax file of this plan.
    """
    wrong = []
    with open_checkpoint(source, key=key) as original, open_checkpoint(converted) as flax:
        check_stamp(flax, plan)
        seen = set()
        for name, _, _, data in move.torch_tensors(plan, flax.read, _extras(flax)):
            seen.add(name)
            back, there = data(), original.read(name)
            same_kind = back.dtype == there.dtype and back.shape == there.shape
            if not same_kind or back.tobytes() != there.tobytes():
                wrong.append(name)
        ignored = {e.torch[0] for e in plan.entries if e.status == "ignored"}
        wrong += [name for name in original.infos if name not in seen | ignored]
    return wrong


def digest(plan: Plan) -> str:
    """Of what the plan does to the data; reports and warnings do not matter."""
    bare = Plan("", [e for e in plan.entries if e.status != "ignored"])
    return hashlib.sha256(bare.to_json().encode()).hexdigest()


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
        (_ASIDE + n, source.infos[n].shape, source.infos[n].dtype, lambda n=n: source.read(n))
        for n in counters
    ]


def _extras(source: Checkpoint) -> dict[str, Any]:
    names = [name for name in source.infos if name.startswith(_ASIDE)]
    return {name.removeprefix(_ASIDE): source.read(name) for name in names}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_orbax(target: Path, tensors: list[move.Tensor], overwrite: bool) -> None:
    """A nested dict by Flax path; orbax itself writes aside and renames."""
    import orbax.checkpoint as ocp  # comes with flax, loaded only for this

    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists: choose another name or overwrite")
    tree: dict[str, Any] = {}
    for name, _, _, data in tensors:
        if name.startswith(_ASIDE):
            tree.setdefault("torch", {})[name.removeprefix(_ASIDE)] = data()
            continue
        *parts, last = name.split(".")
        place = tree
        for part in parts:
            place = place.setdefault(part, {})
        place[last] = data()
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(target.absolute(), tree, force=overwrite)
