"""The order in which the axes of a value lie in memory.

An order is a permutation: ``order[i]`` is torch's axis that lies at place i. A feature map
``(N, C, H, W)`` lies channels last, ``(0, 2, 3, 1)``; torch's own order is ``(0, 1, 2, 3)``.
Permuting axes changes the order alone and moves nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

Order = tuple[int, ...]


def natural(rank: int) -> Order:
    """Torch's own order."""
    return tuple(range(rank))


def channels_last(rank: int) -> Order:
    """``(0, 2, ..., rank - 1, 1)``; of fewer than three axes torch's order."""
    return natural(rank) if rank < 3 else (0, *range(2, rank), 1)


def place(order: Order, axis: int) -> int:
    """The place in memory of torch's axis, which may count from the end."""
    return order.index(axis % len(order))


def between(order: Order, wanted: Order) -> Order:
    """The argument of ``transpose`` that brings an array from one order into the other."""
    return tuple(order.index(axis) for axis in wanted)


def copies(order: Order, wanted: Order, units: Sequence[bool]) -> bool:
    """Whether going from one order to the other moves elements: axes of size 1 are free."""
    return [a for a in order if not units[a]] != [a for a in wanted if not units[a]]


def without(order: Order, axes: Sequence[int]) -> Order:
    """The order after the axes are removed."""
    gone = {axis % len(order) for axis in axes}
    kept = sorted(set(order) - gone)
    return tuple(kept.index(axis) for axis in order if axis not in gone)


def with_axis(order: Order, new: int) -> Order:
    """The order after an axis is added: last where torch has it last, else behind its neighbour.

    Of a feature map it lies in front of the channels, which stay last.
    """
    rank = len(order) + 1
    shifted = [axis + (axis >= new) for axis in order]
    if rank >= 4 and new >= 2 and 1 in shifted and shifted[-1] == 1:
        place = rank - 2
    elif new == rank - 1 and shifted[-1:] == [rank - 2]:
        place = rank - 1
    else:
        place = shifted.index(new - 1) + 1 if new else 0
    return (*shifted[:place], new, *shifted[place:])


@dataclass(frozen=True)
class Reshape:
    """How to reshape an array that lies in some order.

    Attributes:
      before: the order to bring it into first; equal to its own order if nothing has to move.
      axes: the axes of the result in memory, in torch's numbers: the order of the result.
      same: by axis of the result the axis of the input that it is, for axes that do not change.
    """

    before: Order
    axes: Order
    same: dict[int, int]


def reshape(order: Order, sizes: Sequence[int], result: Sequence[int]) -> Reshape:
    """Plan a reshape from torch's shape `sizes` to torch's shape `result`.

    Both shapes fall into groups of neighbouring axes with equal products. Splitting an axis is
    free in every order. Axes that are merged must be neighbours in memory in torch's order; they
    are moved to the place of the first of them if they are not, or to that of the last if this
    makes a feature map, channels last.

    Args:
      order: the order of the input.
      sizes, result: sizes for the example, in torch's order of axes.
    """
    plan = _planned(order, sizes, result, min)
    if plan.before != order:  # it moves anyhow: rather into a feature map
        other = _planned(order, sizes, result, max)
        if other.axes == channels_last(len(result)):
            return other
    return plan


def _planned(
    order: Order, sizes: Sequence[int], result: Sequence[int], side: Callable[..., int]
) -> Reshape:
    """The plan that moves merged axes to the place of the first or the last of them."""
    groups = _groups(sizes, result)
    before = list(order)
    for ins, _ in groups:
        real = [axis for axis in ins if sizes[axis] != 1]
        places = [before.index(axis) for axis in real]
        if len(real) > 1 and places != list(range(places[0], places[0] + len(real))):
            held = before[side(places)]
            rest = [axis for axis in before if axis not in ins or axis == held]
            at = rest.index(held)
            before = [*rest[:at], *ins, *rest[at + 1 :]]
    owner = {axis: n for n, (ins, _) in enumerate(groups) for axis in ins}
    axes: list[int] = []
    done: set[int] = set()
    loose: list[int] = []
    for axis in before:
        group = owner[axis]
        real = [one for one in groups[group][0] if sizes[one] != 1]
        if group in done or (real and axis != real[0]):
            continue
        done.add(group)
        axes += groups[group][1]
    for ins, outs in groups:
        if not ins:
            loose += outs
    rank = len(result)
    for axis in loose:  # new axes of size 1: of a feature map in front of the channels
        if rank >= 4 and axis >= 2 and 1 in axes:
            axes.insert(axes.index(1), axis)
        else:
            near = [axes.index(one) + 1 for one in axes if one == axis - 1]
            axes.insert(near[0] if near else 0 if not axis else len(axes), axis)
    same = {outs[0]: ins[0] for ins, outs in groups if len(ins) == len(outs) == 1}
    return Reshape(tuple(before), tuple(axes), same)


def _groups(sizes: Sequence[int], result: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Pairs of neighbouring axes with equal products, as fine as possible."""
    found: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(sizes) or j < len(result):
        if i < len(sizes) and j < len(result) and sizes[i] == result[j]:
            found.append(([i], [j]))
            i, j = i + 1, j + 1
            continue
        if i < len(sizes) and sizes[i] == 1:
            found.append(([i], []))
            i += 1
            continue
        if j < len(result) and result[j] == 1:
            found.append(([], [j]))
            j += 1
            continue
        ins, outs = [i], [j]
        i, j = i + 1, j + 1
        while (a := prod(sizes[k] for k in ins)) != (b := prod(result[k] for k in outs)):
            if a < b:
                ins.append(i)
                i += 1
            else:
                outs.append(j)
                j += 1
        found.append((ins, outs))
    return found
