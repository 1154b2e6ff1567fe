"""Convert the data of a plan in either direction, one tensor at a time. numpy in, numpy out."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from jaxgroups._printable import printable
from jaxgroups.convert._plan.plan import ConversionError, Entry, Plan
from jaxgroups.convert._rules import ops

Read = Callable[[str], np.ndarray]
Tensor = tuple[str, tuple[int, ...], str, Callable[[], np.ndarray]]  # name, shape, dtype, data


def flax_leaf(entry: Entry, read: Read) -> np.ndarray:
    """The array of a Flax parameter, contiguous and with its own memory, from torch's tensors."""
    if entry.status == "folded":
        direction, magnitude = map(read, entry.torch)
        x = merge_weight_norm(magnitude, direction)
    else:
        x = read(entry.torch[0])
    # `read` returns a new array, so a contiguous one needs no copy
    return np.asarray(entry.op.to_flax(x), order="C")


def merge_weight_norm(magnitude: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """``g v / |v|``, the norm over the axes where g has length 1 (torch's ``dim`` is the other).

    A scalar g is a norm of all of v, torch's ``dim=None``. The result is computed in float64 and
    rounded once; it has no inverse. A v of zeros gives NaN, as in torch.
    """
    axes = tuple(a for a in range(direction.ndim) if not magnitude.ndim or magnitude.shape[a] == 1)
    wide = np.complex128 if np.iscomplexobj(direction) else np.float64
    v, g = direction.astype(wide), magnitude.astype(wide)
    with np.errstate(divide="ignore", invalid="ignore"):
        norm = np.sqrt(np.sum(np.abs(v) ** 2, axis=axes, keepdims=True))
        return (g * v / norm).astype(direction.dtype)


def not_finite(name: str, array: np.ndarray) -> str | None:
    """A sentence on NaN and infinities among the values; None if all are finite."""
    if array.dtype.kind in "biu":
        return None
    with np.errstate(invalid="ignore"):  # a signalling NaN may complain
        bad = array.size - int(np.count_nonzero(np.isfinite(array)))
        if not bad:
            return None
        nan = int(np.count_nonzero(np.isnan(array)))
    name = printable(name)
    return f"{name} holds {nan} NaN and {bad - nan} infinite of {array.size} values: kept as is"


def flax_tensors(plan: Plan, read: Read) -> Iterator[Tensor]:
    """Every Flax parameter of a complete plan, lazily."""
    plan.raise_if_incomplete()
    for e in plan.leaves():
        yield str(e.flax), e.flax_shape or (), str(e.dtype), lambda e=e: flax_leaf(e, read)


def torch_tensors(plan: Plan, read: Read, extras: Mapping[str, Any]) -> Iterator[Tensor]:
    """Every torch tensor of a plan, lazily; `read` returns a Flax parameter by name.

    `extras` holds the tensors that only torch has (counters); a missing one becomes 0.

    Raises:
      ConversionError: an incomplete plan. ValueError: a folded weight norm, which has no inverse.
    """
    if plan.problems:
        raise ConversionError(plan.model, plan.entries, plan.hints)
    folded = [e.torch[0] for e in plan.entries if e.status == "folded"]
    if folded:
        raise ValueError(
            f"{printable(', '.join(folded))}: a folded weight norm cannot be taken apart again; "
            "export with a plan made from the model alone"
        )
    groups: dict[str, list[Entry]] = {}
    for e in plan.leaves():
        groups.setdefault(e.torch[0], []).append(e)
    writers = {key: _writer(entries, read) for key, entries in groups.items()}
    for key, entries in groups.items():
        yield key, entries[0].torch_shape or (), str(entries[0].dtype), writers[key]
    for e in plan.entries:
        if e.status == "counter":
            value = _counter(e, extras)
            writers[e.torch[0]] = lambda v=value: v
        elif e.status == "alias":
            if e.torch[1] not in writers:
                pair = f"{e.torch[0]} shares its data with {e.torch[1]}"
                raise ValueError(f"{printable(pair)}, which the plan does not have")
            writers[e.torch[0]] = writers[e.torch[1]]
        else:
            continue
        yield e.torch[0], e.torch_shape or (), str(e.dtype), writers[e.torch[0]]


def _counter(entry: Entry, extras: Mapping[str, Any]) -> np.ndarray:
    """A counter from the extras, with exactly its value; 0 if they do not have it."""
    key = entry.torch[0]
    if key not in extras:
        return np.zeros(entry.torch_shape or (), str(entry.dtype))
    given = np.asarray(extras[key])
    value = given.astype(str(entry.dtype))
    if value.shape != entry.torch_shape or not np.array_equal(value, given):
        raise ValueError(f"extras[{key!r}] must be {entry.dtype}{entry.torch_shape}, got {given!r}")
    return value


def _writer(entries: list[Entry], read: Read) -> Callable[[], np.ndarray]:
    def write() -> np.ndarray:
        blocks = {ops.part_of(e.op): e.op.to_torch(read(str(e.flax))) for e in entries}
        if None in blocks:
            return np.asarray(blocks[None], order="C")
        order = sorted(blocks, key=lambda part: part.index if part else 0)
        return np.asarray(ops.join([blocks[part] for part in order]), order="C")

    return write
