"""Selects one of the dicts in a torch file by a key."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jaxgroups.convert._files.base import CheckpointError, short
from jaxgroups.convert._files.opaque import Opaque, holds_arrays
from jaxgroups.convert._files.show import counted
from jaxgroups.convert._files.torch_objects import Global, Storage, Tensor

IsTensor = Callable[[Any], bool]
_SHOWN = 20  # maximum number of keys in a message
_DEPTH = 32  # maximum depth of nested dicts


def select(root: Any, key: str | None, is_tensor: IsTensor) -> tuple[dict[str, Any], list[str]]:
    """The tensors of one dict in the file, and the names of its other values.

    Args:
      root: the content of the file.
      key: the keys to the dict, joined by dots; "" for the top level; None for the top level, if no
        nested dict has tensors.
      is_tensor: whether a value is a tensor.

    Raises:
      CheckpointError: no such dict, or none with tensors, or `key` is needed; the message lists the
        possible keys.
    """
    if isinstance(root, Opaque):
        raise CheckpointError(f"it holds no dict of tensors: it is {root.explained()}")
    if is_tensor(root) or not isinstance(root, Mapping):
        what = f"the name {root.name}" if isinstance(root, Global) else f"a {type(root).__name__}"
        what = "one tensor" if is_tensor(root) else what
        raise CheckpointError(f"it holds {what}, not a dict: save a dict of tensors by name")
    chosen = _descend(root, key) if key else root
    if isinstance(chosen, Opaque):
        raise CheckpointError(f"key={key!r} leads to no dict: it is {chosen.explained()}")
    if chosen is None or is_tensor(chosen) or not isinstance(chosen, Mapping):
        what = "nothing" if chosen is None else "no dict"
        raise CheckpointError(f"key={key!r} leads to {what}: {_candidates(root, is_tensor)}")
    tensors = _tensors(chosen, is_tensor)
    if key is None and any(True for _ in _holders(root, is_tensor)):
        start = "tensors are at several levels" if tensors else "tensors are in nested dicts"
        raise CheckpointError(f"{start}: {_candidates(root, is_tensor)}")
    _refuse_unread(chosen)
    if not tensors and chosen:
        where = f"the dict at key={key!r}" if key else "the top level"
        raise CheckpointError(f"{where} holds no tensor: {_candidates(root, is_tensor)}")
    return tensors, [name for name, value in _children(chosen) if not is_tensor(value)]


def _children(value: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """The values with keys that are strings or integers, by name."""
    return ((str(k), child) for k, child in value.items() if isinstance(k, (str, int)))


def _tensors(chosen: Mapping[Any, Any], is_tensor: IsTensor) -> dict[str, Any]:
    named = {name: value for name, value in _children(chosen) if is_tensor(value)}
    count = sum(map(is_tensor, chosen.values()))
    if len(named) != count:
        raise CheckpointError(
            f"{count} tensors, but only {len(named)} different names that are strings or integers"
        )
    return named


def _refuse_unread(chosen: Mapping[Any, Any]) -> None:
    """Raise CheckpointError for an opaque value with arrays, which would be lost."""
    seen: set[int] = set()
    for name, value in _children(chosen):
        if isinstance(value, Opaque) and holds_arrays(value, (Tensor, Storage), seen):
            raise CheckpointError(f"{name!r} is {value.explained()}")


def _descend(value: Any, key: str) -> Any:
    """The value at the dotted key, or None; keys may contain dots."""
    if not isinstance(value, Mapping):
        return None
    by_name = dict(_children(value))
    parts = key.split(".")
    for count in range(len(parts), 0, -1):
        child = by_name.get(".".join(parts[:count]))
        rest = ".".join(parts[count:])
        found = _descend(child, rest) if rest else child
        if found is not None:
            return found
    return None


def _holders(root: Mapping[Any, Any], is_tensor: IsTensor) -> Iterator[tuple[tuple[str, ...], int]]:
    """The path and the number of tensors of every nested dict with tensors.

    The search is breadth first, visits each object once, and ends at `_DEPTH`: a pickle can share a
    dict many times, put it into itself, or nest a million.
    """
    seen = {id(root)}
    level: list[tuple[tuple[str, ...], Mapping[Any, Any]]] = [((), root)]
    for _ in range(_DEPTH):
        below = []
        for path, value in level:
            for name, child in _children(value):
                if not isinstance(child, Mapping) or is_tensor(child) or id(child) in seen:
                    continue
                seen.add(id(child))
                below.append(((*path, name), child))
                count = sum(map(is_tensor, child.values()))
                if count:
                    yield (*path, name), count
        level = below


def _candidates(root: Mapping[Any, Any], is_tensor: IsTensor) -> str:
    found = sorted(_holders(root, is_tensor), key=lambda holder: -holder[1])
    here = sum(map(is_tensor, root.values()))
    if not found:
        if here:
            return f"the top level itself holds {counted(here, 'tensor')}: leave key out"
        unread = [(n, child) for n, child in _children(root) if isinstance(child, Opaque)]
        why = f"; {unread[0][0]!r} is {unread[0][1].explained()}" if unread else ""
        return f"no dict in it holds tensors; its top level has the keys {short(list(root))}{why}"
    shown = [f"key={'.'.join(path)!r} ({counted(n, 'tensor')})" for path, n in found[:_SHOWN]]
    if here:
        shown.append(f"key='' for the top level alone ({counted(here, 'tensor')})")
    more = f" and {len(found) - _SHOWN} smaller ones" if len(found) > _SHOWN else ""
    return f"select one with {', '.join(shown)}{more}"
