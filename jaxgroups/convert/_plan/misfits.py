"""Whether a tensor of a checkpoint can fill a leaf, whose layer has been decided already."""

from typing import Any

from jaxgroups.convert._model.structure import Slot
from jaxgroups.convert._plan import dtype_kinds as kinds
from jaxgroups.convert._rules import ops


def misfit(slot: Slot, key: str, info: Any, op: ops.Op) -> str:
    """Why a tensor cannot fill a leaf; empty if it can."""
    try:
        shape = op.shape(tuple(info.shape))
        reason = "" if shape == slot.shape else f"it would become {shape}"
    except ops.ShapeRefused as error:
        reason = str(error)
    if reason:
        return (
            f"size mismatch for {key}: copying a param with shape {tuple(info.shape)} from "
            f"checkpoint, the shape in current model is {slot.shape} at {slot.name} ({reason})."
        )
    if kinds.kind(info.dtype) != kinds.kind(slot.dtype):
        return (
            f"dtype mismatch for {key}: {info.dtype} in the checkpoint, {slot.dtype} at "
            f"{slot.name}; a cast would change what the values mean."
        )
    return ""


def is_magnitude(norms: Any, direction: Any) -> bool:
    """One norm for each index of one axis of the direction, or one of all of it."""
    if not norms:
        return True
    pairs = list(zip(norms, direction, strict=False))
    kept = len(norms) == len(direction) and all(n in (1, d) for n, d in pairs)
    return kept and sum(n != 1 for n in norms) <= 1


def weight_norms(key: str) -> list[tuple[str, str]]:
    """Torch's two spellings of a weight norm on `key`: (magnitude, direction)."""
    module, _, leaf = key.rpartition(".")
    front = f"{module}." if module else ""
    return [
        (f"{key}_g", f"{key}_v"),
        (
            f"{front}parametrizations.{leaf}.original0",
            f"{front}parametrizations.{leaf}.original1",
        ),
    ]
