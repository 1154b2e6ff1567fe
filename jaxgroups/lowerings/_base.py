"""What a lowering is: a name, a reason to refuse, and a function of two arrays."""

from collections.abc import Callable
from dataclasses import dataclass

import jax

from jaxgroups._problem import ConvProblem


@dataclass(frozen=True)
class Lowering:
    """One way to compute a `ConvProblem` with XLA.

    ``why_not(problem, platform)`` answers None where it takes the problem, else the reason, in
    words for a person. ``apply(problem, lhs, rhs)`` gets arrays of exactly the problem's shapes.
    """

    name: str
    summary: str
    why_not: Callable[[ConvProblem, str], str | None]
    apply: Callable[[ConvProblem, jax.Array, jax.Array], jax.Array]
