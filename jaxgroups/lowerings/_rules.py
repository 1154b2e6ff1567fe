"""Where a lowering that takes a problem is slower than a later one in the table: it stands back.

Numbers from measurements on CPUs (`python -m benchmarks.ops`, forward and both gradients of the
layers in benchmarks/), each the border beyond which the lowering lost on most layers.
"""

from jaxgroups._problem import ConvProblem
from jaxgroups.lowerings._views import WeightGradient, view_of

# shift: the innermost loop runs over the groups, so they must fill vector registers
LEAST_LANES = 16
# ... and the sum grows with c and o of a group, which a matrix product does better
MOST_SHIFTED = 4


def why_slower(problem: ConvProblem, name: str, platform: str) -> str | None:
    """Why the lowering `name` should not be the choice for a problem that it takes, or None."""
    if name == "xla":
        return None
    if platform != "cpu":
        return "made for CPUs; XLA's own convolution is the fast one here"
    view = view_of(problem)
    if view is None:
        return None
    if view.groups == 1 and (view.taps > 1 or view.rank != 2):
        return "groups=1, where XLA's own is as fast"
    if name == "shift" and view.c * view.o > 1:
        if isinstance(view, WeightGradient):
            return (
                "a weight gradient of several channels in a group, where a matrix product is faster"
            )
        if view.groups < LEAST_LANES:
            return f"{view.groups} groups, fewer than {LEAST_LANES}, in the innermost loop"
        if max(view.c, view.o) > MOST_SHIFTED:
            return f"more than {MOST_SHIFTED} channels in a group, where a matrix product is faster"
    return None
