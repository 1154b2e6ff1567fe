"""Which parts of a structure a picture shows: all up to 64 channels, else some and a count."""

from dataclasses import dataclass

from jaxgroups.diagrams._structure import Group, Structure

LIMIT = 64  # channels on either side, and kernels in a stack, that are all drawn
ROWS = 16  # of a longer column
STACK = 6  # of a longer stack


@dataclass(frozen=True)
class Gap:
    """What is left out at this place."""

    count: int


Items = tuple[int | Gap, ...]


@dataclass(frozen=True)
class GroupView:
    """The shown channels, filters and kernels of one group, by number."""

    group: Group
    inputs: Items
    filters: Items
    outputs: Items

    @property
    def rows(self) -> int:
        return max(len(self.inputs), len(self.filters), len(self.outputs))


@dataclass(frozen=True)
class View:
    """The shown groups in order; `stack` holds positions within each filter's stack."""

    groups: tuple[GroupView | Gap, ...]
    stack: Items

    @property
    def rows(self) -> int:
        return sum(1 if isinstance(g, Gap) else g.rows for g in self.groups)


def items(numbers: range, room: int) -> Items:
    """All numbers, or as many as there is room for with one gap before the last.

    >>> items(range(10), 4)
    (0, 1, Gap(count=7), 9)
    """
    if len(numbers) <= room:
        return tuple(numbers)
    head = numbers[: room - 2]
    return (*head, Gap(len(numbers) - len(head) - 1), numbers[-1])


def view(structure: Structure) -> View:
    """What of a structure is drawn."""
    spec, groups = structure.spec, structure.groups
    kernels = len(structure.filters[0].kernels)
    stack = items(range(kernels), kernels if kernels <= LIMIT else STACK)
    if max(spec.in_channels, spec.out_channels) <= LIMIT:
        return View(tuple(_whole(g) for g in groups), stack)
    widest = max(len(groups[0].inputs), len(groups[0].outputs))
    rows = min(widest, max(4, ROWS // len(groups)))
    shown = items(range(len(groups)), max(3, ROWS // rows))
    return View(tuple(g if isinstance(g, Gap) else _part(groups[g], rows) for g in shown), stack)


def _whole(group: Group) -> GroupView:
    return GroupView(group, tuple(group.inputs), tuple(group.filters), tuple(group.outputs))


def _part(group: Group, rows: int) -> GroupView:
    return GroupView(
        group, items(group.inputs, rows), items(group.filters, rows), items(group.outputs, rows)
    )
