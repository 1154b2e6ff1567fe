"""What a contestant prepares; nothing is imported, so that every worker may import it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Prepared(NamedTuple):
    """`call` returns when its work is done; `results` are NumPy arrays in torch's layout."""

    call: Callable[[], object]
    results: Callable[[], Sequence[Any]]
    notes: dict[str, Any]
