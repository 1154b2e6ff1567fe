"""Dropout as a number: random masks cannot be compared, the place, the rate and the kind can.

In the comparisons of training a dropout multiplies its input by ``1 + rate``, and by more if it
drops whole channels or keeps the mean and the variance (alpha dropout). A dropout that is missing,
at another place or of another rate then changes the outputs.
"""

import re


def factor(rate: float, kind: str, whole_channels: bool = False) -> float:
    """The number for a rate and the name of the layer's class."""
    if not rate:
        return 1.0
    whole = whole_channels or re.search(r"[123]d$", kind) or kind.startswith("Feature")
    return 1.0 + rate + (0.125 if whole else 0.0) + (0.25 if "Alpha" in kind else 0.0)
