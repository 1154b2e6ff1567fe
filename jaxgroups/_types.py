"""Types that stand in many signatures."""

from collections.abc import Iterable

Ints = tuple[int, ...]
IntOrInts = int | Iterable[int]  # one number for all axes, or one for each
Pairs = tuple[tuple[int, int], ...]  # (low, high) for each axis
Shape = tuple[int, ...]
OptionalSizes = int | Iterable[int | None]  # None keeps the size of an axis
