"""Where a lowering that takes a problem is slower than a later one in the table: it stands back.

Data, from measurements by ``python -m benchmarks.ops`` on CPUs; each rule gives its reason.
"""

from jaxgroups._problem import ConvProblem


def why_slower(problem: ConvProblem, name: str, platform: str) -> str | None:
    """Why the lowering `name` should not be the choice for `problem`, or None."""
    if platform != "cpu" and name != "xla":
        return "XLA's own convolution is the fast one here"
    return None
