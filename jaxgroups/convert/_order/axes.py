"""Axes as products of factors, which show the axes that a flattened axis consists of.

A `Dim` is one axis of an array: the factors that reshapes merged into it, in order; none for an
axis of length 1. Two axes that an operation pairs are made the same (`unify`). A factor that a
reshape splits is replaced by its parts in every array. So facts from the end of a network, such as
which factor a convolution reads as channels, hold for its beginning too.
"""

from collections.abc import Iterable
from math import prod

CHANNEL, SPATIAL, BATCH = "channel", "spatial", "batch"
LAST = "last"  # the result of a product over the last axis: the last axis in torch too
END, END_CHANNEL = "end", "end channel"  # of inputs and outputs of the model with rank 4 or more
MIXED = "mixed"  # positions and channels in a combination that is not followed


class Factor:
    """A factor of an axis.

    Attributes:
      size: its size.
      traits: what is known of it: the constants above.
      parts: the factors that replace it; None if there are none.
      segments: the pieces of a concatenation.
      split: whether it is a part of a larger factor.
    """

    __slots__ = ("parts", "segments", "size", "split", "traits")

    def __init__(self, size: int, traits: Iterable[str] = ()) -> None:
        self.size = size
        self.traits = set(traits)
        self.parts: tuple[Factor, ...] | None = None
        self.segments: tuple[Dim, ...] = ()
        self.split = False


Dim = tuple[Factor, ...]


def fresh(size: int, traits: Iterable[str] = ()) -> Dim:
    """An axis of which only the size is known."""
    return () if size == 1 else (Factor(size, traits),)


def factors(dim: Iterable[Factor]) -> Dim:
    """The current factors of an axis, with replaced ones resolved."""
    current: list[Factor] = []
    for factor in dim:
        current += (factor,) if factor.parts is None else factors(factor.parts)
    return tuple(current)


def size_of(dim: Dim) -> int:
    return prod(factor.size for factor in dim)


def mark(dim: Dim, *traits: str) -> None:
    """Add a trait to every factor of an axis."""
    for factor in factors(dim):
        factor.traits.update(traits)


def common(dim: Iterable[Factor]) -> set[str]:
    """The traits that all factors of an axis share; positions beside channels are `MIXED`."""
    traits = [factor.traits for factor in factors(dim)]
    if not traits:
        return set()
    every = set.union(*traits)
    if MIXED in every or (SPATIAL in every and CHANNEL in every and len(traits) > 1):
        return {MIXED}
    return set.intersection(*traits)


def divide(factor: Factor, first: int) -> Dim:
    """Split a factor into `first` times the rest."""
    traits = {MIXED} if any(common(s) == {MIXED} for s in factor.segments) else factor.traits
    parts = Factor(first, traits), Factor(factor.size // first, traits)
    for part in parts:
        part.split = True
    factor.parts = parts
    return parts


def unify(one: Dim, other: Dim) -> None:
    """Make two axes of the same length the same, factor by factor."""
    left, right = list(factors(one)), list(factors(other))
    while left and right:
        a, b = left.pop(0), right.pop(0)
        if a is b:
            continue
        if a.size == b.size:
            b.traits |= a.traits
            b.segments = b.segments or a.segments
            b.split |= a.split
            a.parts = (b,)
        elif a.size > b.size and a.size % b.size == 0:
            left[:0] = divide(a, b.size)
            right.insert(0, b)
        elif b.size > a.size and b.size % a.size == 0:
            right[:0] = divide(b, a.size)
            left.insert(0, a)
        else:
            mark((a, b, *left, *right), MIXED)
            return


def reshape(dims: Iterable[Dim], sizes: Iterable[int]) -> list[Dim]:
    """The axes after a reshape: the same factors, regrouped."""
    left = [factor for dim in dims for factor in factors(dim)]
    regrouped: list[Dim] = []
    for size in sizes:
        taken: list[Factor] = []
        while size > 1:
            factor = left.pop(0) if left else Factor(1)
            if factor.size > size and factor.size % size == 0:
                factor, rest = divide(factor, size)
                left.insert(0, rest)
            if factor.size <= 1 or size % factor.size:
                left = [Factor(1)]  # cannot be followed from here on
                taken = list(fresh(size, {MIXED}))
                break
            taken.append(factor)
            size //= factor.size
        regrouped.append(tuple(taken))
    return regrouped
