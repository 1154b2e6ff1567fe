"""One module at several places: the whole makes one for each place, then puts the first into all.

So the classes are those of modules that are not shared, and only the constructor of the whole tells
that some are.
"""

from typing import Any

from jaxgroups.port._classes import Class
from jaxgroups.port._expr import Instance, Make
from jaxgroups.port._graph import Call, Graph


def ties(graph: Graph, root: Instance) -> tuple[list[tuple[str, str]], list[str]]:
    """The places of modules that were called at several ones.

    Returns:
      ``(place, first place)`` as texts behind ``self``, ``".unit2.conv"``, for modules that have
      parameters or buffers; and the paths of those whose place has no such text.
    """
    places: dict[int, list[str]] = {}
    _called(graph, graph.root, places)
    found: dict[str, str] = {}
    texts, unknown = {}, []
    for path, first in _pairs(graph, places):
        found[path] = first
        if any(f"{found[above]}{path[len(above) :]}" == first for above in _above(path, found)):
            continue  # it comes with a module that has it
        place, source = (_access(root, tuple(p.split("."))) for p in (path, first))
        if place is None or source is None:
            unknown.append(path)
        else:
            texts[path] = place, source
    called = [path for paths in places.values() for path in paths]
    return [texts[path] for path in called if path in texts], unknown


def _called(graph: Graph, call: Call, places: dict[int, list[str]]) -> None:
    paths = places.setdefault(id(graph.modules[call.path]), [])
    if call.path not in paths:
        paths.append(call.path)
    for step in call.steps:
        if isinstance(step, Call):
            _called(graph, step, places)


def _pairs(graph: Graph, places: dict[int, list[str]]) -> list[tuple[str, str]]:
    """(further path, first path) of each module with tensors, parents before children."""
    pairs = []
    for first, *others in places.values():
        module = graph.modules[first]
        if [*module.parameters(), *module.buffers()]:
            pairs += [(path, first) for path in others]
    return sorted(pairs, key=lambda pair: pair[0].count("."))


def _above(path: str, found: dict[str, str]) -> list[str]:
    """The places in `found` that are modules around a path."""
    return [other for other in found if path.startswith(f"{other}.")]


def different(graph: Graph, found: list[Class]) -> list[str]:
    """The further places of modules whose class there, or its arguments, differ from the first's.

    One object cannot be of two classes: what its calls do differs.
    """
    places: dict[int, list[str]] = {}
    _called(graph, graph.root, places)
    by_path = {one.path: one for group in found for one in group.instances}
    differing = []
    for path, first in _pairs(graph, places):
        here, there = by_path.get(path), by_path.get(first)
        if here is None or there is None:
            continue  # a layer that jaxgroups or Flax has
        if here.group is not there.group or here.values != there.values:
            differing.append(path)
    return differing


def _access(made: Any, path: tuple[str, ...]) -> str | None:
    """What stands behind a module to name a module in it; None where the source has it nowhere."""
    if not path:
        return ""
    if isinstance(made, Make):
        if isinstance(made.target, Instance):
            return _access(made.target, path)
        if made.target not in ("nnx.Sequential", "jnn.Sequential"):
            return None
        for i, (name, item) in enumerate(made.arguments):
            if path[0] == (name or str(i)):
                inner = _access(item, path[1:])
                own = f".{name}" if name else f".layers[{i}]"
                return None if inner is None else own + inner
        return None
    if not isinstance(made, Instance):
        return None
    if made.base is not None and (found := _access(made.base, path)) is not None:
        return found
    for below, make in made.children.items():
        if path[: len(below)] == below:
            inner = _access(make, path[len(below) :])
            if inner is not None:
                return "".join(f"[{p}]" if p.isdigit() else f".{p}" for p in below) + inner
    return None
