"""Checks that a file contains the tensors of a plan."""

from collections.abc import Mapping

from jaxgroups.convert._files import Checkpoint, TensorInfo
from jaxgroups.convert._files.flax_layout import COUNTER_PREFIX
from jaxgroups.convert._plan.plan import ConversionError, Entry, Plan

_READ = ("ok", "folded", "summed", "counter", "alias")


def check_torch(plan: Plan, source: Checkpoint) -> None:
    """Check that a torch checkpoint has the plan's tensors, with the same shapes and dtypes.

    Raises:
      ConversionError: all differences at once.
    """
    # the key that an alias refers to has an entry of its own
    planned = {e.torch[0]: e for e in plan.entries if e.status in _READ}
    wanted = {key: TensorInfo(e.torch_shape or (), str(e.dtype)) for key, e in planned.items()}
    ignored = {e.torch[0] for e in plan.entries if e.status == "ignored"}
    others = {name for e in plan.leaves() for name in e.torch[1:]}
    _compare(plan.model, wanted, source.infos, ignored | others)
    missing = [name for name in others if name not in source.infos]
    if missing:
        entries = [Entry("missing", (name,), None) for name in sorted(missing)]
        raise ConversionError(plan.model, entries, ["the plan was made of another checkpoint"])


def check_flax(plan: Plan, source: Checkpoint) -> None:
    """Check that a file in Flax layout has the plan's parameters, and no others.

    Raises:
      ConversionError: all differences at once.
    """
    wanted = {str(e.flax): TensorInfo(e.flax_shape or (), str(e.dtype)) for e in plan.leaves()}
    counters = {COUNTER_PREFIX + e.torch[0] for e in plan.entries if e.status == "counter"}
    _compare(plan.model, wanted, source.infos, counters)


def _compare(
    model: str,
    wanted: Mapping[str, TensorInfo],
    infos: Mapping[str, TensorInfo],
    others: set[str],
) -> None:
    entries = [Entry("missing", (key,), None) for key in wanted if key not in infos]
    for key, info in infos.items():
        if key in wanted and info != wanted[key]:
            note = f"{key} is {info} in the file, but {wanted[key]} in the plan."
            entries.append(Entry("mismatched", (key,), None, note=note))
        elif key not in wanted and key not in others:
            entries.append(Entry("unexpected", (key,), None))
    if entries:
        raise ConversionError(model, entries, ["the plan was made of another checkpoint"])
