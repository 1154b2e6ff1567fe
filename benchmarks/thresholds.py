"""The thresholds of the chooser, measured: ``python -m benchmarks.thresholds [layers.csv ...]``.

Every layer gives three problems: forward, gradient of the weight, gradient of the input. Each is
timed with every lowering that takes it. Then the thresholds are moved, one at a time, to where the
choice loses least against the best lowering of each problem (the mean of the logarithms of the
ratios), until none moves. Those without compiled kernels are fitted without them.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import guard, machine, table
from benchmarks.timing import Rounds, interleave
from jaxgroups import ConvSpec
from jaxgroups._lowerings import LOWERINGS, Lowering
from jaxgroups._lowerings import thresholds as rules
from jaxgroups._lowerings.views import view_of
from jaxgroups._op import primitive
from jaxgroups._op.equations import convolutions, problem_in
from jaxgroups._problem.problem import ConvProblem, problem_of

PROBLEMS = ("forward", "weight", "input")
LONG = 2.0  # seconds: a call that is reckoned, not made
POWERS = tuple(2**i for i in range(8))
CANDIDATES: dict[str, tuple[int, ...]] = {
    "native_channels": (0, *POWERS),
    "native_outputs": (0, *POWERS[:6]),
    "native_weights": (0, 1, 2, 3, 4, 6, 8, 16, 1 << 30),
    "shift_channels": tuple(range(1, 9)),
    "shift_groups": (2, 3, *POWERS[2:]),
    "shift_gradient_channels": tuple(range(1, 9)),
    "shift_gradient_groups": (2, 3, *POWERS[2:]),
    # 128 MiB would win another 0.4 % without kernels: not worth so much memory
    "matmul_patches": (0, *(2**i for i in range(18, 25))),
}
Measured = tuple[ConvProblem, Mapping[str, float]]


def problems(spec: ConvSpec) -> tuple[ConvProblem, ...]:
    """Those of PROBLEMS, of a spec with its input."""
    problem = problem_of(spec)
    lhs, rhs = (
        jax.ShapeDtypeStruct(shape, problem.dtype)
        for shape in (problem.lhs_shape, problem.rhs_shape)
    )
    of = partial(primitive.compute, problem, implementation=None)

    def gradients(lhs: Any, rhs: Any, ct: Any) -> Any:
        return jax.vjp(of, lhs, rhs)[1](ct)

    jaxpr = jax.make_jaxpr(gradients)(lhs, rhs, jax.eval_shape(of, lhs, rhs)).jaxpr
    found = [problem_in(eqn) for eqn in convolutions(jaxpr)]
    derived = [other for other in found if other is not None and other != problem]
    return (problem, *derived)


def call_of(problem: ConvProblem, lowering: Lowering) -> Callable[[], object]:
    """A problem on random numbers, compiled and called once."""
    rng = np.random.default_rng(0)
    operands = [
        jax.device_put(rng.standard_normal(shape).astype(problem.dtype))
        for shape in (problem.lhs_shape, problem.rhs_shape)
    ]
    run = jax.jit(partial(lowering.apply, problem))
    jax.block_until_ready(run(*operands))
    return lambda: jax.block_until_ready(run(*operands))


def supporting(problem: ConvProblem) -> list[Lowering]:
    """The lowerings that support a problem on CPU, in the order of the table."""
    view = view_of(problem)
    return [low for low in LOWERINGS if low.unsupported_reason(problem, view, "cpu") is None]


def measure(spec: ConvSpec, which: int, how: Rounds) -> Measured:
    """One of PROBLEMS and the seconds of the lowerings that take it; XLA's minutes are reckoned."""
    problem = problems(spec)[which]
    taking = {low.name: low for low in supporting(problem)}
    foreseen = guard.foreseen(
        spec,
        "gradients" if which else "forward",
        lambda part: call_of(problems(part)[which], taking["xla"]),
    )
    reckoned = {"xla": foreseen} if foreseen is not None and foreseen > LONG else {}
    calls = {name: call_of(problem, low) for name, low in taking.items() if name not in reckoned}
    timed = {name: of.seconds(how.statistic) for name, of in interleave(calls, how).items()}
    return problem, timed | reckoned


def choice(problem: ConvProblem, times: Mapping[str, float], thresholds: rules.Thresholds) -> str:
    """The name that the chooser would take of those measured."""
    view = view_of(problem)
    for name in times:  # in the order of the table
        if rules.slower_reason(view, name, "cpu", thresholds) is None:
            return name
    raise ValueError("xla takes all, and was not measured")


def loss(measured: Sequence[Measured], thresholds: rules.Thresholds) -> float:
    """Mean logarithm of the chosen lowering's time over the best one's."""
    return sum(
        math.log(times[choice(problem, times, thresholds)] / min(times.values()))
        for problem, times in measured
    ) / len(measured)


def without_kernels(measured: Iterable[Measured]) -> list[Measured]:
    return [(p, {n: t for n, t in times.items() if n != "native"}) for p, times in measured]


def fit(measured: Sequence[Measured], start: rules.Thresholds) -> rules.Thresholds:
    """The thresholds that lose least. A threshold moves only where that gains something."""
    thresholds, moved = start, True
    views = {True: list(measured), False: without_kernels(measured)}
    while moved:
        moved = False
        for name, values in CANDIDATES.items():
            on = views[name.startswith("native")]
            best = min(values, key=lambda v: loss(on, replace(thresholds, **{name: v})))
            better = replace(thresholds, **{name: best})
            if loss(on, better) < loss(on, thresholds) - 1e-9:
                thresholds, moved = better, True
    return thresholds


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.thresholds", description=__doc__)
    parser.add_argument("tables", nargs="*", type=Path, default=list(table.OWN))
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--match", metavar="REGEX")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget", type=float, default=0.5, metavar="SECONDS")
    parser.add_argument("--write", action="store_true", help=f"into {rules.DATA.name}")
    args = parser.parse_args(argv)
    how = Rounds(rounds=args.rounds, budget=args.budget)
    layers = [la for path in args.tables for la in table.read(path) if la.matches(args.match)]
    specs = chain.from_iterable(
        ((la, la.problem(n)) for n in la.batches(args.batch)) for la in layers
    )
    measured: list[Measured] = []
    for layer, spec in specs:
        for which, kind in enumerate(PROBLEMS):
            problem, times = measure(spec, which, how)
            measured.append((problem, times))
            taken = choice(problem, times, rules.THRESHOLDS)
            shown = "  ".join(f"{name} {1e3 * t:.3f}" for name, t in times.items())
            worse = times[taken] / min(times.values())
            print(f"{layer.model} {spec} {kind}: {shown} ms; {taken}, {worse:.2f}", flush=True)
    fitted = fit(measured, rules.THRESHOLDS)
    for title, of in (("with kernels", measured), ("without", without_kernels(measured))):
        before, after = (math.exp(loss(of, b)) for b in (rules.THRESHOLDS, fitted))
        print(f"{title}: the choice takes {before:.3f} times the best, fitted {after:.3f}")
    for name, value in asdict(fitted).items():
        old = getattr(rules.THRESHOLDS, name)
        print(f"{name} {value}" + (f" (was {old})" if old != value else ""))
    if args.write:
        on = machine.lines(machine.describe() | {"threads": machine.cores()})
        data = {"thresholds": asdict(fitted), "measured": "; ".join(on)}
        rules.DATA.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
