"""The interface of a lowering."""

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

    Both functions get the problem and its view (None where the problem has none), which `dispatch`
    computes once.

    Attributes:
      name: its name as the argument ``implementation=``.
      summary: one line for `jaxgroups.explain`.
      unsupported_reason: ``(problem, view, platform)`` -> None where the lowering supports the
        problem, else the reason as text.
      apply: ``(problem, view, lhs, rhs, weights=None, bias=None)`` -> the result, in the axes of
        the problem. `weights` and `bias` are passed only where `reads_views` is set.
      portable: whether the lowering emits operations of XLA only, which XLA can partition over
        devices and export.
      reads_views: whether `apply` can read the weights of a `Forward` view from another array, at
        the strides that `weights` gives, and add `bias`, one number for each output channel.
      fuses: whether `apply` of a `Forward` view also takes ``fused``, a `Fused`.
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
    """The operations that a kernel computes after a convolution and a bias, and packed weights.

    Attributes:
      epilogue: the activation, and where the residual is added.
      residual: an array like the result; None without one.
      packed: packed weights, which are read in place of the right operand; None without them.
      layout: the number of the layout of `packed`.
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
    """A lowering that computes the channels-last views of `views`.

    Args:
      name, summary, portable, reads_views, fuses: as in `Lowering`.
      unsupported_reason: ``view`` -> None, or the reason.
      apply: ``(view, x, w)`` -> y for a `Forward` view, ``(view, x, y)`` -> w for a
        `WeightGradient` view. With `reads_views` the arguments of a `Forward` view are
        ``(view, x, array, weights, bias)``, with `fuses` followed by an optional `Fused`.
      platforms: the platforms that the lowering runs on; None for all.
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
