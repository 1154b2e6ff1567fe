"""The way from a torch module to a Flax module."""

from typing import Any

from jaxgroups.port import _ops as _ops  # fills the table of rules
from jaxgroups.port._body import Whole, build
from jaxgroups.port._classes import classes
from jaxgroups.port._errors import Missing, PortError
from jaxgroups.port._graph import Call, refs
from jaxgroups.port._layers import layer_of
from jaxgroups.port._merged import merged
from jaxgroups.port._ported import Ported
from jaxgroups.port._source import source


def port(module: Any, example: Any, *, partial: bool = False) -> Ported:
    """Write the Flax module that a torch module is, channels last, with the original's names.

    Args:
      module: a ``torch.nn.Module``; it is not changed.
      example: a tensor, or a tuple of them, as the module takes them; or the shape of one,
        ``(1, 3, 224, 224)``.
      partial: whether operations without a rule become calls that raise NotImplementedError.

    Returns:
      The source, and what makes its model and its proof.

    Raises:
      TypeError: not a torch module.
      PortError: what cannot be ported, all of it at once.
    """
    import torch

    from jaxgroups.port._trace import trace

    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"expected a torch.nn.Module, got {type(module).__name__}")
    args = _example(torch, example)
    original = module
    module, computed = merged(module)
    training = {m: m.training for m in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            graph = trace(module, _enlarged(torch, module, args), {})
    finally:
        for one, mode in training.items():
            one.training = mode
    root, whole = build(graph, partial)
    if whole.missing and not partial:
        raise PortError(refusal(whole.missing))
    found = classes(root)
    text = source(found, f"{root.kind}, ported from PyTorch.")
    orders = whole.orders
    return Ported(
        text,
        root.group.name,
        whole.moves,
        [orders[n] for n in graph.inputs],
        [orders[n] for n in refs(graph.root.output) if n in orders],
        _unused(whole),
        whole.rules,
        notes=[f"{name}: merged into one tensor when weights are loaded" for name in computed],
        module=original,
        example=args,
    )


def _example(torch: Any, example: Any) -> tuple[Any, ...]:
    if isinstance(example, torch.Tensor):
        return (example,)
    if isinstance(example, tuple | list) and all(isinstance(n, int) for n in example):
        return (torch.zeros(*example),)
    return tuple(x if isinstance(x, torch.Tensor) else torch.zeros(*x) for x in example)


def _enlarged(torch: Any, module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The example with a batch of two, if the module takes it: a size of 1 would be fixed."""
    if any(not x.ndim or x.shape[0] != 1 for x in args):
        return args
    larger = tuple(torch.cat([x, x]) for x in args)
    try:
        module(*larger)
    except Exception:  # it has one batch size
        return args
    return larger


def _unused(whole: Whole) -> list[str]:
    """The tensors of torch's state_dict that no call reads."""
    used: set[str] = set()

    def walk(call: Call) -> None:
        module = whole.graph.modules[call.path]
        if layer_of(module) is not None:
            names = [name for name, _ in module.named_parameters()]
            names += [name for name, _ in module.named_buffers()]
            used.update(f"{call.path}.{name}".strip(".") for name in names)
            return
        for step in call.steps:
            if isinstance(step, Call):
                walk(step)
            else:
                for number in refs([list(step.args), step.kwargs]):
                    value = whole.graph.values[number]
                    if value.source is not None:
                        used.add(value.source)

    walk(whole.graph.root)
    return [name for name in whole.graph.modules[""].state_dict() if name not in used]


def refusal(missing: list[Missing]) -> str:
    """What cannot be ported, and the lines that would change that."""
    lines = [f"{len(missing)} places cannot be ported:"]
    lines += [f"  {one}" for one in missing[:20]]
    if len(missing) > 20:
        lines.append(f"  and {len(missing) - 20} more")
    name = next((one.what for one in missing if one.what.startswith("aten.")), None)
    if name:
        lines += [
            "register what an operation is, with {0}, {1} for its operands:",
            "  from jaxgroups import port",
            f'  port.register("{name}", "my_module.my_function({{0}})")',
        ]
    return "\n".join(lines)
