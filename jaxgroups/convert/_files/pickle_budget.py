"""A bound on the memory that a pickle makes, relative to its length.

A pickle can name a long list again and again with two bytes each and have it copied; these bytes
are what its items cost. The figures are those of CPython, rounded up.
"""

import sys
from typing import Any

from jaxgroups.convert._files.base import CheckpointError

FIXED = 1 << 26  # bytes that any pickle may make
FACTOR = 64  # and that it may make for each of its own; state_dicts make 10 to 40
SLOT = 8  # a reference in a list, a tuple or on the stack
CONTAINER = 72  # an empty list, tuple or dict, a mark
ENTRY = 104  # an entry of a dict
RECORD = 160  # a record of a tensor, a storage or an opaque value
NAMED = 320  # a tensor by its name: what the checkpoint keeps of it
_CACHED = range(-5, 257)  # integers that exist already


class PickleBudget:
    """Adds up the bytes that were made; spending too many is a CheckpointError."""

    def __init__(self) -> None:
        self._spent = 0
        self._read = 0

    def at(self, read: int) -> None:
        """So many bytes of the pickle were read."""
        self._read = read

    def spend(self, nbytes: int) -> None:
        self._spent += nbytes
        if self._spent > FIXED + FACTOR * self._read:
            raise CheckpointError(
                f"refused: its first {self._read} bytes make objects of over {self._spent} bytes, "
                "far more than a state_dict does: a file made to exhaust the memory, or if it is "
                "yours, save model.state_dict() alone"
            )

    def scalar(self, value: Any) -> None:
        """A number, a text or bytes out of the file."""
        cached = isinstance(value, int) and value in _CACHED
        self.spend(SLOT if cached else SLOT + sys.getsizeof(value))
