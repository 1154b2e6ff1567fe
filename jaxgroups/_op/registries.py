"""The convolutions in the registries of JAX's other interpreters, with the rules of lax's there.

Each interpreter below keeps its own table of primitives. `register` enters ours:

* checkify: ``float_checks`` looks for NaNs in the result.
* checkpoint: a policy is asked about lax's convolution, so that ``dots_saveable`` saves ours too.
* jet: Taylor series.
* sparse: ``sparsify``, where lax's convolution has a rule (one axis, one channel).
* roofline: operations and bytes.

The last two modules take long to import. They are entered when a convolution is traced after the
program has imported them.

XLA's ``cost_analysis`` has no such table: a call of the C++ kernels counts -1 there.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from jax.experimental import jet

from jaxgroups._problem import jax_private as private
from jaxgroups._problem.problem import widened
from jaxgroups._problem.view_ops import apply_views, apply_views_to_aval
from jaxgroups._problem.xla_conv import LAX_P

_SPARSE, _ROOFLINE = "jax.experimental.sparse.transform", "jax.experimental.roofline.rooflines"
_late: list[tuple[str, Callable[[], None]]] = []  # what enters primitives once a module is loaded


def register(conv_p: Any, biased_p: Any, plus: Callable[..., Any]) -> None:
    """Enter both primitives in every registry.

    Args:
      plus: ``(y, params, bias)`` -> the result plus a bias along its channel axis.
    """
    for ours in (conv_p, biased_p):
        private.check_for_nans(ours)
        private.ask_policy(ours, _asked)
    bilinear = partial(jet.jet_rules[LAX_P].func, conv_p)
    jet.jet_rules[conv_p] = bilinear
    jet.jet_rules[biased_p] = partial(_biased_series, bilinear, plus)
    _late.append((_SPARSE, lambda: _enter_sparse(conv_p, biased_p, plus)))
    _late.append((_ROOFLINE, lambda: _enter_roofline(conv_p, biased_p)))
    enter_loaded()


def register_fused(
    fused_p: Any, of_conv: Callable[[dict], dict], composed: Callable[..., Any]
) -> None:
    """Enter the convolution with an epilogue in every registry.

    Args:
      of_conv: from its parameters to those of the convolution.
      composed: ``(*operands, **params)`` -> the same of other primitives.
    """

    def asked(lhs: Any, rhs: Any, *_: Any, **params: Any) -> tuple[Any, tuple[Any, Any], dict]:
        return _asked(lhs, rhs, **of_conv(params))

    def series(primals: Any, terms: Any, **params: Any) -> Any:
        return jet.jet(partial(composed, **params), primals, terms)

    private.check_for_nans(fused_p)
    private.ask_policy(fused_p, asked)
    jet.jet_rules[fused_p] = series
    _late.append((_SPARSE, lambda: private.sparsify_as(fused_p, composed)))
    _late.append((_ROOFLINE, lambda: private.roofline_as(fused_p, LAX_P, asked)))
    enter_loaded()


def enter_loaded() -> None:
    """Enter the primitives in the registries of modules that the program has imported since."""
    for entry in [entry for entry in _late if entry[0] in sys.modules]:
        _late.remove(entry)
        entry[1]()


def _of_lax(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters of lax's primitive among those of ours."""
    return {k: v for k, v in params.items() if k not in ("implementation", "view_ops")}


def _asked(lhs: Any, rhs: Any, *bias: Any, **params: Any) -> tuple[Any, tuple[Any, Any], dict]:
    """What a checkpoint policy is asked about: lax's primitive, types and parameters."""
    return LAX_P, (lhs, apply_views_to_aval(rhs, params["view_ops"])), _of_lax(params)


def _biased_series(
    bilinear: Callable[..., Any], plus: Callable[..., Any], primals: Any, series: Any, **params: Any
) -> tuple[Any, list[Any]]:
    """The Taylor series of a biased convolution: a bias is added to each coefficient."""
    (*both, bias), (*both_series, of_bias) = primals, series
    y, coefficients = bilinear(both, both_series, **widened(params, bias.dtype))
    added = [plus(c, params, b) for c, b in zip(coefficients, of_bias, strict=True)]
    return plus(y, params, bias).astype(bias.dtype), [a.astype(bias.dtype) for a in added]


def _enter_sparse(conv_p: Any, biased_p: Any, plus: Callable[..., Any]) -> None:
    def by_lax(lhs: Any, rhs: Any, *bias: Any, **params: Any) -> Any:
        of_lax = _of_lax(widened(params, bias[0].dtype) if bias else params)
        y = LAX_P.bind(lhs, apply_views(rhs, params["view_ops"]), **of_lax)
        return plus(y, params, *bias).astype(bias[0].dtype) if bias else y

    for ours in (conv_p, biased_p):
        private.sparsify_as(ours, by_lax)


def _enter_roofline(conv_p: Any, biased_p: Any) -> None:
    def avals(lhs: Any, rhs: Any, *bias: Any, **params: Any) -> tuple[Any, Any, dict[str, Any]]:
        return lhs, apply_views_to_aval(rhs, params["view_ops"]), _of_lax(params)

    for ours in (conv_p, biased_p):
        private.roofline_as(ours, LAX_P, avals)
