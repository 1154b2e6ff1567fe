"""Does what was converted come back bit for bit?"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxgroups.convert import _move as move
from jaxgroups.convert._convert_file import check_stamp, extras_of
from jaxgroups.convert._files import open_checkpoint
from jaxgroups.convert._fits import check_flax, check_torch
from jaxgroups.convert._plan import Plan


def verify_file(
    source: str | Path,
    converted: str | Path,
    plan: Plan,
    key: str | None = None,
    *,
    reader: str | None = None,
    progress: Callable[[str, int, int], Any] | None = None,
) -> list[str]:
    """Names of the torch tensors that do not come back bit for bit from `converted`.

    Args:
      source, key, reader: as in `convert_file`.
      progress: called with (tensor, tensors done, tensors in all).

    Raises:
      ConversionError: `source` or `converted` does not hold what was planned.
      ValueError: `converted` is not a Flax file of this plan, or a weight norm was folded.
    """
    wrong = []
    with (
        open_checkpoint(source, key=key, reader=reader) as original,
        open_checkpoint(converted) as flax,
    ):
        check_stamp(flax, plan)
        check_torch(plan, original)
        check_flax(plan, flax)
        tensors = list(move.torch_tensors(plan, flax.read, extras_of(flax)))
        for number, (name, _, _, data) in enumerate(tensors, 1):
            back, there = data(), original.read(name)
            same_kind = (back.dtype, back.shape) == (there.dtype, there.shape)
            if not same_kind or back.tobytes() != there.tobytes():
                wrong.append(name)
            if progress is not None:
                progress(name, number, len(tensors))
    return wrong
