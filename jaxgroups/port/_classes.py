"""Instances with equal bodies become one class; settings that differ become its arguments.

Two classes of one kind become one if all that one has beyond the other is left out by a plain
``if``: a child that is called, or an operation on one value.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from jaxgroups.port._alignment import Alignment, align
from jaxgroups.port._expr import NO_DEFAULT, Expr, Instance, Lit, Make, Named, Self, Use
from jaxgroups.port._flow import child_of
from jaxgroups.port._graph import Ref
from jaxgroups.port._signature import signature

ABSENT = object()  # the value of a setting of a part that an instance does not have


@dataclass
class Class:
    """A class that is written.

    Attributes:
      name: its name in the source.
      instances: the modules of the original that are its instances; the first one is written.
      alignments: by place of an instance, which parts of the first one it has.
      arguments: the names of the constructor's arguments; `Instance.values` has their values.
      defaults: of arguments that most instances leave at the setting's default.
      places: by place of a setting, in the order of `settings`, the argument that it is.
      omitted: places of settings that have their default in all instances.
      kept: arguments that the call reads.
      random: whether its constructor needs ``rngs``.
      root: whether it is the class of the whole.
      flags: by statement that some instances do not have, the condition of the others.
    """

    name: str
    instances: list[Instance] = field(default_factory=list)
    alignments: list[Alignment | None] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    defaults: dict[str, Any] = field(default_factory=dict)
    places: dict[int, str] = field(default_factory=dict)
    omitted: set[int] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)
    flags: dict[int, str] = field(default_factory=dict)
    random: bool = False
    root: bool = False


def classes(root: Instance) -> list[Class]:
    """The classes of the source, each after those it uses."""
    instances = list(_ordered(root, set()))
    known: dict[Any, Class] = {}
    merged: dict[int, tuple[Class, Alignment]] = {}
    while True:
        found = _grouped(instances, known, merged)
        if not _merge(found, merged):
            break
    found = _sorted(found)
    names: dict[str, int] = {}
    for one in found:
        names[one.name] = names.get(one.name, 0) + 1
        if names[one.name] > 1:
            one.name = f"{one.name}{names[one.name]}"
    root.group.root = True
    for one in found:
        one.random = any(
            make.target.group.random if isinstance(make.target, Instance) else make.rngs
            for make in makes(one.instances[0])
        )
        _parametrize(one)
    return found


def _ordered(instance: Instance, seen: set[int]) -> Iterator[Instance]:
    """The instances, each after those it is made of."""
    if id(instance) in seen:
        return
    seen.add(id(instance))
    for make in makes(instance):
        if isinstance(make.target, Instance):
            yield from _ordered(make.target, seen)
    yield instance


def _grouped(
    instances: list[Instance],
    known: dict[Any, Class],
    merged: dict[int, tuple[Class, Alignment]],
) -> list[Class]:
    """The classes by signature, after what was merged so far."""
    found: dict[int, Class] = {}
    for one in known.values():
        one.instances, one.alignments = [], []
    for instance in instances:
        key = (instance.kind, signature(instance))
        group = known.setdefault(key, Class(instance.kind))
        alignment = None
        if id(group) in merged:
            group, alignment = merged[id(group)]
        instance.group = group
        group.instances.append(instance)
        group.alignments.append(alignment)
        found[id(group)] = group
    for group in found.values():  # the one with all parts is the first
        pairs = sorted(
            zip(group.instances, group.alignments, strict=True),
            key=lambda pair: pair[1] is not None,
        )
        group.instances = [one for one, _ in pairs]
        group.alignments = [alignment for _, alignment in pairs]
    return list(found.values())


def _sorted(found: list[Class]) -> list[Class]:
    """The classes, each after those it uses: a merged one uses what any of its instances does."""
    done: dict[int, Class] = {}

    def visit(one: Class) -> None:
        if id(one) in done:
            return
        for make in makes(one.instances[0]):
            if isinstance(make.target, Instance):
                visit(make.target.group)
        done[id(one)] = one

    for one in found:
        visit(one)
    return list(done.values())


def _merge(found: list[Class], merged: dict[int, tuple[Class, Alignment]]) -> bool:
    """Merge two classes of one kind, if there are such; whether there were."""
    kinds: dict[str, list[Class]] = {}
    for one in found:
        kinds.setdefault(one.name, []).append(one)
    for group in kinds.values():
        group.sort(key=lambda one: -len(one.instances[0].statements))
        for i, large in enumerate(group):
            for small in group[i + 1 :]:
                if any(alignment is not None for alignment in small.alignments):
                    continue
                alignment = align(large.instances[0], small.instances[0])
                if alignment is not None:
                    merged[id(small)] = large, alignment
                    return True
    return False


def makes(instance: Instance) -> Iterator[Make]:
    """The constructor calls of an instance, nested ones too."""

    def walk(make: Any) -> Iterator[Make]:
        if isinstance(make, Make):
            yield make
            for _, one in make.arguments:
                yield from walk(one)

    for make in [instance.base, *instance.children.values()]:
        yield from walk(make)


Setting = tuple[str, Lit, bool]


def settings(instance: Instance, first: Instance, alignment: Alignment | None) -> list[Setting]:
    """The settings in the order in which they are written: where, what, whether in the call.

    Those of parts that the instance does not have, but the first one has, are `ABSENT`.
    """
    found = list(_of(instance.base, "", False))
    for path, make in first.children.items():
        own = instance.children.get(path)
        part = list(_of(make if own is None else own, "_".join(path), False))
        found += part if own is not None else [(w, Lit(ABSENT, x.name), c) for w, x, c in part]
    for i, statement in enumerate(first.statements):
        place: int | None = i if alignment is None else alignment.statements[i]
        if place is None:
            part = list(_of(statement.expr, "", True))
            found += [(w, Lit(ABSENT, x.name), c) for w, x, c in part]
        else:
            found += _of(instance.statements[place].expr, "", True)
    return [*found, *_of(instance.returns, "", True)]


def _of(x: Any, where: str, called: bool) -> Iterator[Setting]:
    if isinstance(x, Named):
        yield where, x.lit, called
    elif isinstance(x, Lit):
        yield where, x, called
    elif isinstance(x, Expr):
        for part in x.parts:
            yield from _of(part, where, called)
    elif isinstance(x, Make):
        if isinstance(x.target, Instance):
            group = x.target.group
            for name in group.arguments:
                default = group.defaults.get(name, NO_DEFAULT)
                yield where, Lit(x.target.values[name], name, default), called
            return
        for name, one in x.arguments:
            inner = f"{where}_{name}" if isinstance(one, Make) and name else where
            yield from _of(one, inner, called)
    elif isinstance(x, dict):
        yield from _of(list(x.values()), where, called)
    elif isinstance(x, list | tuple) and not isinstance(x, Use | Self | Ref):
        for one in x:
            yield from _of(one, where, called)


def _parametrize(one: Class) -> None:
    """Find the settings that differ, and name them."""
    first = one.instances[0]
    rows = [
        settings(instance, first, alignment)
        for instance, alignment in zip(one.instances, one.alignments, strict=True)
    ]
    known: list[tuple[list[Any], str, str]] = []  # values, argument, setting
    of_children = _only_of_children(one)
    nones: dict[tuple[bool, ...], str] = {}
    columns = list(enumerate(zip(*rows, strict=True)))
    partly = {
        place for place, column in columns if any(lit.value is ABSENT for _, lit, _ in column)
    }
    for place, column in sorted(columns, key=lambda pair: pair[0] in partly):
        values = [lit.value for _, lit, _ in column]
        present = [value for value in values if value is not ABSENT]
        if all(lit.value is ABSENT or _plain(lit.default, lit.value) for _, lit, _ in column):
            one.omitted.add(place)
            continue
        where, lit, called = column[0]
        fitting = (n for given, n, s in known if _related(s, lit.name) and _fits(given, values))
        name = next(fitting, None)
        constant = all(_alike(present[0], value) for value in present)
        if constant and (name is None or place not in partly):
            continue
        if called and name and name not in one.kept and one.instances[0].base:
            name = None  # an attribute of that name belongs to the base class
        if name is None:
            base = one.instances[0].base
            own = [n for n, _ in base.arguments] if base else []
            own += [x.name for _, x in base.arguments if isinstance(x, Lit)] if base else []
            taken = [*one.arguments, *own, *_children(one)] if called else one.arguments
            name = _free(lit.name, where, taken)
            one.arguments.append(name)
            known.append((values, name, lit.name))
            presence = tuple(value is not ABSENT for value in values)
            defaults = [x.default for (_, x, _), here in zip(column, presence, strict=True) if here]
            default = defaults[0]
            usual = all(_plain(other, default) for other in defaults)
            if not all(presence) and not usual:  # it does not matter where the part is absent
                default = present[0]
                if presence in of_children and presence not in nones and None not in present:
                    nones[presence], default = name, None
            if not all(presence) or (usual and any(_plain(default, value) for value in values)):
                one.defaults[name] = default
            _give(one, name, [default if value is ABSENT else value for value in values])
        one.places[place] = name
        if called:
            one.kept.add(name)
    _flag(one, nones)
    one.arguments.sort(key=lambda name: (name in one.defaults, not is_channels(name)))


def _give(one: Class, name: str, values: list[Any]) -> None:
    for instance, value in zip(one.instances, values, strict=True):
        instance.values[name] = value


def _children(one: Class) -> list[str]:
    """The names of the class's modules, which no argument that is kept as an attribute has."""
    found = map(child_of, one.instances[0].statements)
    return [child[0] for child in found if child]


def _presence(one: Class) -> list[tuple[bool, ...]]:
    """By statement of the first instance, which instances have it."""
    return [
        tuple(a is None or a.statements[i] is not None for a in one.alignments)
        for i in range(len(one.instances[0].statements))
    ]


def _only_of_children(one: Class) -> set[tuple[bool, ...]]:
    """The instances that have parts of the class, of parts that are calls of children alone."""
    pairs = list(zip(_presence(one), one.instances[0].statements, strict=True))
    others = {presence for presence, statement in pairs if not child_of(statement)}
    return {presence for presence, _ in pairs} - others


def _flag(one: Class, nones: dict[tuple[bool, ...], str]) -> None:
    """Arguments for the parts that some instances do not have.

    Args:
      nones: by the instances that have a child, an argument that is None for the others.
    """
    of_children = _only_of_children(one)
    known: dict[tuple[bool, ...], str] = {}
    for i, (present, statement) in enumerate(
        zip(_presence(one), one.instances[0].statements, strict=True)
    ):
        if all(present):
            continue
        if present in nones:
            one.flags[i] = f"{nones[present]} is not None"
            continue
        if present not in known:
            child = child_of(statement)
            name = child[0] if child else statement.origin or "active"
            taken = one.arguments
            if present not in of_children:
                taken = [*one.arguments, *_children(one)]
            known[present] = _free(name, "with", taken)
            one.arguments.append(known[present])
            _give(one, known[present], list(present))
            one.defaults[known[present]] = sum(present) * 2 > len(present)
        one.flags[i] = known[present]
        if not child_of(statement):
            one.kept.add(known[present])


def _plain(default: Any, value: Any) -> bool:
    return default is not NO_DEFAULT and _alike(default, value)


def _fits(given: list[Any], values: list[Any]) -> bool:
    """Whether an argument has the values, where both are present."""
    pairs = list(zip(given, values, strict=True))
    return all(b is ABSENT or (a is not ABSENT and _alike(a, b)) for a, b in pairs)


_CHANNELS = {
    "in_channels", "out_channels", "num_features", "num_channels", "in_features", "out_features",
    "normalized_shape", "num_parameters",
}  # fmt: skip


def is_channels(name: str) -> bool:
    """Whether the setting is a number of channels, also ``"conv3_out_channels"``."""
    stem = name.rstrip("0123456789")
    return any(stem == one or stem.endswith(f"_{one}") for one in _CHANNELS)


def _related(one: str, other: str) -> bool:
    """Whether one argument may stand for both settings, if they have its values."""
    counts = ("groups", "size")  # of a depthwise convolution, of a parameter
    alike = all(is_channels(name) or name.rstrip("0123456789") in counts for name in (one, other))
    return one == other or alike


def _alike(a: Any, b: Any) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return a == b


def _free(name: str, where: str, taken: list[str]) -> str:
    """A name for an argument: of the setting, with that of the child if it is taken."""
    choices = [name, f"{where}_{name.lstrip('_')}".strip("_")]
    choices += [f"{name}{i}" for i in range(2, 1000)]
    return next(one for one in choices if one not in taken and one.isidentifier())
