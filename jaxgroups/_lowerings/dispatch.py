"""Which lowering computes a problem.

The choice is a pure function of the problem and the platform, made while JAX traces, so it can be
printed, tested and cached. Nothing is timed at run time.
"""

from typing import NamedTuple

import jax

from jaxgroups._lowerings import LOWERINGS, Lowering
from jaxgroups._lowerings import thresholds as rules
from jaxgroups._lowerings.views import View, view_of
from jaxgroups._problem.problem import ConvProblem


class Choice(NamedTuple):
    """The chosen lowering.

    Attributes:
      lowering, view: the lowering and its argument.
      refusals: (name, reason) of the lowerings before it in the table.
    """

    lowering: Lowering
    view: View | None
    refusals: tuple[tuple[str, str], ...] = ()


def names() -> tuple[str, ...]:
    """The values of the argument ``implementation=``, in order of preference."""
    return tuple(lowering.name for lowering in LOWERINGS)


def check_name(implementation: str | None) -> None:
    """Raise ValueError where `implementation` names no lowering."""
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
) -> Choice:
    """The named lowering, or the first in the table that supports the problem and is fast for it.

    Args:
      implementation: a name; None for the best lowering.
      platform: "cpu", "gpu", ...; None for JAX's default backend.
      portable: whether the program may contain operations of XLA only, because it is partitioned or
        exported.

    Raises:
      ValueError: an unknown `implementation`, or one that does not support the problem.
    """
    check_name(implementation)
    platform = platform or jax.default_backend()
    view = view_of(problem)
    if implementation is None:
        return _best(problem, view, platform, portable)
    lowering = _named(implementation)
    reason = _unsupported_reason(lowering, problem, view, platform, portable)
    if reason is None:
        return Choice(lowering, view)
    raise ValueError(
        f"implementation={implementation!r} does not take this convolution: {reason}; "
        "leave implementation=None for the best that does"
    )


def prefer(
    problem: ConvProblem,
    implementation: str | None,
    platform: str,
    portable: bool,
    packed: bool = False,
) -> Choice:
    """The named lowering if it supports the problem, else the best.

    This is for programs that derive from a call with an explicit implementation: its gradients, and
    its lowering on other platforms.

    Args:
      problem, implementation, platform, portable: as for `choose`.
      packed: whether the kernels get packed weights.
    """
    view = view_of(problem)
    if implementation is not None:
        lowering = _named(implementation)
        if _unsupported_reason(lowering, problem, view, platform, portable) is None:
            return Choice(lowering, view)
    return _best(problem, view, platform, portable, packed)


def _named(name: str) -> Lowering:
    return next(lowering for lowering in LOWERINGS if lowering.name == name)


def _best(
    problem: ConvProblem,
    view: View | None,
    platform: str,
    portable: bool,
    packed: bool = False,
) -> Choice:
    refusals: list[tuple[str, str]] = []
    *others, last = LOWERINGS
    for lowering in others:
        reason = _unsupported_reason(lowering, problem, view, platform, portable)
        if reason is None:
            reason = rules.slower_reason(view, lowering.name, platform, packed=packed)
        if reason is None:
            return Choice(lowering, view, tuple(refusals))
        refusals.append((lowering.name, reason))
    return Choice(last, view, tuple(refusals))


def _unsupported_reason(
    lowering: Lowering, problem: ConvProblem, view: View | None, platform: str, portable: bool
) -> str | None:
    if portable and not lowering.portable:
        return "a program that XLA splits or that is exported needs operations of XLA alone"
    return lowering.unsupported_reason(problem, view, platform)
