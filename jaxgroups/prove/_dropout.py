"""A deterministic stand-in for dropout, since the random masks of two libraries differ.

In the comparisons of training mode, a dropout multiplies its input by ``1 + rate``, and by more if
it drops whole channels or is an alpha dropout. So a dropout that is missing, misplaced or of
another rate changes the outputs.
"""

import re


def factor(rate: float, kind: str, whole_channels: bool = False) -> float:
    """The factor for a rate and the name of the layer's class."""
    if not rate:
        return 1.0
    whole = whole_channels or re.search(r"[123]d$", kind) or kind.startswith("Feature")
    return 1.0 + rate + (0.125 if whole else 0.0) + (0.25 if "Alpha" in kind else 0.0)
