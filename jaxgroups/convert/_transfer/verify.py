"""Check that a converted file converts back to its source bit for bit."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxgroups.convert._files import open_checkpoint
from jaxgroups.convert._plan.fits import check_flax, check_torch
from jaxgroups.convert._plan.plan import Plan
from jaxgroups.convert._transfer import move
from jaxgroups.convert._transfer.convert_file import check_stamp, extras_of


def verify_file(
    source: str | Path,
    converted: str | Path,
    plan: Plan,
    *,
    key: str | None = None,
    reader: str | None = None,
    progress: Callable[[str, int, int], Any] | None = None,
) -> list[str]:
    """Compare the torch checkpoint `source` with what `converted` converts back to, bit for bit.

    A weight norm has no way back: it is merged again, and compared in Flax's layout. The memory in
    use grows by at most four times the largest tensor and 32 MiB.

    Args:
      source: the original torch checkpoint.
      converted: the file in Flax layout that `convert_file` made of it.
      plan: the plan that it was made by.
      key, reader: how to read `source`, as in `open_checkpoint`.
      progress: called with (tensor, tensors done, tensors in all).

    Returns:
      Keys of the torch tensors that differ; empty if all are equal.

    Raises:
      ConversionError: the tensors of `source` or `converted` are not those of the plan.
      CheckpointError: `converted` is not a Flax file of this plan, or a file cannot be read.
    """
    wrong = []
    with (
        open_checkpoint(source, key=key, reader=reader, streaming=True) as original,
        open_checkpoint(converted) as flax,
    ):
        check_stamp(flax, plan)
        check_torch(plan, original)
        check_flax(plan, flax)
        folded = [e for e in plan.entries if e.status == "folded"]
        whole = [e for e in plan.entries if e.status != "folded"]
        within = {name for e in folded for name in e.torch}
        whole = [e for e in whole if e.status != "alias" or e.torch[1] not in within]
        rest = replace(plan, entries=whole)
        pairs = [
            (name, data, lambda name=name: original.read(name))
            for name, _, _, data in move.torch_tensors(rest, flax.read, extras_of(flax))
        ]
        pairs += [
            (
                e.torch[0],
                lambda e=e: flax.read(str(e.flax)),
                lambda e=e: move.flax_leaf(e, original.read),
            )
            for e in folded
        ]
        for number, (name, back, there) in enumerate(pairs, 1):
            if not _same(back(), there()):
                wrong.append(name)
            if progress is not None:
                progress(name, number, len(pairs))
    return wrong


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    alike = (one.dtype, one.shape) == (other.dtype, other.shape)
    return alike and one.tobytes() == other.tobytes()
