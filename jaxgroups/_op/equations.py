"""The convolutions in a traced program, and the problem that each of them computes."""

from collections.abc import Iterator
from typing import Any

from jaxgroups._op.primitive import conv_p
from jaxgroups._problem.problem import ConvProblem
from jaxgroups._problem.view_ops import apply_views_to_aval


def convolutions(jaxpr: Any) -> Iterator[Any]:
    """Equations of `conv_p`, including those in inner jaxprs."""
    for eqn in jaxpr.eqns:
        if eqn.primitive is conv_p:
            yield eqn
        for inner in eqn.params.values():
            if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                yield from convolutions(getattr(inner, "jaxpr", inner))


def problem_in(eqn: Any) -> ConvProblem | None:
    """The problem of an equation of lax's primitive or of ours; None where a size is symbolic."""
    lhs, rhs = (v.aval for v in eqn.invars[:2])
    return ConvProblem.of(lhs, apply_views_to_aval(rhs, eqn.params.get("view_ops", ())), eqn.params)
