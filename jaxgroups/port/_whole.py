"""What the bodies of one graph share, and what is known of the graph before they are made."""

import re
from dataclasses import dataclass, field
from typing import Any

from jaxgroups.port import _order as orders
from jaxgroups.port._errors import Missing, Unsupported
from jaxgroups.port._expr import Instance
from jaxgroups.port._graph import Call, Graph, Node, Value, refs
from jaxgroups.port._layers import Layer, layer_of


@dataclass
class Transposition:
    """A transposition of a value that is not free."""

    path: str
    line: str
    shape: tuple[Any, ...]
    order: tuple[int, ...]


@dataclass
class Whole:
    """What the bodies of one graph share."""

    graph: Graph
    orders: dict[int, tuple[int, ...]] = field(default_factory=dict)
    bodies: dict[str, list[Instance]] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)
    transpositions: list[Transposition] = field(default_factory=list)
    makers: dict[int, Node] = field(default_factory=dict)
    users: dict[int, list[Node | Call]] = field(default_factory=dict)
    returned: set[int] = field(default_factory=set)  # by any call
    permuted: dict[int, tuple[int, ...]] = field(
        default_factory=dict
    )  # flattened as it lies: (C, *spatial)
    rules: dict[str, Any] = field(default_factory=dict)  # of `load_torch`, for what reads them

    def value(self, ref: Any) -> Value:
        return self.graph.values[ref.number]

    def is_used(self, number: int) -> bool:
        return bool(self.users.get(number)) or number in self.returned


def survey(whole: Whole, call: Call) -> None:
    """Note who makes each integer, and who uses or returns each value."""
    leaf = layer_of(whole.graph.modules[call.path]) is not None
    whole.returned.update(refs(call.output))
    for number in refs(call.inputs):
        whole.users.setdefault(number, []).append(call)
    for step in call.steps:
        if isinstance(step, Call):
            survey(whole, step)
            continue
        for number in step.outputs:
            if whole.graph.values[number].shape is None or not leaf:
                whole.makers[number] = step
        if not leaf:
            for number in refs([list(step.args), step.kwargs]):
                whole.users.setdefault(number, []).append(step)


_LOOK = {"aten.add", "aten.sub", "aten.mul", "aten.div", "aten.pad", "aten.cat", "aten.contiguous"}
_MAPS = re.compile(
    r"aten\.(conv|.*pool|batch_norm|instance_norm|upsample|pixel|grid|prelu|group_n)"
)


def reads_map(whole: Whole, number: int, depth: int = 0) -> bool:
    """Whether an input is a feature map: the first layer that has an order of axes reads one."""
    for user in whole.users.get(number, ()) if depth < 20 else ():
        if isinstance(user, Call):
            layer = layer_of(whole.graph.modules[user.path])
            if layer is not None and layer.order != "any":
                return layer.order == "channels_last"
        elif _MAPS.match(user.op) or (
            (user.op in _LOOK or (len(user.args) == 1 and not user.kwargs))
            and user.outputs
            and reads_map(whole, user.outputs[0], depth + 1)
        ):
            return True
    return False


def taken(whole: Whole, layer: Layer, number: int) -> orders.Order:
    """The order in which a layer takes its first input."""
    shape = whole.graph.values[number].shape
    if shape is None:
        raise Unsupported("an integer where a tensor is expected")
    rank = len(shape)
    order = whole.orders.get(number, orders.natural(rank))
    if layer.order == "channels_last":
        return orders.channels_last(rank)
    if layer.order == "last" and order[-1] != rank - 1:
        return orders.natural(rank)
    return orders.natural(rank) if layer.order == "natural" else order
