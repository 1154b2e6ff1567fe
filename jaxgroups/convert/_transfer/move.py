"""Convert the tensors of a plan in either direction, one at a time, as NumPy arrays."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from jaxgroups._printable import printable
from jaxgroups.convert._files import TensorInfo
from jaxgroups.convert._plan.plan import ConversionError, Entry, Plan
from jaxgroups.convert._rules import ops
from jaxgroups.convert._rules.merges import FlaxOnly, Merge

Read = Callable[[str], np.ndarray]
Tensor = tuple[str, tuple[int, ...], str, Callable[[], np.ndarray]]  # name, shape, dtype, data


def flax_leaf(entry: Entry, read: Read) -> np.ndarray:
    """The array of a Flax parameter, contiguous and with memory of its own, from torch's tensors.

    Raises:
      ValueError: tensors that cannot be merged.
    """
    if isinstance(entry.merge, FlaxOnly):
        dtype = TensorInfo((), str(entry.dtype)).numpy_dtype
        return entry.merge.filled(entry.flax_shape or (), dtype)
    arrays = [read(key) for key in entry.torch]
    x = arrays[0] if entry.merge is None else _merged(entry, entry.merge, arrays)
    # `read` returns a new array, so a contiguous one needs no copy
    return np.asarray(entry.op.to_flax(x), order="C")


def _merged(entry: Entry, merge: Merge, arrays: list[np.ndarray]) -> np.ndarray:
    reason = merge.problem([array.shape for array in arrays])
    try:
        if reason:  # the file is not that of the plan
            raise ValueError(reason)
        return merge.merged(arrays)
    except ValueError as error:
        raise ValueError(f"{entry.torch[-1]}: {error}") from error


def not_finite(name: str, array: np.ndarray) -> str | None:
    """A note on NaN and infinities among the values; None if all are finite."""
    if array.dtype.kind in "biu":
        return None
    with np.errstate(invalid="ignore"):  # signalling NaN
        bad = array.size - int(np.count_nonzero(np.isfinite(array)))
        if not bad:
            return None
        nan = int(np.count_nonzero(np.isnan(array)))
    name = printable(name)
    return f"{name} holds {nan} NaN and {bad - nan} infinite of {array.size} values: kept as is"


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays have the same dtype, shape and bits."""
    same_type = (one.dtype, one.shape) == (other.dtype, other.shape)
    return same_type and one.tobytes() == other.tobytes()


def flax_tensors(plan: Plan, read: Read) -> Iterator[Tensor]:
    """All Flax parameters of a complete plan, read lazily."""
    plan.raise_if_incomplete()
    for e in plan.leaves():
        yield str(e.flax), e.flax_shape or (), str(e.dtype), lambda e=e: flax_leaf(e, read)


def torch_tensors(plan: Plan, read: Read, extras: Mapping[str, Any]) -> Iterator[Tensor]:
    """All torch tensors of a plan, read lazily.

    Args:
      plan: a complete plan.
      read: reads a Flax parameter by name.
      extras: the tensors that only torch has (counters); missing ones are 0.

    Raises:
      ConversionError: an incomplete plan.
      ValueError: a folded parametrization, which has no inverse; a parameter that torch's layer
        does not have, with another value than the constant that torch computes with.
    """
    if plan.problems:
        raise ConversionError(plan.model, plan.entries, plan.hints)
    folded = [e for e in plan.entries if e.status == "folded"]
    if folded:
        nouns = dict.fromkeys(e.merge.noun for e in folded if e.merge)
        raise ValueError(
            printable(
                f"{', '.join(e.torch[0] for e in folded)}: a folded {' or '.join(nouns)} cannot be "
                "taken apart again; export with a plan made from the model alone"
            )
        )
    for e in plan.leaves():
        if isinstance(e.merge, FlaxOnly) and e.merge.lost(read(str(e.flax))):
            raise ValueError(
                f"{e.flax} must be {e.merge.value:g} to be saved: torch's layer does not have it"
            )
    groups: dict[str, list[Entry]] = {}
    for e in plan.leaves():
        for key in e.torch:
            groups.setdefault(key, []).append(e)
    writers = {key: _writer(key, entries, read) for key, entries in groups.items()}
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
    """A counter from the extras, without a loss of its value; 0 if they do not have it."""
    key = entry.torch[0]
    if key not in extras:
        return np.zeros(entry.torch_shape or (), str(entry.dtype))
    given = np.asarray(extras[key])
    value = given.astype(str(entry.dtype))
    if value.shape != entry.torch_shape or not np.array_equal(value, given):
        raise ValueError(f"extras[{key!r}] must be {entry.dtype}{entry.torch_shape}, got {given!r}")
    return value


def _writer(key: str, entries: list[Entry], read: Read) -> Callable[[], np.ndarray]:
    def block(e: Entry) -> np.ndarray:
        array = e.op.to_torch(read(str(e.flax)))
        # the first of two tensors gets the sum, the second one zeros
        return array if key == e.torch[0] else np.zeros_like(array)

    def write() -> np.ndarray:
        blocks = {ops.part_of(e.op): block(e) for e in entries}
        if None in blocks:
            return np.asarray(blocks[None], order="C")
        order = sorted(blocks, key=lambda part: part.index if part else 0)
        return np.asarray(ops.join([blocks[part] for part in order]), order="C")

    return write
