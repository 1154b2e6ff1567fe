"""What a lowering is: a name, a reason to refuse, and a function of two arrays."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import jax

from jaxgroups._lowerings.views import Forward, View, Weights, arrange, restore, view_of, weights_of
from jaxgroups._problem.problem import ConvProblem
from jaxgroups._problem.strides import Strides


@dataclass(frozen=True)
class Lowering:
    """One way to compute a `ConvProblem` with XLA.

    ``unsupported_reason(problem, platform)`` is None where it takes the problem, else the reason,
    for a person to read. ``apply(problem, lhs, rhs)`` gets arrays of the problem's shapes.
    `portable`: it emits operations of XLA alone, which XLA can split over several devices, and
    which run wherever an exported program runs.

    Where ``weights(problem, strides)`` is there and tells where the weights stand in an array of
    which the right operand is a rearrangement, ``apply(problem, lhs, array, weights)`` reads that,
    and may get a bias as well, one number for each channel of the result.
    """

    name: str
    summary: str
    unsupported_reason: Callable[[ConvProblem, str], str | None]
    apply: Callable[..., jax.Array]
    portable: bool = True
    weights: Callable[[ConvProblem, Strides], Weights | None] | None = None


def accumulator(view: View) -> str:
    """The dtype that sums are kept in: float32 for the 16-bit floats, else that of the result."""
    return "float32" if view.result in ("float16", "bfloat16") else view.result


def on_views(
    name: str,
    summary: str,
    unsupported_reason: Callable[[View], str | None],
    apply: Callable[..., jax.Array],
    platforms: tuple[str, ...] | None = None,
    portable: bool = True,
    any_order: bool = False,
) -> Lowering:
    """A lowering that is written on the channels-last views of `_views`.

    `apply` gets (x, w) of a `Forward` view and (x, y) of a `WeightGradient` view, and returns the
    third array, of dtype ``view.result``. `platforms`: where it runs, None for everywhere.
    `any_order`: of a `Forward` view it gets (x, array, weights), finds w in the array, and adds a
    bias where it gets one.
    """

    def weights(problem: ConvProblem, strides: Strides) -> Weights | None:
        view = view_of(problem)
        return weights_of(problem, view, strides) if isinstance(view, Forward) else None

    def refuse(problem: ConvProblem, platform: str) -> str | None:
        if platforms is not None and platform not in platforms:
            return f"runs on {' and '.join(platforms)} only"
        if not problem.window_strides:
            return "no spatial axes"
        if 0 in problem.lhs_shape or 0 in problem.rhs_shape:
            return "an operand is empty"
        view = view_of(problem)
        if view is None:
            return "both operands are dilated"
        if 0 in (*view.out, *view.kernel):
            return "the result is empty"
        return unsupported_reason(view)

    def compute(
        problem: ConvProblem,
        lhs: jax.Array,
        rhs: jax.Array,
        found: Weights | None = None,
        *bias: jax.Array,
    ) -> jax.Array:
        view = cast(View, view_of(problem))  # unsupported_reason has seen to it
        if any_order and found is None:
            found = weights(problem, Strides.of(rhs.shape))
        where = () if found is None else (found,)
        result = apply(view, *arrange(problem, view, lhs, rhs, *where), *where, *bias)
        return restore(problem, view, result.astype(view.result))

    return Lowering(name, summary, refuse, compute, portable, weights if any_order else None)
