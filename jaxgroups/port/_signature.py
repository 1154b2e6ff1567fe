"""What instances of classes are compared by."""

from collections.abc import Callable
from typing import Any

from jaxgroups.port._expr import Expr, Instance, Lit, Make, Named, Self, Use
from jaxgroups.port._graph import Ref


def signature(instance: Instance) -> Any:
    """What two instances of one class have in common: all but the values of settings."""
    return _tree(instance, lambda lit: lit.name, lambda other: id(other.group))


def identity(make: Make) -> Any:
    """All that a module is, whatever the numbers of its values."""
    if not isinstance(make.target, Instance):
        return make.target, make.rngs, [(name, _given(one)) for name, one in make.arguments]
    return _tree(make.target, _given, lambda other: identity(Make(other)))


def _given(x: Any) -> Any:
    """A setting with its value, a constructor call with all of them."""
    if isinstance(x, Lit):
        return x.name, repr(x.value)
    return identity(x) if isinstance(x, Make) else repr(x)


def _tree(
    instance: Instance, setting: Callable[[Lit], Any], inner: Callable[[Instance], Any]
) -> Any:
    """The body of an instance as nested tuples that can be compared.

    Args:
      setting: what is compared of a setting.
      inner: what is compared of an instance within it.
    """
    numbers: dict[int, int] = {}
    lines: dict[Any, int] = {}

    def number(n: int) -> int:
        return numbers.setdefault(n, len(numbers))

    def of(x: Any) -> Any:
        if isinstance(x, Use | Ref):
            return ("use", number(x.number))
        if isinstance(x, Named):
            return ("named", setting(x.lit))
        if isinstance(x, Lit):
            return ("lit", setting(x))
        if isinstance(x, Self):
            return ("self", x.path)
        if isinstance(x, Expr):
            return ("expr", x.atom, tuple(map(of, x.parts)))
        if isinstance(x, Make):
            target = inner(x.target) if isinstance(x.target, Instance) else x.target
            return ("make", target, x.rngs, tuple((n, of(one)) for n, one in x.arguments))
        if isinstance(x, dict):
            return ("dict", tuple((key, of(one)) for key, one in x.items()))
        if isinstance(x, list | tuple):
            return (type(x).__name__, tuple(map(of, x)))
        return x

    return (
        of(list(instance.parameters.values())),
        tuple("" if name.startswith("_") else name for name in instance.parameters),
        of(instance.base),
        tuple((path, of(make)) for path, make in instance.children.items()),
        tuple(
            (of(s.target), of(s.expr), lines.setdefault(s.line, len(lines)), s.hint, s.why)
            for s in instance.statements
        ),
        of(instance.returns),
    )
