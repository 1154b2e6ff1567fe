"""A bound on the memory that the objects of a pickle take, relative to its length.

A pickle can copy a long list with two bytes, again and again. The sizes are those of CPython,
rounded up.
"""

import sys
from typing import Any

from jaxgroups.convert._files.base import CheckpointError

FIXED = 1 << 26  # bytes that any pickle may use
FACTOR = 64  # additional bytes for each byte of the pickle; state_dicts use 10 to 40
SLOT = 8  # a reference in a list, a tuple or on the stack
CONTAINER = 72  # an empty list, tuple or dict, or a mark
ENTRY = 104  # an entry of a dict
RECORD = 160  # a record of a tensor, a storage or an opaque value
NAMED = 320  # the entries of a tensor in the checkpoint
_CACHED = range(-5, 257)  # integers that exist already


class PickleBudget:
    """Adds up the bytes of the objects; raises CheckpointError if there are too many."""

    def __init__(self) -> None:
        self._spent = 0
        self._read = 0

    def at(self, read: int) -> None:
        """Set the number of bytes of the pickle that were read."""
        self._read = read

    def spend(self, nbytes: int) -> None:
        """Count the bytes of an object."""
        self._spent += nbytes
        if self._spent > FIXED + FACTOR * self._read:
            raise CheckpointError(
                f"refused: its first {self._read} bytes make objects of over {self._spent} bytes, "
                "far more than a state_dict does: a file made to exhaust the memory, or if it is "
                "yours, save model.state_dict() alone"
            )

    def scalar(self, value: Any) -> None:
        """Count a number, a string or bytes from the file."""
        cached = isinstance(value, int) and value in _CACHED
        self.spend(SLOT if cached else SLOT + sys.getsizeof(value))
