"""Where the elements of an array stand in another that it was made of by moving them alone.

An axis of ``transpose``, ``reverse`` and ``reshape`` is a list of factors, outermost first: so many
indices, each so many elements of the other array after the one before.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

Factor = tuple[int, int]  # size, step


@dataclass(frozen=True)
class Strides:
    """For each axis its factors; element ``[0, ..., 0]`` is number `offset` of the other array."""

    axes: tuple[tuple[Factor, ...], ...]
    offset: int = 0

    @classmethod
    def of(cls, shape: Sequence[int]) -> "Strides":
        """An array of that shape, in itself."""
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
            offset += sum((size - 1) * step for size, step in axes[axis])
            axes[axis] = tuple((size, -step) for size, step in axes[axis])
        return Strides(tuple(axes), offset)

    def reshape(self, shape: Sequence[int]) -> "Strides | None":
        """As of ``np.reshape``; None where an axis would begin within a step."""
        left = _merged(factor for factors in self.axes for factor in factors)[::-1]
        axes: list[tuple[Factor, ...]] = []
        for wanted in shape:
            factors: list[Factor] = []
            while wanted > 1:
                size, step = left.pop()
                if wanted % size and size % wanted:
                    return None
                taken = min(size, wanted)
                factors.append((taken, size // taken * step))
                if taken < size:
                    left.append((size // taken, step))
                wanted //= taken
            axes.append(tuple(factors))
        return Strides(tuple(axes), self.offset)

    def steps(self) -> tuple[int, ...] | None:
        """One step for each axis, None where an axis has several."""
        merged = [_merged(factors) for factors in self.axes]
        if any(len(factors) > 1 for factors in merged):
            return None
        return tuple(factors[0][1] if factors else 0 for factors in merged)


def _merged(factors: Iterable[Factor]) -> list[Factor]:
    """The fewest factors that say the same."""
    merged: list[Factor] = []
    for size, step in factors:
        if size == 1:
            continue
        if merged and merged[-1][1] == size * step:
            merged[-1] = (merged[-1][0] * size, step)
        else:
            merged.append((size, step))
    return merged
