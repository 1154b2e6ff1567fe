"""Measures the thresholds of the choice: ``python -m benchmarks.thresholds [layers.csv ...]``.

A layer has three problems: forward, gradient of the weight, gradient of the input. Each problem is
timed with every lowering that supports it. The fit then changes one threshold at a time to
minimise the loss, which is the mean logarithm of the chosen lowering's time over the best one's.
It ends when no threshold changes. The thresholds of the other lowerings are fitted without the C++
kernels.

The thresholds are those of the instruction set of the kernels in use. ``JAXGROUPS_NATIVE=avx2``
measures the AVX2 kernels on a processor with AVX-512.
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
LONG = 2.0  # seconds: the time of a longer call is extrapolated, not measured
ANY = 1 << 30
POWERS = tuple(2**i for i in range(8))
CANDIDATES: dict[str, tuple[int, ...]] = {
    "native_channels": (0, *POWERS),
    "native_outputs": (0, *POWERS[:6]),
    "native_weights": (0, 1, 2, 3, 4, 6, 8, 16, ANY),
    "native_products": (1024, 2048, 4096, 8192, ANY),
    "shift_channels": tuple(range(1, 9)),
    "shift_groups": (2, 3, *POWERS[2:]),
    "shift_gradient_channels": tuple(range(1, 9)),
    "shift_gradient_groups": (2, 3, *POWERS[2:]),
    # 128 MiB would save another 0.4 % without kernels, but needs too much memory
    "matmul_patches": (0, *(2**i for i in range(18, 25))),
    "dense_outputs_1d": (16, 32, 64, 128, 256, ANY),
    "dense_outputs_2d": (16, 32, 64, 128, 256, ANY),
    "dense_phases": (0, 2, 4, 16),
    "dense_gradient_channels": (0, 4, 8, 16, 64, 256, ANY),
    "dense_idle_channels": (8, 16, 32, 64, ANY),
    "dense_product_channels": (0, 1, 4, 8, 16, 64, 256, ANY),
}
Measured = tuple[ConvProblem, Mapping[str, float]]


def problems(spec: ConvSpec) -> tuple[ConvProblem, ...]:
    """The PROBLEMS of a spec whose input is known."""
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
    """A call of a lowering on random numbers, compiled and called once."""
    rng = np.random.default_rng(0)
    operands = [
        jax.device_put(rng.standard_normal(shape).astype(problem.dtype))
        for shape in (problem.lhs_shape, problem.rhs_shape)
    ]
    run = jax.jit(partial(lowering.apply, problem, view_of(problem)))
    jax.block_until_ready(run(*operands))
    return lambda: jax.block_until_ready(run(*operands))


def supporting(problem: ConvProblem) -> list[Lowering]:
    """The lowerings that support a problem on CPU, in the order of the table."""
    view = view_of(problem)
    return [low for low in LOWERINGS if low.unsupported_reason(problem, view, "cpu") is None]


def measure(spec: ConvSpec, which: int, how: Rounds) -> Measured:
    """One of PROBLEMS and the seconds of each lowering; long calls of XLA are extrapolated."""
    problem = problems(spec)[which]
    supported = {low.name: low for low in supporting(problem)}
    seconds = guard.predicted_seconds(
        spec,
        "gradients" if which else "forward",
        lambda part: call_of(problems(part)[which], supported["xla"]),
    )
    predicted = {"xla": seconds} if seconds is not None and seconds > LONG else {}
    calls = {
        name: call_of(problem, low) for name, low in supported.items() if name not in predicted
    }
    timed = {name: of.seconds(how.statistic) for name, of in interleave(calls, how).items()}
    return problem, timed | predicted


def choice(problem: ConvProblem, times: Mapping[str, float], thresholds: rules.Thresholds) -> str:
    """The name of the lowering that would be chosen among the measured ones."""
    view = view_of(problem)
    for name in times:  # in the order of the table
        if rules.slower_reason(view, name, "cpu", thresholds) is None:
            return name
    raise ValueError("xla supports every problem, but it was not measured")


def loss(measured: Sequence[Measured], thresholds: rules.Thresholds) -> float:
    """Mean logarithm of the chosen lowering's time over the best one's."""
    return sum(
        math.log(times[choice(problem, times, thresholds)] / min(times.values()))
        for problem, times in measured
    ) / len(measured)


def without_kernels(measured: Iterable[Measured]) -> list[Measured]:
    return [(p, {n: t for n, t in times.items() if n != "native"}) for p, times in measured]


def fit(measured: Sequence[Measured], start: rules.Thresholds) -> rules.Thresholds:
    """The thresholds with the smallest loss. A threshold changes only if the loss decreases."""
    thresholds, changed = start, True
    views = {True: list(measured), False: without_kernels(measured)}
    while changed:
        changed = False
        for name, values in CANDIDATES.items():
            on = views[name.startswith("native")]
            best = min(values, key=lambda v: loss(on, replace(thresholds, **{name: v})))
            better = replace(thresholds, **{name: best})
            if loss(on, better) < loss(on, thresholds) - 1e-9:
                thresholds, changed = better, True
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
    now = rules.BY_ISA[rules.isa_in_use()]
    measured: list[Measured] = []
    for layer, spec in specs:
        for which, kind in enumerate(PROBLEMS):
            problem, times = measure(spec, which, how)
            measured.append((problem, times))
            taken = choice(problem, times, now)
            shown = "  ".join(f"{name} {1e3 * t:.3f}" for name, t in times.items())
            ratio = times[taken] / min(times.values())
            print(f"{layer.model} {spec} {kind}: {shown} ms; {taken}, {ratio:.2f}", flush=True)
    fitted = fit(measured, now)
    for title, of in (("with kernels", measured), ("without", without_kernels(measured))):
        before, after = (math.exp(loss(of, b)) for b in (now, fitted))
        print(f"{title}: the choice takes {before:.3f} times the best, fitted {after:.3f}")
    for name, value in asdict(fitted).items():
        old = getattr(now, name)
        print(f"{name} {value}" + (f" (was {old})" if old != value else ""))
    if args.write:
        on = machine.lines(machine.describe() | {"threads": machine.cores()})
        data = json.loads(rules.DATA.read_text(encoding="utf-8"))
        data[rules.isa_in_use()] = {"thresholds": asdict(fitted), "measured": "; ".join(on)}
        rules.DATA.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
