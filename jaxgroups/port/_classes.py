"""Instances with equal bodies become one class; settings that differ become its arguments."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from jaxgroups.port._expr import NO_DEFAULT, Expr, Instance, Lit, Make, Named, Self, Use
from jaxgroups.port._graph import Ref


@dataclass
class Class:
    """A class that is written.

    Attributes:
      name: its name in the source.
      instances: the modules of the original that are its instances; the first one is written.
      arguments: the names of the constructor's arguments; `Instance.values` has their values.
      places: by place of a setting, in the order of `settings`, the argument that it is.
      shown: by place, whether an argument that has a default is written.
    """

    name: str
    instances: list[Instance] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    places: dict[int, str] = field(default_factory=dict)
    omitted: set[int] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)  # arguments that the call reads


def classes(root: Instance) -> list[Class]:
    """The classes of the source, each after those it uses."""
    found: dict[Any, Class] = {}
    _group(root, found, {})
    used: dict[str, int] = {}
    for one in found.values():
        count = used.get(one.name, 0) + 1
        used[one.name] = count
        if count > 1:
            one.name = f"{one.name}{count}"
    for one in found.values():
        _parametrize(one)
    return list(found.values())


def _group(instance: Instance, found: dict[Any, Class], names: dict[str, int]) -> Class:
    for make in _makes(instance):
        if isinstance(make.target, Instance) and make.target.group is None:
            _group(make.target, found, names)
    key = (instance.kind, signature(instance))
    if key not in found:
        found[key] = Class(instance.kind)
    instance.group = found[key]
    found[key].instances.append(instance)
    return found[key]


def _makes(instance: Instance) -> Iterator[Make]:
    def walk(make: Any) -> Iterator[Make]:
        if isinstance(make, Make):
            yield make
            for _, one in make.arguments:
                yield from walk(one)

    for make in [instance.base, *instance.children.values()]:
        yield from walk(make)


def signature(instance: Instance) -> Any:
    """What two instances of one class have in common: all but the values of settings."""
    numbers: dict[int, int] = {}
    lines: dict[Any, int] = {}

    def number(n: int) -> int:
        return numbers.setdefault(n, len(numbers))

    def of(x: Any) -> Any:
        if isinstance(x, Use | Ref):
            return ("use", number(x.number))
        if isinstance(x, Named):
            return ("named", x.lit.name)
        if isinstance(x, Lit):
            return ("lit", x.name)
        if isinstance(x, Self):
            return ("self", x.path)
        if isinstance(x, Expr):
            return ("expr", x.atom, tuple(map(of, x.parts)))
        if isinstance(x, Make):
            target = id(x.target.group) if isinstance(x.target, Instance) else x.target
            return ("make", target, x.rngs, tuple((n, of(one)) for n, one in x.arguments))
        if isinstance(x, dict):
            return ("dict", tuple((key, of(one)) for key, one in x.items()))
        if isinstance(x, list | tuple):
            return (type(x).__name__, tuple(map(of, x)))
        return x

    return (
        of(list(instance.parameters.values())),
        tuple(_names(instance)),
        of(instance.base),
        tuple((path, of(make)) for path, make in instance.children.items()),
        tuple(
            (of(s.target), of(s.expr), lines.setdefault(s.line, len(lines)), s.hint, s.why)
            for s in instance.statements
        ),
        of(instance.returns),
    )


def _names(instance: Instance) -> Iterator[str]:
    for name in instance.parameters:
        yield "" if name.startswith("_") else name


def settings(instance: Instance) -> Iterator[tuple[str, Lit, bool]]:
    """The settings in the order in which they are written: where, what, whether in the call."""

    def of(x: Any, where: str, called: bool) -> Iterator[tuple[str, Lit, bool]]:
        if isinstance(x, Named):
            yield where, x.lit, called
        elif isinstance(x, Lit):
            yield where, x, called
        elif isinstance(x, Expr):
            for part in x.parts:
                yield from of(part, where, called)
        elif isinstance(x, Make):
            if isinstance(x.target, Instance):
                for name in x.target.group.arguments:
                    yield where, Lit(x.target.values[name], name), called
                return
            for name, one in x.arguments:
                yield from of(one, f"{where}_{name}" if isinstance(one, Make) and name else where,
                              called)  # fmt: skip
        elif isinstance(x, list | tuple):
            for one in x:
                yield from of(one, where, called)
        elif isinstance(x, dict):
            yield from of(list(x.values()), where, called)

    yield from of(instance.base, "", False)
    for path, make in instance.children.items():
        yield from of(make, "_".join(path), False)
    for statement in instance.statements:
        yield from of(statement.expr, "", True)
    yield from of(instance.returns, "", True)


def _parametrize(one: Class) -> None:
    """Find the settings that differ, and name them."""
    rows = [list(settings(instance)) for instance in one.instances]
    columns = list(zip(*rows, strict=True))
    known: dict[Any, str] = {}
    for place, column in enumerate(columns):
        values = [lit.value for _, lit, _ in column]
        if all(_plain(lit.default, lit.value) for _, lit, _ in column):
            one.omitted.add(place)
            continue
        if all(_alike(values[0], value) for value in values):
            continue
        where, lit, called = column[0]
        key = tuple(map(repr, values))
        if key not in known:
            known[key] = _free(lit.name, where, one.arguments)
            one.arguments.append(known[key])
            for instance, value in zip(one.instances, values, strict=True):
                instance.values[known[key]] = value
        one.places[place] = known[key]
        if called:
            one.kept.add(known[key])


def _plain(default: Any, value: Any) -> bool:
    return default is not NO_DEFAULT and _alike(default, value)


def _alike(a: Any, b: Any) -> bool:
    return type(a) is type(b) and a == b or (a == b and not isinstance(a, bool | str))


def _free(name: str, where: str, taken: list[str]) -> str:
    """A name for an argument: of the setting, with that of the child if it is taken."""
    choices = [name, f"{where}_{name}".strip("_")]
    choices += [f"{name}{i}" for i in range(2, 1000)]
    return next(one for one in choices if one not in taken and one.isidentifier())
