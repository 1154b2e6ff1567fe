"""What a picture of a convolution shows, as data: groups, channels, filters, kernels, arrows.

A filter is a row of torch's weight, that is a stack of kernels. Of a convolution it belongs to one
output channel and holds a kernel for each input channel that it reads; of a transposed one it
belongs to one input channel and holds a kernel for each output channel that it writes.
"""

from dataclasses import dataclass
from typing import Any

from jaxgroups._spec.spec import ConvSpec


@dataclass(frozen=True)
class Group:
    """One block of channels, with the filters that join its two sides."""

    index: int
    inputs: range
    filters: range
    outputs: range


@dataclass(frozen=True)
class Filter:
    """A stack of kernels: which channels it reads and which it writes."""

    index: int
    group: int
    reads: range
    writes: range
    transposed: bool

    @property
    def kernels(self) -> range:
        """The channel that each kernel of the stack stands for."""
        return self.writes if self.transposed else self.reads


@dataclass(frozen=True)
class Structure:
    """All that `groups` decides; nothing is left out here, however many channels there are."""

    spec: ConvSpec
    groups: tuple[Group, ...]
    filters: tuple[Filter, ...]

    @property
    def kernels(self) -> int:
        """Kernels in all stacks."""
        return sum(len(f.kernels) for f in self.filters)

    def as_dict(self) -> dict[str, Any]:
        """The structure ready for JSON: every channel and filter by its number."""
        spec = self.spec
        return {
            "kind": "diagram",
            "spec": str(spec),
            "transposed": spec.transposed,
            "in_channels": spec.in_channels,
            "out_channels": spec.out_channels,
            "kernel_size": list(spec.kernel_size),
            "weight_shape": list(spec.torch_weight_shape),
            "parameters": spec.parameters,
            "groups": [
                {
                    "index": g.index,
                    "inputs": list(g.inputs),
                    "filters": list(g.filters),
                    "outputs": list(g.outputs),
                }
                for g in self.groups
            ],
            "filters": [
                {
                    "index": f.index,
                    "group": f.group,
                    "reads": list(f.reads),
                    "writes": list(f.writes),
                    "kernels": list(f.kernels),
                }
                for f in self.filters
            ],
        }


def structure(spec: ConvSpec) -> Structure:
    """The structure of a convolution.

    >>> spec = ConvSpec.of("conv2d", 4, 8, 1, groups=2)
    >>> [list(f.reads) for f in structure(spec).filters]
    [[0, 1], [0, 1], [0, 1], [0, 1], [2, 3], [2, 3], [2, 3], [2, 3]]
    """
    read, made = spec.in_channels // spec.groups, spec.out_channels // spec.groups
    groups, filters = [], []
    for g in range(spec.groups):
        inputs = range(g * read, (g + 1) * read)
        outputs = range(g * made, (g + 1) * made)
        rows = inputs if spec.transposed else outputs
        groups.append(Group(g, inputs, rows, outputs))
        for row in rows:
            one = range(row, row + 1)
            reads, writes = (one, outputs) if spec.transposed else (inputs, one)
            filters.append(Filter(row, g, reads, writes, spec.transposed))
    return Structure(spec, tuple(groups), tuple(filters))
