"""A checkpoint explained from its tensors alone: what is certain without the model.

A convolution's weight in torch's layout tells its filters, its kernels a filter and their size. It
does not tell `groups`, nor whether it is of a convolution or a transposed one, and a converted
file does not even tell filters from kernels; none of it is guessed: the model says it.
"""

from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from jaxgroups._explain import table
from jaxgroups.convert._files import open_checkpoint
from jaxgroups.convert._files.flax_layout import FORMAT_KEY

NOTE = (
    "a weight does not tell its groups, its stride or its input: explain the model "
    "(PKG.MOD:FACTORY and the shape of an input) for multiply-adds, savings and lowerings"
)
_WEIGHTS = ("weight", "weight_v", "weight.original1")  # the latter two under a weight norm


@dataclass(frozen=True)
class TensorCost:
    """One tensor; what torch calls a weight and has three axes or more is a stack of filters."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    elements: int
    bytes: int
    filters: int | None
    kernels_per_filter: int | None
    kernel_size: tuple[int, ...] | None


@dataclass(frozen=True)
class CheckpointExplanation(table.Shown):
    """Answer of `explain` for a checkpoint; ``str()`` is a table, `as_dict` for programs."""

    path: str
    format: str
    layout: str  # torch or flax
    tensors: tuple[TensorCost, ...]
    elements: int
    bytes: int
    note: str = NOTE

    def sorted(self, by: str = "cost") -> tuple[TensorCost, ...]:
        """The tensors, largest first; ``order`` leaves them as they stand in the file."""
        key = {"order": lambda row: 0, "bytes": lambda row: -row.bytes}
        return tuple(sorted(self.tensors, key=key.get(by, lambda row: -row.elements)))

    def as_dict(self, by: str = "cost") -> dict[str, Any]:
        """The fields by name, ready for JSON, the tensors sorted."""
        data = {"kind": "checkpoint"} | asdict(self) | {"sorted_by": by}
        return data | {"tensors": [asdict(row) for row in self.sorted(by)]}

    def rendered(self, by: str = "cost") -> table.Report:
        """The table sorted, for rich to print."""
        return table.checkpoint(self, by)


def checkpoint(path: str | Path, key: str | None = None) -> CheckpointExplanation:
    """The explanation of a .safetensors, .pt or .pth file; nothing but its header is read.

    Raises:
      FileNotFoundError, CheckpointError: there is no such file, or it is damaged or refused.
    """
    with open_checkpoint(path, key=key) as opened:
        layout = "flax" if FORMAT_KEY in opened.metadata else "torch"
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
        )


def _row(name: str, shape: tuple[int, ...], dtype: str, layout: str) -> TensorCost:
    filters = kernels = size = None
    if len(shape) >= 3 and layout == "torch" and name.endswith(_WEIGHTS):
        filters, kernels, size = shape[0], shape[1], shape[2:]
    elements = prod(shape)
    width = jnp.dtype(dtype).itemsize
    return TensorCost(name, shape, dtype, elements, elements * width, filters, kernels, size)
