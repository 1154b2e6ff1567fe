"""Issues the warnings of plans and reports, at the user's line."""

import os
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path

_PACKAGE = str(Path(__file__).parents[2]) + os.sep


class ConversionWarning(UserWarning):
    """A converted model may compute something else than the torch model.

    The reason is a setting that files do not contain: an epsilon, a momentum, a padding, the order
    of flattened features. ``warnings.filterwarnings("ignore", category=ConversionWarning)`` hides
    all of them; the plan and the report keep the sentences.
    """


def warn_of(texts: Iterable[str]) -> None:
    """Issue each text as a `ConversionWarning` at the first line outside of jaxgroups."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    for text in texts:
        warnings.warn(text, ConversionWarning, stacklevel=level)
