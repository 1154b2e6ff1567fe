"""A layer whose class overrides ``forward`` and calls that of its base: a subclass here as well."""

from typing import Any

from jaxgroups.port._graph import Call, Graph, Node, Ref
from jaxgroups.port._layers import Layer, base_layer

_CONVOLUTIONS = {
    **{f"aten.conv{rank}d": ("stride", "padding", "dilation", "groups") for rank in (1, 2, 3)},
    **{
        f"aten.conv_transpose{rank}d": (
            "stride", "padding", "output_padding", "groups", "dilation"
        ) for rank in (1, 2, 3)
    },
}  # fmt: skip
_DEFAULTS = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1, "groups": 1}


def inherited(graph: Graph, call: Call) -> tuple[Layer, Node] | None:
    """The layer that the module's class extends, and the operation that is the layer's own.

    None if the class computes with the weight itself, or with other settings than its own.
    """
    module = graph.modules[call.path]
    layer = base_layer(module)
    if layer is None or layer.problem:
        return None
    own = {f"{call.path}.{name}".strip("."): name for name, _ in module.named_parameters()}
    uses = [
        (step, [own.get(_source(graph, x)) for x in step.args])
        for step in call.steps
        if isinstance(step, Node) and any(_source(graph, x) in own for x in step.args)
    ]
    if len(uses) != 1:
        return None
    step, names = uses[0]
    if set(filter(None, names)) != {*own.values()} or not _same_settings(module, step, names):
        return None
    return layer, step


def _source(graph: Graph, x: Any) -> str:
    return (graph.values[x.number].source or "") if isinstance(x, Ref) else ""


def _same_settings(module: Any, step: Any, names: list[str | None]) -> bool:
    if step.op == "aten.layer_norm":
        eps = step.args[4] if len(step.args) > 4 else 1e-5
        return names[2:4] == ["weight", "bias"] and (tuple(step.args[1]), eps) == (
            tuple(module.normalized_shape), module.eps
        )  # fmt: skip
    if names[1:2] != ["weight"] or (len(names) > 2 and names[2] not in (None, "bias")):
        return False
    if step.op == "aten.linear":
        return True
    if step.op not in _CONVOLUTIONS or module.padding_mode != "zeros":
        return False
    for place, name in enumerate(_CONVOLUTIONS[step.op], 3):
        value = step.args[place] if len(step.args) > place else _DEFAULTS[name]
        own = getattr(module, name)
        rank = len(module.kernel_size)
        if _each(value, rank) != _each(own, rank):
            return False
    return True


def _each(value: Any, rank: int) -> Any:
    """One number for each axis; a string as it is."""
    if isinstance(value, int):
        return (value,) * rank
    if isinstance(value, list | tuple) and len(value) == 1:
        return tuple(value) * rank
    return tuple(value) if isinstance(value, list | tuple) else value
