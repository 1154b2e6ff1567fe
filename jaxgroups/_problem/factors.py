"""Factors: the index ranges that a convolution's arrays share, and so the ways to split it.

In the letters of `views`: ``n`` is the batch, ``g`` the groups, ``o`` and ``c`` the outputs and
inputs of one group; ``c`` is summed over. An axis of channels consists of two factors, ``(g, c)``.
The weight gradient is a convolution too, in which the batch takes the place of ``c``.

A spatial axis of the input goes with that of the result, or, in a weight gradient, with that of the
window, which is summed over. It is ``s0``, ``s1``, ... The other of the two is never split.
"""

from dataclasses import dataclass
from functools import cached_property
from math import gcd

from jaxgroups._problem.problem import ConvProblem
from jaxgroups._types import Ints

Axis = tuple[str, ...]  # the factors of an axis, the outer one first


@dataclass(frozen=True)
class Factors:
    """The factors of each axis of the left and right operand and of the result."""

    sizes: dict[str, int]
    lhs: tuple[Axis, ...]
    rhs: tuple[Axis, ...]
    out: tuple[Axis, ...]
    bias: tuple[Axis, ...]

    @cached_property
    def summed(self) -> tuple[str, ...]:
        """The factors that the result does not have."""
        both = [f for axis in (*self.lhs, *self.rhs) for f in axis if not f.startswith("k")]
        result = {f for axis in self.out for f in axis}
        return tuple(dict.fromkeys(f for f in both if f not in result))


def factors_of(problem: ConvProblem, out_shape: Ints) -> Factors:
    """The factors of a problem whose result has `out_shape`."""
    left, right, result = problem.dimension_numbers
    of_batch = problem.batch_group_count > 1
    g = problem.feature_group_count * problem.batch_group_count
    sizes = {
        "n": out_shape[result[0]],
        "g": g,
        "o": out_shape[result[1]] // g,
        "c": problem.rhs_shape[right[1]],
    }

    def axis(*names: str) -> Axis:
        """Of several factors only those longer than 1."""
        return tuple(f for f in names if sizes[f] > 1) or names[-1:]

    lhs = {left[0]: axis("g", "n") if of_batch else axis("n")}
    lhs[left[1]] = axis("c") if of_batch else axis("g", "c")
    rhs = {right[0]: axis("g", "o"), right[1]: axis("c")}
    channels = axis("g", "o")
    out = {result[0]: axis("n"), result[1]: channels}
    for i, (x, k, y) in enumerate(zip(left[2:], right[2:], result[2:], strict=True)):
        size, window, length = problem.lhs_shape[x], problem.rhs_shape[k], out_shape[y]
        shared, alone = f"s{i}", f"k{i}"
        forward = length >= window
        lhs[x] = (shared,)
        rhs[k], out[y] = ((alone,), (shared,)) if forward else ((shared,), (alone,))
        sizes[shared] = gcd(size, length if forward else window)
        sizes[alone] = min(window, length)
    return Factors(sizes, _in_order(lhs), _in_order(rhs), _in_order(out), (channels,))


def _in_order(axes: dict[int, Axis]) -> tuple[Axis, ...]:
    return tuple(axes[i] for i in range(len(axes)))
