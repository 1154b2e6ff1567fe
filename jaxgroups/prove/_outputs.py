"""Outputs: in evaluation mode, on every input, in float64 and in float32."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxgroups.prove import _torch_side as torch_side
from jaxgroups.prove._flax_side import FlaxSide, Values, values
from jaxgroups.prove._inputs import Arrays
from jaxgroups.prove._layout import Layout
from jaxgroups.prove._result import Check, measured
from jaxgroups.prove._tolerance import Rounding, relative

Where = Callable[[Arrays, float], str]


def outputs(
    module: Any,
    flax: FlaxSide,
    given: dict[str, Arrays],
    layout: Layout,
    rounding: Rounding,
    where: Where,
) -> list[Check]:
    """A check for each input, in float64.

    Args:
      where: names the first module that differs on an input, for a tolerance.
    """
    found, kept, changed = [], values(flax.rest), ""
    for name, arrays in given.items():
        theirs = torch_side.forward(module, arrays)
        ours, error = ran(lambda arrays=arrays: flax.forward(arrays))
        what = f"{name} {_shapes(arrays)}"
        if error:
            found.append(Check("outputs", what, "different", where=error))
            continue
        actual, after = ours
        changed = changed or _changed(kept, after)
        if problem := wrong_number(theirs, actual):
            found.append(Check("outputs", what, "different", where=problem))
            continue
        error = largest(theirs, actual, layout)
        allowed = rounding.float64
        first = where(arrays, allowed) if not error <= allowed else ""
        found.append(measured("outputs", what, error, allowed, first))
    if changed:
        found.append(Check("outputs", "state after evaluation", "different", where=changed))
    return found


def in_float32(
    wide: Any,
    module: Any,
    flax: FlaxSide,
    given: dict[str, Arrays],
    layout: Layout,
    rounding: Rounding,
    where: Where,
) -> list[Check]:
    """A check for each input: torch in float64, `wide`, is the reference of both."""
    found = []
    for name, arrays in given.items():
        what = f"{name} {_shapes(arrays)} in float32"
        narrow = [a.astype("float32") if a.dtype.kind == "f" else a for a in arrays]
        same = [a.astype("float64") if a.dtype.kind == "f" else a for a in narrow]
        exact = torch_side.forward(wide, same)
        theirs = torch_side.forward(module, narrow)
        ours, error = ran(lambda narrow=narrow: flax.forward(narrow))
        problem = error or wrong_number(theirs, ours[0])
        if problem:
            found.append(Check("outputs", what, "different", where=problem))
            continue
        own = max((relative(e, t) for e, t in zip(exact, theirs, strict=True)), default=0.0)
        if not np.isfinite(own):  # float32 overflows in torch: both must be alike
            exact, own = theirs, 0.0
        gap, allowed = largest(exact, ours[0], layout), rounding.float32(own)
        first = (where(arrays, allowed) or "only in float32") if not gap <= allowed else ""
        found.append(measured("outputs", what, gap, allowed, first))
    return found


def largest(theirs: list[np.ndarray], ours: list[np.ndarray], layout: Layout) -> float:
    """The largest difference of all outputs."""
    each = (relative(layout.output(t, o), o) for t, o in zip(theirs, ours, strict=True))
    return max(each, default=0.0)


def wrong_number(theirs: list[np.ndarray], ours: list[np.ndarray]) -> str:
    """What is wrong with the number of outputs, if something is."""
    if len(theirs) == len(ours) and theirs:
        return ""
    return f"torch returns {len(theirs)} arrays, Flax {len(ours)}"


def ran(call: Callable[[], Any]) -> tuple[Any, str]:
    """The result of the Flax module, or what it raised."""
    try:
        return call(), ""
    except Exception as error:  # a user's module may raise anything
        first = str(error).strip().split("\n")[0]
        return None, f"the Flax module raises {type(error).__name__}: {first}"


def _changed(before: Values, after: Values) -> str:
    """A part of the state that a call in evaluation mode changed."""
    for name, value in before.items():
        if name in after and not np.array_equal(after[name], value):
            return f"{name} changes in evaluation mode in Flax"
    return ""


def _shapes(arrays: Arrays) -> str:
    return " ".join("x".join(map(str, a.shape)) for a in arrays)
