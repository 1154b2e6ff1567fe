"""JSON form of the operations of the closed set."""

from dataclasses import asdict
from typing import Any

from jaxgroups.convert._rules.ops import (
    Chain,
    ChannelsLast,
    Flip,
    Identity,
    Op,
    Part,
    Permute,
    Reshape,
)

_KINDS: dict[str, Any] = {
    kind.__name__: kind for kind in (Identity, Permute, Flip, Reshape, ChannelsLast, Part)
}
_KNOWN = ", ".join((*_KINDS, "Chain"))


def to_json(op: Op) -> Any:
    """``["Permute", {"axes": [2, 3, 1, 0]}]``; for a chain a list of those.

    Raises:
      ValueError: an operation outside the closed set.
    """
    if isinstance(op, Chain):
        return ["Chain", [to_json(o) for o in op.ops]]
    if _KINDS.get(type(op).__name__) is not type(op):
        raise ValueError(f"a plan can only hold {_KNOWN}, got {op!r}")
    return [type(op).__name__, asdict(op)]  # type: ignore[call-overload]


def from_json(data: Any) -> Op:
    """The operation; every field is checked.

    Raises:
      ValueError: data that `to_json` does not return.
    """
    match data:
        case ["Chain", [*parts]]:
            return Chain(tuple(from_json(part) for part in parts))
        case [str(kind), dict(fields)] if kind in _KINDS:
            try:
                return _KINDS[kind](**fields)
            except TypeError as error:
                raise ValueError(f"{kind}: {error}") from error
    raise ValueError(f"unknown operation {data!r:.200}: expected one of {_KNOWN}")
