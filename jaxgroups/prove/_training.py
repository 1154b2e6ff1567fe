"""Training mode: outputs, statistics, and SGD steps."""

import copy
from typing import Any

import numpy as np

from jaxgroups.convert import Plan
from jaxgroups.prove import _torch_side as torch_side
from jaxgroups.prove._flax_side import FlaxSide, values
from jaxgroups.prove._inputs import Arrays, Spec, random
from jaxgroups.prove._layout import Layout
from jaxgroups.prove._mapping import Pair, pairs
from jaxgroups.prove._outputs import Locate, largest, ran, wrong_number
from jaxgroups.prove._result import Check, measured
from jaxgroups.prove._tolerance import Rounding, relative


def state(
    module: Any,
    flax: FlaxSide,
    arrays: Arrays,
    layout: Layout,
    plan: Plan,
    rounding: Rounding,
    locate: Locate,
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
    gap, allowed = largest(expected, actual, layout), rounding.gradient
    first = locate(arrays, allowed) if not gap <= allowed else ""
    checks = [measured("state", what, gap, allowed, first)]
    theirs = {name: t for name, t in torch_side.state(module).items() if name in buffers}
    tensors = [*pairs(plan, theirs, after)]
    error, name = _worst(tensors, allowed)
    checks.append(measured("state", f"{len(tensors)} buffers after a step", error, allowed, name))
    return checks


def steps(
    module: Any,
    flax: FlaxSide,
    specs: list[Spec],
    count: int,
    layout: Layout,
    plan: Plan,
    rounding: Rounding,
) -> list[Check]:
    """SGD steps from the same weights on the same data; the states of both modules change."""
    if not any(p.requires_grad for p in module.parameters()):
        return [Check("steps", "no parameters", "equal")]
    given = [random(specs, 10 + n) for n in range(count)]
    shapes = [y for y in torch_side.forward(copy.deepcopy(module), given[0]) if y.dtype.kind == "f"]
    ours = [y for y in flax.forward(given[0])[0] if np.issubdtype(y.dtype, np.floating)]
    rng = np.random.default_rng(5)
    targets = [
        [rng.standard_normal(y.shape) * max(float(np.abs(y).max(initial=0)), 1.0) for y in shapes]
        for _ in given
    ]
    in_flax = [
        [np.asarray(layout.output(t, o)) for t, o in zip(target, ours, strict=True)]
        for target in targets
    ]
    rate, theirs = torch_side.sgd(module, list(zip(given, targets, strict=True)), None)
    losses, error = ran(lambda: flax.sgd(list(zip(given, in_flax, strict=True)), rate))
    if error:
        return [Check("steps", f"{count} steps of SGD", "different", where=error)]
    allowed = rounding.steps(count)
    checks = []
    for number, (t, o) in enumerate(zip(theirs, losses, strict=True), 1):
        gap = relative(np.asarray(t), np.asarray(o))
        what = f"loss of step {number}: {t:.6g}"
        checks.append(measured("steps", what, gap, allowed, f"Flax's is {o:.6g}"))
    tensors = [*pairs(plan, torch_side.state(module), values(flax.params) | values(flax.rest))]
    gap, name = _worst(tensors, allowed)
    checks.append(measured("steps", f"{len(tensors)} tensors afterwards", gap, allowed, name))
    return checks


def _worst(tensors: list[Pair], allowed: float) -> tuple[float, str]:
    """The largest difference, and the first tensor that differs."""
    errors = [(relative(p.theirs, p.ours), f"{p.torch} ({p.flax})") for p in tensors]
    first = next((name for error, name in errors if not error <= allowed), "")
    return max((error for error, _ in errors), default=0.0), first
