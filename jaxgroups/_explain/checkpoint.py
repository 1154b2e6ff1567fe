"""A checkpoint explained from its tensors alone: what is certain without the model.

A convolution's weight in torch's layout shows its number of filters, of kernels a filter and their
size. It does not show `groups`, nor whether the convolution is transposed. A file converted to
Flax's layout does not tell filters from kernels. Nothing is guessed.
"""

from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from jaxgroups._explain import table
from jaxgroups._explain.rows import TensorCost, check_order
from jaxgroups._printable import printable
from jaxgroups.convert._files import open_checkpoint
from jaxgroups.convert._files.flax_layout import FORMAT_KEY
from jaxgroups.convert._files.framework import KEY, other_framework

NOTE = (
    "a weight does not show its groups, its stride or its input: explain the model "
    "(PKG.MOD:FACTORY and the shape of an input) for multiply-adds, savings and implementations"
)
_WEIGHTS = ("weight", "weight_v", "weight.original1")  # the latter two under a weight norm


@dataclass(frozen=True, repr=False)
class CheckpointExplanation(table.Shown):
    """Answer of `explain` for a checkpoint; ``str()`` is a table, `as_dict` for programs."""

    path: str
    format: str
    layout: str  # torch, flax, or unknown if the metadata name another framework
    tensors: tuple[TensorCost, ...]
    elements: int
    bytes: int
    note: str = NOTE

    def sorted(self, by: str = "cost") -> tuple[TensorCost, ...]:
        """The tensors, largest first; ``order`` leaves them as in the file."""
        check_order(by)
        key = {"order": lambda row: 0, "bytes": lambda row: -row.bytes}
        return tuple(sorted(self.tensors, key=key.get(by, lambda row: -row.elements)))

    def as_dict(self, by: str = "cost") -> dict[str, Any]:
        """The fields by name, ready for JSON, the tensors sorted."""
        data = {"kind": "checkpoint"} | asdict(self) | {"sorted_by": by}
        return data | {"tensors": [asdict(row) for row in self.sorted(by)]}

    def rendered(self, by: str = "cost") -> table.Report:
        """The table sorted, for rich to print."""
        return table.checkpoint(self.format, self.sorted(by), self.elements, self.bytes, self.note)

    def __repr__(self) -> str:
        count = len(self.tensors)
        path = printable(self.path)
        return (
            f"<CheckpointExplanation {path}: {count} tensor{'' if count == 1 else 's'}, "
            f"{self.elements:,} elements, {table.short(self.bytes)}B>"
        )


def checkpoint(
    path: str | Path, key: str | None = None, reader: str | None = None
) -> CheckpointExplanation:
    """The explanation of a .safetensors, .pt or .pth file; nothing but its header is read.

    Raises:
      FileNotFoundError, CheckpointError: there is no such file, or it is damaged or refused.
    """
    with open_checkpoint(path, key=key, reader=reader) as opened:
        layout = "flax" if FORMAT_KEY in opened.metadata else "torch"
        other = other_framework(opened.metadata)
        note = NOTE
        if other is not None:
            layout = "unknown"
            note = printable(
                f"its metadata have {KEY}={other!r}, so filters and kernels cannot be "
                f"distinguished: torch's layout is not certain; {NOTE}"
            )
        names = [name for name in opened.infos if name not in opened.aliases]
        rows = tuple(
            _row(name, tuple(opened.infos[name].shape), opened.infos[name].dtype, layout)
            for name in names
        )
        return CheckpointExplanation(
            str(path),
            opened.format,
            layout,
            rows,
            sum(row.elements for row in rows),
            sum(row.bytes for row in rows),
            note,
        )


def _row(name: str, shape: tuple[int, ...], dtype: str, layout: str) -> TensorCost:
    filters = kernels = size = None
    if len(shape) >= 3 and layout == "torch" and name.endswith(_WEIGHTS):
        filters, kernels, size = shape[0], shape[1], shape[2:]
    elements = prod(shape)
    width = jnp.dtype(dtype).itemsize
    return TensorCost(name, shape, dtype, elements, elements * width, filters, kernels, size)
