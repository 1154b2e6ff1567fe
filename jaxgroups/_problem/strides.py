"""Maps an array that transpose, reverse and reshape made back to strides in the original array.

An axis of the result is a list of factors (size, stride), outermost first: `size` indices, each
`stride` elements of the original array after the one before. An axis of one factor has one stride.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

Factor = tuple[int, int]  # size, stride


@dataclass(frozen=True)
class Strides:
    """The factors of each axis; element ``[0, ..., 0]`` is element `offset` of the original."""

    axes: tuple[tuple[Factor, ...], ...]
    offset: int = 0

    @classmethod
    def of(cls, shape: Sequence[int]) -> "Strides":
        """The original array itself, contiguous and of that shape."""
        return cls(tuple(((n, prod(shape[i + 1 :])),) for i, n in enumerate(shape)))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(prod(size for size, _ in factors) for factors in self.axes)

    def transpose(self, permutation: Iterable[int]) -> "Strides":
        """As of ``np.transpose``."""
        return Strides(tuple(self.axes[axis] for axis in permutation), self.offset)

    def reverse(self, dimensions: Iterable[int]) -> "Strides":
        """As of ``np.flip``."""
        axes, offset = list(self.axes), self.offset
        for axis in dimensions:
            offset += sum((size - 1) * stride for size, stride in axes[axis])
            axes[axis] = tuple((size, -stride) for size, stride in axes[axis])
        return Strides(tuple(axes), offset)

    def reshape(self, shape: Sequence[int]) -> "Strides | None":
        """As of ``np.reshape``; None where an axis would need part of a factor."""
        left = _merged(factor for factors in self.axes for factor in factors)[::-1]
        axes: list[tuple[Factor, ...]] = []
        for wanted in shape:
            factors: list[Factor] = []
            while wanted > 1:
                size, stride = left.pop()
                if wanted % size and size % wanted:
                    return None
                taken = min(size, wanted)
                factors.append((taken, size // taken * stride))
                if taken < size:
                    left.append((size // taken, stride))
                wanted //= taken
            axes.append(tuple(factors))
        return Strides(tuple(axes), self.offset)

    def strides(self) -> tuple[int, ...] | None:
        """The stride of each axis; None where an axis needs several."""
        merged = [_merged(factors) for factors in self.axes]
        if any(len(factors) > 1 for factors in merged):
            return None
        return tuple(factors[0][1] if factors else 0 for factors in merged)


def _merged(factors: Iterable[Factor]) -> list[Factor]:
    """The fewest factors with the same elements."""
    merged: list[Factor] = []
    for size, stride in factors:
        if size == 1:
            continue
        if merged and merged[-1][1] == size * stride:
            merged[-1] = (merged[-1][0] * size, stride)
        else:
            merged.append((size, stride))
    return merged
