"""Hooks for tools that observe calls of public functions, for instance while tracing a model."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
Watcher = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
_WATCHER: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """Within the block a call of an `observed` function is ``watcher(function, args, kwargs)``.

    Calls of other threads are not affected.
    """
    token = _WATCHER.set(watcher)
    try:
        yield
    finally:
        _WATCHER.reset(token)


def observed(function: Callable[P, R]) -> Callable[P, R]:
    """A public function whose calls `watched_by` intercepts."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        watcher = _WATCHER.get()
        return function(*args, **kwargs) if watcher is None else watcher(function, args, kwargs)

    return call
