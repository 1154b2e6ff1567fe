"""Check that a converted file converts back to its source bit for bit."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxgroups.convert._files import open_checkpoint, open_otherwise
from jaxgroups.convert._files.flax_layout import READER_KEY
from jaxgroups.convert._plan.fits import check_flax, check_torch
from jaxgroups.convert._plan.plan import Plan
from jaxgroups.convert._transfer import move
from jaxgroups.convert._transfer.convert_file import check_stamp, extras_of


class Differences(list[str]):
    """Keys of the torch tensors that differ: a list, empty if all are equal.

    Attributes:
      reader: the reader of the source: ``"own"``, ``"torch"``, ``"zipfile"`` or ``"safetensors"``.
      converted_by: the reader that `convert_file` used.
    """

    def __init__(self, reader: str, converted_by: str) -> None:
        super().__init__()
        self.reader = reader
        self.converted_by = converted_by


def verify_file(
    source: str | Path,
    converted: str | Path,
    plan: Plan,
    *,
    key: str | None = None,
    reader: str | None = None,
    progress: Callable[[str, int, int], Any] | None = None,
) -> Differences:
    """Convert `converted` back and compare it with the torch checkpoint `source`, bit for bit.

    The source is read by another reader than `convert_file` used, so that an error of a reader
    shows
    as a difference: a torch file by torch if it is installed, else a zip by Python's `zipfile`; a
    .safetensors file by the official library. torch reads a legacy file as a whole.

    Parameters that are merged from several tensors, such as a weight norm, cannot be converted
    back. They are merged again, and compared in Flax's layout. The memory in use grows by at most
    four times the largest tensor and 64 MiB, without what torch maps or reads.

    Args:
      source: the original torch checkpoint.
      converted: the file in Flax layout that `convert_file` wrote.
      plan: the plan of the conversion.
      key: the key of the tensors in `source`, as in `open_checkpoint`.
      reader: the reader of `source`, as in `open_checkpoint`; None for another one than
        `convert_file` used.
      progress: called with (tensor, tensors done, total tensors).

    Returns:
      The keys of the torch tensors that differ; an empty list if all are equal. Its attribute
      `reader` is the reader of the source. If that equals `converted_by`, there is no second reader
      for the format.

    Raises:
      ConversionError: the tensors of `source` or `converted` are not those of the plan.
      CheckpointError: `converted` is not a Flax file of this plan, or a file cannot be read.
    """
    with open_checkpoint(converted) as flax, ExitStack() as stack:
        check_stamp(flax, plan)
        used = flax.metadata.get(READER_KEY, "own")
        original = stack.enter_context(
            open_checkpoint(source, key=key, reader=reader)
            if reader is not None
            else open_otherwise(source, key, used)
        )
        wrong = Differences(original.reader, used)
        check_torch(plan, original)
        check_flax(plan, flax)
        within = {name for e in plan.leaves() if e.merge for name in e.torch}
        merged = [e for e in plan.leaves() if e.merge or within.intersection(e.torch)]
        merged_names = {e.flax for e in merged}
        rest = replace(
            plan,
            entries=[
                e
                for e in plan.entries
                if (e.flax is None or e.flax not in merged_names)
                and (e.status != "alias" or e.torch[1] not in within)
            ],
        )
        pairs = [
            (name, data, lambda name=name: original.read(name))
            for name, _, _, data in move.torch_tensors(rest, flax.read, extras_of(flax))
        ]
        pairs += [
            (
                e.torch[0] if e.torch else str(e.flax),
                lambda e=e: flax.read(str(e.flax)),
                lambda e=e: move.flax_leaf(e, original.read),
            )
            for e in merged
        ]
        for number, (name, back, there) in enumerate(pairs, 1):
            if not move.same_bits(back(), there()):
                wrong.append(name)
            if progress is not None:
                progress(name, number, len(pairs))
    return wrong
