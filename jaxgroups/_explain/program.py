"""What a traced program computes outside the recorded calls and inside, and how often they run.

Only matrix products and convolutions are counted. The body of a scan counts once an iteration, a
conditional as its most expensive branch, a loop of unknown length once.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Any

from jaxgroups._explain import costs
from jaxgroups._explain.record import SCOPE
from jaxgroups._op.equations import problem_in
from jaxgroups._problem.problem import ConvProblem

CONVOLUTION, PRODUCT = "convolution", "matrix product"


@dataclass
class Outside:
    """Multiply-adds by the kind of operation: all, and those that meet no padding."""

    counts: Counter[str] = field(default_factory=Counter)
    macs: Counter[str] = field(default_factory=Counter)
    inside: Counter[str] = field(default_factory=Counter)
    runs: Counter[int] = field(default_factory=Counter)  # of each noted call
    within: Counter[int] = field(default_factory=Counter)  # multiply-adds of each noted call

    def add(self, other: "Outside") -> None:
        for name in ("counts", "macs", "inside", "runs", "within"):
            getattr(self, name).update(getattr(other, name))


def outside(program: Any) -> Outside:
    """The sums over a closed jaxpr."""
    found = Outside()
    _walk(program.jaxpr, 1, found)
    return found


def _walk(jaxpr: Any, times: int, found: Outside) -> None:
    for equation in jaxpr.eqns:
        call = _noted(equation)
        if call is None:
            _count_equation(equation, times, found)
            continue
        found.runs[call] = max(found.runs[call], times)
        within = Outside()
        _count_equation(equation, times, within)
        found.within[call] += within.macs.total() + within.within.total()


def _count_equation(equation: Any, times: int, found: Outside) -> None:
    name, params = equation.primitive.name, equation.params
    if "feature_group_count" in params:  # lax's or jaxgroups': both have lax's parameters
        problem = _problem(equation)
        outputs = prod(equation.outvars[0].aval.shape)
        _, reads, *kernel = (problem.rhs_shape[i] for i in problem.dimension_numbers[1])
        _count(found, CONVOLUTION, times, outputs * reads * prod(kernel), costs.products(problem))
    elif name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        macs = prod(equation.outvars[0].aval.shape) * prod(shape[i] for i in contracted)
        _count(found, PRODUCT, times, macs, macs)
    elif name == "cond":
        branches = [Outside() for _ in params["branches"]]
        for branch, sums in zip(params["branches"], branches, strict=True):
            _walk(branch.jaxpr, times, sums)
        found.add(max(branches, key=lambda sums: sums.macs.total()))
    else:
        length = params["length"] if name == "scan" else 1
        for inner in _inner(params.values()):
            _walk(inner, times * length, found)


def _count(found: Outside, name: str, times: int, macs: int, inside: int) -> None:
    found.counts[name] += times
    found.macs[name] += macs * times
    found.inside[name] += inside * times


def _noted(equation: Any) -> int | None:
    """The number of the layer's call that an equation belongs to."""
    scope = str(equation.source_info.name_stack)
    at = scope.find(SCOPE)
    if at < 0:
        return None
    digits = scope[at + len(SCOPE) :]
    end = next((i for i, c in enumerate(digits) if not c.isdigit()), len(digits))
    return int(digits[:end])


def _inner(values: Any) -> Iterator[Any]:
    for value in values:
        if hasattr(value, "eqns"):
            yield value
        elif hasattr(value, "jaxpr"):
            yield value.jaxpr
        elif isinstance(value, tuple | list):
            yield from _inner(value)


def _problem(equation: Any) -> ConvProblem:
    problem = problem_in(equation)
    if problem is None:
        raise ValueError("a convolution of symbolic size cannot be counted")
    return problem
