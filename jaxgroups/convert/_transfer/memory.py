"""The names, rules and operations of a load, for saving the same model.

They are kept by the identity of the model object, as long as it exists, and not in the model: an
attribute or metadata of a variable would change the model's tree, so that ``jax.tree.map`` over a
loaded model and another one would fail. Copies of the model, as by `nnx.clone` and `nnx.merge`, do
not have them.
"""

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from jaxgroups._types import Shape
from jaxgroups.convert._model.names import Names, strip_collection
from jaxgroups.convert._model.structure import Structure, dotted
from jaxgroups.convert._plan.plan import Plan
from jaxgroups.convert._rules.ops import Op


@dataclass(frozen=True)
class Memory:
    """The arguments of a load, and the shape and operation of each parameter that it filled."""

    names: Names
    rules: Mapping[str, Any] | None
    prefix: str
    ops: Mapping[str, tuple[Shape, Op]]


_KNOWN: dict[int, tuple[weakref.ref[Any], Memory]] = {}


def remember(model: Any, plan: Plan, how: Mapping[str, Any]) -> None:
    """Keep the arguments and operations of a load as long as the model exists."""
    key = id(model)
    ops = {str(e.flax): (e.flax_shape or (), e.op) for e in plan.leaves()}
    memory = Memory(how.get("names"), how.get("rules"), how.get("prefix", ""), ops)
    _KNOWN[key] = weakref.ref(model, lambda _: _KNOWN.pop(key, None)), memory


def recall(model: Any, structure: Structure) -> Memory | None:
    """What is kept for this model object, without paths that it no longer has; or None."""
    reference, memory = _KNOWN.get(id(model), (None, None))
    if reference is None or memory is None or reference() is not model:
        return None
    names = memory.names
    if isinstance(names, Mapping):
        names = _present(names, structure)
    rules = None if memory.rules is None else _present(memory.rules, structure)
    return replace(memory, names=names, rules=rules)


def with_known_ops(plan: Plan, memory: Memory) -> tuple[Plan, set[str]]:
    """The plan with the operations of the load, and the names of their parameters."""
    entries, known = [], set()
    for e in plan.entries:
        shape, op = memory.ops.get(str(e.flax), ((), None))
        if e.status == "ok" and op is not None and shape == e.flax_shape:
            known.add(str(e.flax))
            e = replace(e, op=op, torch_shape=op.torch_shape(shape))
        entries.append(e)
    return replace(plan, entries=entries), known


def _present(table: Mapping[str, Any], structure: Structure) -> dict[str, Any]:
    paths = {p for param in structure.params for p in _above(param.path)}
    paths |= {p for others in structure.aliases.values() for path in others for p in _above(path)}
    return {path: v for path, v in table.items() if strip_collection(structure, path) in paths}


def _above(path: tuple[Any, ...]) -> list[str]:
    return [dotted(path[:length]) for length in range(len(path) + 1)]
