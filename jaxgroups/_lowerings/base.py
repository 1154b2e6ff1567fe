"""What a lowering is: a name, a reason not to support a problem, and a function of two arrays."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax

from jaxgroups._lowerings.views import (
    Forward,
    View,
    Weights,
    arrange,
    arrange_result,
    restore,
    weights_of,
)
from jaxgroups._problem.problem import ConvProblem
from jaxgroups._problem.strides import Strides
from jaxgroups._spec.epilogue import Epilogue


@dataclass(frozen=True, kw_only=True)
class Lowering:
    """One way to compute a `ConvProblem` with XLA.

    Both functions get the problem and its view, which `dispatch` computes once (None where the
    problem has no view).

    Attributes:
      name: what ``implementation=`` takes.
      summary: one line for `jaxgroups.explain`.
      unsupported_reason: ``(problem, view, platform)`` -> None where the lowering supports the
        problem, else the reason, for a person to read.
      apply: ``(problem, view, lhs, rhs, weights=None, bias=None)`` -> the result, in the axes of
        the problem. `weights` and `bias` are passed only where `reads_views` is set.
      portable: the lowering emits operations of XLA only, which XLA can split over several
        devices and which run wherever an exported program runs.
      fuses: where there are views, `apply` takes ``fused`` too: what follows the convolution.
      reads_views: `apply` can read the weights of a `Forward` view from another array, at the
        strides that `weights` gives, and then adds `bias` (channels of the result,) if there is
        one.
    """

    name: str
    summary: str
    unsupported_reason: Callable[[ConvProblem, View | None, str], str | None]
    apply: Callable[..., jax.Array]
    portable: bool = True
    reads_views: bool = False
    fuses: bool = False


@dataclass(frozen=True)
class Fused:
    """What a kernel computes besides a convolution and a bias.

    Attributes:
      epilogue: the activation, and where the residual is added.
      residual: an array like the result; None without one.
      packed: the weights, packed once into `layout`; they are read in place of the right operand.
    """

    epilogue: Epilogue
    residual: jax.Array | None = None
    packed: jax.Array | None = None
    layout: int = 0


def on_views(
    *,
    name: str,
    summary: str,
    unsupported_reason: Callable[[View], str | None],
    apply: Callable[..., jax.Array],
    platforms: tuple[str, ...] | None = None,
    portable: bool = True,
    reads_views: bool = False,
    fuses: bool = False,
) -> Lowering:
    """A lowering that is written on the channels-last views of `views`.

    Args:
      unsupported_reason: as in `Lowering`, of a view.
      apply: ``(view, x, w)`` of a `Forward` view, ``(view, x, y)`` of a `WeightGradient` view;
        returns the third array. With `reads_views` a `Forward` view comes as
        ``(view, x, array, weights, bias)``, with `fuses` as
        ``(view, x, array, weights, bias, fused)``.
      platforms: where the lowering runs, None for everywhere.
    """

    def supported(problem: ConvProblem, view: View | None, platform: str) -> str | None:
        if platforms is not None and platform not in platforms:
            return f"runs on {' and '.join(platforms)} only"
        if not problem.window_strides:
            return "no spatial axes"
        if 0 in problem.lhs_shape or 0 in problem.rhs_shape:
            return "an operand is empty"
        if view is None:
            return "both operands are dilated"
        if 0 in (*view.out, *view.kernel):
            return "the result is empty"
        return unsupported_reason(view)

    def compute(
        problem: ConvProblem,
        view: View,
        lhs: jax.Array,
        rhs: jax.Array,
        weights: Weights | None = None,
        bias: jax.Array | None = None,
        fused: Fused | None = None,
    ) -> jax.Array:
        if not reads_views or not isinstance(view, Forward):
            result = apply(view, *arrange(problem, view, lhs, rhs))
        else:
            weights = weights or weights_of(problem, view, Strides.of(rhs.shape))
            x, array = arrange(problem, view, lhs, rhs, weights)
            more = ()
            if fused is not None:
                residual = fused.residual
                if residual is not None:
                    residual = arrange_result(problem, residual)
                more = (replace(fused, residual=residual),)
            result = apply(view, x, array, weights, bias, *more)
        return restore(problem, view, result.astype(view.result))

    return Lowering(
        name=name,
        summary=summary,
        unsupported_reason=supported,
        apply=compute,
        portable=portable,
        reads_views=reads_views,
        fuses=fuses,
    )
