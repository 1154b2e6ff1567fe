"""Which mesh axes split which factor of a convolution, by the shardings of its arrays.

XLA names no mesh: a sharding lists devices by number. A mesh of prime axes is read from the numbers
of all arrays, so that an axis of the user's mesh can split two factors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from jaxgroups._problem.factors import Axis, Factors
from jaxgroups._types import Ints

# of an array: the number of parts of each axis, and the devices in the order of the parts
Tiles = tuple[Ints, Ints]
Spec = tuple[Ints, ...]  # the mesh axes that split each axis of an array, the outer one first


@dataclass(frozen=True)
class Operand:
    """An array of a convolution: its factors, its sharding now, and its number of elements."""

    axes: tuple[Axis, ...]
    spec: Spec
    size: int
    result: bool = False  # whether it is the result


def mesh_of(devices: int, tiles: Sequence[Tiles]) -> tuple[Ints, list[Spec]]:
    """A mesh of prime axes, the outer one first, and the spec of each array in it.

    An array that lists its devices in an order that no such mesh has counts as replicated.
    """
    runs = [_runs(numbers) for _, numbers in tiles]
    strides = {1, devices}
    for found in runs:
        for size, stride in found or ():
            more = strides | {stride, size * stride}
            if all(b % a == 0 for a, b in pairwise(sorted(more))):
                strides = more
    steps = sorted(strides)
    for a, b in pairwise(list(steps)):
        for prime in _primes(b // a)[:-1]:
            a *= prime
            steps.append(a)
    steps = sorted(steps, reverse=True)  # of each axis the size times the stride, and 1
    sizes = tuple(a // b for a, b in pairwise(steps))
    number = {stride: i for i, stride in enumerate(steps[1:])}
    return sizes, [
        _spec(shape, found, sizes, number) for (shape, _), found in zip(tiles, runs, strict=True)
    ]


def _primes(n: int) -> list[int]:
    found, p = [], 2
    while n > 1:
        while n % p == 0:
            found.append(p)
            n //= p
        p += 1
    return found


def _runs(numbers: Ints) -> list[tuple[int, int]] | None:
    """Sizes and strides, the inner one first, of which the device numbers consist."""
    found: list[tuple[int, int]] = []
    numbers = tuple(numbers)
    while len(numbers) > 1:
        stride = numbers[1] - numbers[0]
        size = 1
        while size < len(numbers) and numbers[size] == numbers[0] + size * stride:
            size += 1
        if numbers[0] != 0 or stride < 1 or size < 2 or len(numbers) % size:
            return None
        for start in range(0, len(numbers), size):
            part = numbers[start : start + size]
            if part != tuple(part[0] + i * stride for i in range(size)):
                return None
        found.append((size, stride))
        numbers = numbers[::size]
    return found


def _spec(
    shape: Ints, runs: list[tuple[int, int]] | None, sizes: Ints, number: dict[int, int]
) -> Spec:
    whole = ((),) * len(shape)
    if runs is None:
        return whole
    order: list[int] = []  # mesh axes, the inner one first
    for size, stride in runs:
        while size > 1:
            axis = number.get(stride)
            if axis is None or size % sizes[axis]:
                return whole
            order.append(axis)
            size, stride = size // sizes[axis], stride * sizes[axis]
    spec: list[Ints] = []
    for parts in shape:
        axes: list[int] = []
        while parts > 1:
            if not order or parts % sizes[order[-1]]:
                return whole
            axes.append(order.pop())
            parts //= sizes[axes[-1]]
        spec.append(tuple(axes))
    return tuple(spec)


def split(factors: Factors, mesh: Ints, operands: Sequence[Operand]) -> dict[str, Ints]:
    """The mesh axes of each factor: the choice that moves the fewest elements between devices."""
    places = [_placed(operand, factors.sizes, mesh) for operand in operands]
    chosen: dict[str, list[int]] = {}
    for axis in dict.fromkeys(axis for placed in places for axis in placed):
        wanted = dict.fromkeys(placed[axis] for placed in places if axis in placed)
        fits = [
            f
            for f in wanted
            if factors.sizes[f] % prod(mesh[a] for a in (*chosen.get(f, ()), axis)) == 0
        ]
        if fits:
            best = min(fits, key=lambda f: _moved(f, axis, operands, places))
            chosen.setdefault(best, []).append(axis)
    for operand in operands:
        for outer, *inner in operand.axes:
            if prod(mesh[a] for a in chosen.get(outer, ())) != factors.sizes[outer]:
                for f in inner:  # parts of (g, c) that divide c alone are no tiles
                    chosen.pop(f, None)
    return {f: tuple(axes) for f, axes in chosen.items()}


def _placed(operand: Operand, size: dict[str, int], mesh: Ints) -> dict[int, str]:
    """The factor that each mesh axis splits in an operand's own sharding."""
    placed: dict[int, str] = {}
    for factors, axes in zip(operand.axes, operand.spec, strict=True):
        left = list(axes)
        for factor in factors:
            rest = size[factor]
            while left and rest % mesh[left[0]] == 0 and not factor.startswith("k"):
                rest //= mesh[left[0]]
                placed[left.pop(0)] = factor
            if rest > 1:
                break
    return placed


def _moved(
    factor: str, axis: int, operands: Sequence[Operand], places: Sequence[dict[int, str]]
) -> float:
    """Elements that move between devices if a mesh axis splits `factor`.

    An operand moves if the axis splits another of its factors now. The result moves if a sum is
    split, which is added up by an all-reduce, or if the program wants it in another sharding. An
    array without the factor moves as a whole.
    """
    moved = 0.0
    for operand, placed in zip(operands, places, strict=True):
        now, has = placed.get(axis), any(factor in of for of in operand.axes)
        moves = now != factor if operand.result else now not in (None, factor)
        moved += moves * operand.size * (0.5 if has else 1)
    return moved


def spec_of(axes: Sequence[Axis], chosen: dict[str, Ints]) -> Spec:
    """The spec of an array whose factors are split as chosen."""
    return tuple(tuple(a for f in axis for a in chosen.get(f, ())) for axis in axes)
