"""Calls of layers are seen by one thread, and the classes are as they were afterwards."""

import threading

import pytest

from jaxgroups._wrap_calls import wrapped_calls


class Base:
    def __call__(self, x):
        return x + 1


class Derived(Base):
    pass


def test_calls_are_seen_by_the_thread_that_asked():
    seen, elsewhere = [], []

    def around(call, layer, args, kwargs):
        seen.append((type(layer).__name__, args, kwargs))
        return call(*args, **kwargs)

    original = Base.__call__
    with wrapped_calls([Base, Derived], around):
        assert Base()(1) == 2
        assert Derived()(x=2) == 3
        thread = threading.Thread(target=lambda: elsewhere.append(Base()(5)))
        thread.start()
        thread.join()
    assert elsewhere == [6]
    assert seen[:1] == [("Base", (1,), {})]
    assert ("Derived", (), {"x": 2}) in seen
    assert len([name for name, *_ in seen if name == "Base"]) == 1
    assert Base.__call__ is original
    assert "__call__" not in vars(Derived)


def test_the_classes_are_restored_after_an_error():
    original = Base.__call__
    with pytest.raises(ZeroDivisionError), wrapped_calls([Base], lambda *_: 1 / 0):
        Base()(1)
    assert Base.__call__ is original
