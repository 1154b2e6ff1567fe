"""Which lowering computes a problem: the one place where a problem becomes XLA operations.

The choice is pure and made while tracing, from the problem and the platform alone, so that it can
be printed, tested and cached; nothing is timed at run time.
"""

import jax

from jaxgroups._lowerings import LOWERINGS, Lowering
from jaxgroups._lowerings import thresholds as rules
from jaxgroups._problem.problem import ConvProblem

Refusals = tuple[tuple[str, str], ...]


def names() -> tuple[str, ...]:
    """The names that ``implementation=`` takes, in order of preference."""
    return tuple(lowering.name for lowering in LOWERINGS)


def check_name(implementation: str | None) -> None:
    """Refuse an `implementation` that names no lowering."""
    if implementation is not None and implementation not in names():
        raise ValueError(
            f"implementation must be None or one of {', '.join(names())}, "
            f"but got implementation={implementation!r}"
        )


def choose(
    problem: ConvProblem,
    implementation: str | None = None,
    platform: str | None = None,
    portable: bool = False,
) -> tuple[Lowering, Refusals]:
    """The lowering to use and, by name, why those before it were not.

    `portable`: the program may hold operations of XLA alone, to be split or exported.

    Raises:
      ValueError: an unknown `implementation`, or one that does not take this problem.
    """
    platform = platform or jax.default_backend()
    check_name(implementation)
    refusals = []
    for lowering in LOWERINGS:
        if implementation not in (None, lowering.name):
            continue
        reason = _unsupported_reason(lowering, problem, platform, portable)
        if reason is None and implementation is None:
            reason = rules.slower_reason(problem, lowering.name, platform)
        if reason is None:
            return lowering, tuple(refusals)
        refusals.append((lowering.name, reason))
    raise ValueError(
        f"implementation={implementation!r} does not take this convolution: {refusals[-1][1]}; "
        "leave implementation=None for the best that does"
    )


def prefer(
    problem: ConvProblem, implementation: str | None, platform: str, portable: bool
) -> Lowering:
    """The named lowering where it takes the problem, else the best.

    For what derives from a call that named one: its gradients, its lowering on other platforms.
    """
    for lowering in LOWERINGS:
        named = lowering.name == implementation
        if named and _unsupported_reason(lowering, problem, platform, portable) is None:
            return lowering
    return choose(problem, None, platform, portable)[0]


def _unsupported_reason(
    lowering: Lowering, problem: ConvProblem, platform: str, portable: bool
) -> str | None:
    if portable and not lowering.portable:
        return "a program that is split over devices or exported needs operations of XLA alone"
    return lowering.unsupported_reason(problem, platform)
