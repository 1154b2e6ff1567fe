"""Gradients of a random linear functional of the outputs, for every parameter and input."""

from typing import Any

import numpy as np

from jaxgroups.convert import Plan
from jaxgroups.prove import _torch_side as torch_side
from jaxgroups.prove._flax_side import FlaxSide
from jaxgroups.prove._inputs import Arrays
from jaxgroups.prove._layout import Layout
from jaxgroups.prove._mapping import pairs
from jaxgroups.prove._outputs import ran
from jaxgroups.prove._result import Check, measured
from jaxgroups.prove._tolerance import Rounding, relative

FLOOR = 1e-3  # of the largest gradient: smaller gradients are measured relative to this


def gradients(
    module: Any, flax: FlaxSide, arrays: Arrays, layout: Layout, plan: Plan, rounding: Rounding
) -> list[Check]:
    """The checks of the parameters and of the inputs, in evaluation mode and float64."""
    outputs = [y for y in torch_side.forward(module, arrays) if y.dtype.kind == "f"]
    ours = [y for y in flax.forward(arrays)[0] if y.dtype.kind in "fV"]
    rng = np.random.default_rng(4)
    weights = [rng.standard_normal(y.shape) for y in outputs]
    in_flax = [np.asarray(layout.output(w, o)) for w, o in zip(weights, ours, strict=True)]
    theirs, their_inputs = torch_side.gradients(module, arrays, weights)
    computed, error = ran(lambda: flax.gradients(arrays, in_flax))
    if error:
        return [Check("gradients", "parameters", "different", where=error)]
    by_name, by_input = computed
    allowed = rounding.gradient
    floor = FLOOR * max((float(np.abs(g).max(initial=0)) for g in theirs.values()), default=0.0)
    errors = [
        (relative(p.theirs, p.ours, floor), f"{p.torch} ({p.flax})")
        for p in pairs(plan, theirs, by_name)
    ]
    checks = []
    if errors:
        # an error propagates to all parameters before it, so the last one is the nearest
        bad = [name for error, name in errors if not error <= allowed]
        worst = max(error for error, _ in errors)
        what = f"{len(errors)} parameters"
        checks.append(measured("gradients", what, worst, allowed, bad[-1] if bad else ""))
    for number, (t, o) in enumerate(zip(their_inputs, by_input, strict=True)):
        if t is not None:
            what = "input" if len(arrays) == 1 else f"input {number}"
            checks.append(measured("gradients", what, relative(t, o), allowed, what))
    if not checks:
        checks.append(Check("gradients", "no parameter, no input of real numbers", "equal"))
    return checks
