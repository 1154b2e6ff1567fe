"""What cannot be ported, said at once."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Missing:
    """An operation or a layer without a rule.

    Attributes:
      what: the operation, ``aten.topk``, or the class.
      path: the module in which it is used.
      line: file and line of the original, where known.
      why: what about it has no rule, where some of its settings have one.
    """

    what: str
    path: str
    line: str
    why: str = ""

    def __str__(self) -> str:
        place = f" ({self.line})" if self.line else ""
        return f"{self.what} in {self.path or 'the module itself'}{place}" + (
            f": {self.why}" if self.why else ""
        )


class PortError(ValueError):
    """A module that cannot be ported; the text says why, and what to do.

    Attributes:
      missing: the operations and layers without a rule.
    """

    def __init__(self, message: str, missing: Sequence[Missing] = ()) -> None:
        super().__init__(message)
        self.missing = tuple(missing)


class Unsupported(Exception):
    """Raised by a rule for settings that it does not take; it becomes a `Missing`."""
