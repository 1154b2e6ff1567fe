"""State and behaviour in training mode: outputs, statistics, and steps of SGD."""

from typing import Any

import numpy as np

from jaxgroups.convert import Plan
from jaxgroups.prove import _torch_side as torch_side
from jaxgroups.prove._flax_side import FlaxSide, values
from jaxgroups.prove._inputs import Arrays, Spec, random
from jaxgroups.prove._layout import Layout
from jaxgroups.prove._mapping import Pair, pairs
from jaxgroups.prove._outputs import Where, largest, ran, wrong_number
from jaxgroups.prove._result import Check, measured
from jaxgroups.prove._tolerance import Rounding, relative


def state(
    module: Any, flax: FlaxSide, arrays: Arrays, layout: Layout, plan: Plan, r: Rounding, at: Where
) -> list[Check]:
    """Outputs in training mode, and the buffers after the call; torch's module changes."""
    buffers = dict(module.named_buffers(remove_duplicate=False))
    expected = torch_side.forward(module, arrays)
    found, error = ran(lambda: flax.forward(arrays))
    what = "outputs in training mode"
    if error:
        return [Check("state", what, "different", where=error)]
    actual, after = found
    if problem := wrong_number(expected, actual):
        return [Check("state", what, "different", where=problem)]
    gap, allowed = largest(expected, actual, layout), r.gradient
    first = at(arrays, allowed) if not gap <= allowed else ""
    checks = [measured("state", what, gap, allowed, first)]
    theirs = {name: t for name, t in torch_side.state(module).items() if name in buffers}
    made = [*pairs(plan, theirs, after)]
    error, name = _worst(made, allowed)
    checks.append(measured("state", f"{len(made)} buffers after a step", error, allowed, name))
    return checks


def steps(
    module: Any, flax: FlaxSide, specs: list[Spec], count: int, layout: Layout, plan: Plan,
    r: Rounding,
) -> list[Check]:  # fmt: skip
    """Steps of SGD from the same weights on the same data; both sides' states change."""
    if not any(p.requires_grad for p in module.parameters()):
        return [Check("steps", "no parameters", "equal")]
    given = [random(specs, 10 + n) for n in range(count)]
    shapes = [y for y in torch_side.forward(_still(module), given[0]) if y.dtype.kind == "f"]
    ours = [y for y in flax.forward(given[0])[0] if np.issubdtype(y.dtype, np.floating)]
    rng = np.random.default_rng(5)
    goals = [
        [rng.standard_normal(y.shape) * max(float(np.abs(y).max(initial=0)), 1.0) for y in shapes]
        for _ in given
    ]
    moved = [[np.asarray(layout.output(g, o)) for g, o in zip(goal, ours, strict=True)]
             for goal in goals]  # fmt: skip
    rate, theirs = torch_side.sgd(module, list(zip(given, goals, strict=True)), None)
    losses, error = ran(lambda: flax.sgd(list(zip(given, moved, strict=True)), rate))
    if error:
        return [Check("steps", f"{count} steps of SGD", "different", where=error)]
    allowed = r.steps(count)
    checks = []
    for number, (t, o) in enumerate(zip(theirs, losses, strict=True), 1):
        gap = relative(np.asarray(t), np.asarray(o))
        what = f"loss of step {number}: {t:.6g}"
        checks.append(measured("steps", what, gap, allowed, f"Flax's is {o:.6g}"))
    made = [*pairs(plan, torch_side.state(module), values(flax.params) | values(flax.rest))]
    gap, name = _worst(made, allowed)
    checks.append(measured("steps", f"{len(made)} tensors afterwards", gap, allowed, name))
    return checks


def _still(module: Any) -> Any:
    """A copy that may change."""
    import copy

    return copy.deepcopy(module)


def _worst(made: list[Pair], allowed: float) -> tuple[float, str]:
    """The largest difference, and the first tensor that differs."""
    errors = [(relative(p.theirs, p.ours), f"{p.torch} ({p.flax})") for p in made]
    first = next((name for error, name in errors if not error <= allowed), "")
    return max((error for error, _ in errors), default=0.0), first
