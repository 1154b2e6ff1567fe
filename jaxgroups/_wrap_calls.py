"""Replace the ``__call__`` of classes for a while, to see the calls of their instances."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

Around = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]
_LOCK = threading.RLock()  # a class has one wrapper at a time


@contextmanager
def wrapped_calls(classes: Iterable[type], around: Around) -> Iterator[None]:
    """Within the block a call of an instance is ``around(call, instance, args, kwargs)``.

    `call` is the original ``__call__``, bound to the instance. Only the thread that entered the
    block is affected: calls in other threads go to the original. One block runs at a time. At its
    end every class is as it was, also after an exception.
    """
    thread = threading.get_ident()

    def wrapper(original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
            call = original.__get__(self)
            if threading.get_ident() != thread:
                return call(*args, **kwargs)
            return around(call, self, args, kwargs)

        return wrapped

    with _LOCK:
        before = {cls: (cls.__call__, "__call__" in vars(cls)) for cls in set(classes)}
        try:
            for cls, (original, _) in before.items():
                cls.__call__ = wrapper(original)
            yield
        finally:
            for cls, (original, own) in before.items():
                if own:
                    cls.__call__ = original
                elif "__call__" in vars(cls):
                    del cls.__call__
