"""Outputs in evaluation mode, on every input, in float64 and in float32."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxgroups.prove import _torch_side as torch_side
from jaxgroups.prove._flax_side import FlaxSide, Values, values
from jaxgroups.prove._inputs import Arrays
from jaxgroups.prove._layout import Layout
from jaxgroups.prove._result import Check, measured
from jaxgroups.prove._tolerance import Rounding, relative

Locate = Callable[[Arrays, float], str]  # the first module that differs, for a tolerance


def outputs(
    module: Any,
    flax: FlaxSide,
    given: dict[str, Arrays],
    layout: Layout,
    rounding: Rounding,
    locate: Locate,
) -> list[Check]:
    """A check for each input, in float64."""
    checks, before, changed = [], values(flax.rest), ""
    for name, arrays in given.items():
        theirs = torch_side.forward(module, arrays)
        ours, error = ran(lambda arrays=arrays: flax.forward(arrays))
        what = f"{name} {_shapes(arrays)}"
        if error:
            checks.append(Check("outputs", what, "different", where=error))
            continue
        actual, after = ours
        changed = changed or _changed(before, after)
        if problem := wrong_number(theirs, actual):
            checks.append(Check("outputs", what, "different", where=problem))
            continue
        error = largest(theirs, actual, layout)
        allowed = rounding.float64
        first = locate(arrays, allowed) if not error <= allowed else ""
        checks.append(measured("outputs", what, error, allowed, first))
    if changed:
        checks.append(Check("outputs", "state after evaluation", "different", where=changed))
    return checks


def in_float32(
    wide: Any,
    module: Any,
    flax: FlaxSide,
    given: dict[str, Arrays],
    layout: Layout,
    rounding: Rounding,
    locate: Locate,
) -> list[Check]:
    """A check for each input; the reference is `wide`, the torch module in float64."""
    checks = []
    for name, arrays in given.items():
        what = f"{name} {_shapes(arrays)} in float32"
        narrow = [a.astype("float32") if a.dtype.kind == "f" else a for a in arrays]
        same = [a.astype("float64") if a.dtype.kind == "f" else a for a in narrow]
        exact = torch_side.forward(wide, same)
        theirs = torch_side.forward(module, narrow)
        ours, error = ran(lambda narrow=narrow: flax.forward(narrow))
        problem = error or wrong_number(theirs, ours[0])
        if problem:
            checks.append(Check("outputs", what, "different", where=problem))
            continue
        torch_error = max((relative(e, t) for e, t in zip(exact, theirs, strict=True)), default=0.0)
        if not np.isfinite(torch_error):  # torch overflows: Flax must give the same
            exact, torch_error = theirs, 0.0
        gap, allowed = largest(exact, ours[0], layout), rounding.float32(torch_error)
        first = (locate(arrays, allowed) or "only in float32") if not gap <= allowed else ""
        checks.append(measured("outputs", what, gap, allowed, first))
    return checks


def largest(theirs: list[np.ndarray], ours: list[np.ndarray], layout: Layout) -> float:
    """The largest difference of all outputs."""
    each = (relative(layout.output(t, o), o) for t, o in zip(theirs, ours, strict=True))
    return max(each, default=0.0)


def wrong_number(theirs: list[np.ndarray], ours: list[np.ndarray]) -> str:
    """A message if the numbers of outputs differ; otherwise empty."""
    if len(theirs) == len(ours) and theirs:
        return ""
    return f"torch returns {len(theirs)} arrays, Flax {len(ours)}"


def ran(call: Callable[[], Any]) -> tuple[Any, str]:
    """The result of a call of the Flax module, and a message if it raised an error."""
    try:
        return call(), ""
    except Exception as error:  # a user's module may raise anything
        first = str(error).strip().split("\n")[0]
        return None, f"the Flax module raises {type(error).__name__}: {first}"


def _changed(before: Values, after: Values) -> str:
    """A message if a call in evaluation mode changed the state; otherwise empty."""
    for name, value in before.items():
        if name in after and not np.array_equal(after[name], value):
            return f"{name} changes in evaluation mode in Flax"
    return ""


def _shapes(arrays: Arrays) -> str:
    return " ".join("x".join(map(str, a.shape)) for a in arrays)
