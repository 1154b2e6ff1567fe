"""The way from a torch module to a Flax module."""

from typing import Any

import numpy as np

from jaxgroups.port import _ops as _ops  # fills the table of rules
from jaxgroups.port._body import build
from jaxgroups.port._classes import classes
from jaxgroups.port._errors import Missing, PortError
from jaxgroups.port._graph import Call, refs
from jaxgroups.port._layers import layer_of
from jaxgroups.port._merged import merged
from jaxgroups.port._order import channels_last
from jaxgroups.port._ported import Ported
from jaxgroups.port._source import source
from jaxgroups.port._ties import different, ties
from jaxgroups.port._whole import Whole


def port(
    module: Any, example: Any, kwargs: dict[str, Any] | None = None, *, partial: bool = False
) -> Ported:
    """Write the Flax module that a torch module is, channels last, with the original's names.

    Args:
      module: a ``torch.nn.Module``; it is not changed.
      example: the shape of the input, ``(1, 3, 224, 224)``; a tensor, an array; or a tuple of
        them for several inputs, which may be nested in tuples, lists and dictionaries. A shape
        stands for numbers of the dtype of the module's parameters.
      kwargs: inputs by name, of the same kinds.
      partial: whether operations without a rule become calls that raise NotImplementedError.

    Returns:
      The source, and what makes its model and its proof.

    Raises:
      TypeError: not a torch module, or an example of another kind.
      PortError: what cannot be ported, all of it at once.
    """
    import torch

    from jaxgroups.port._trace import trace

    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"expected a torch.nn.Module, got {type(module).__name__}")
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    args = _arguments(torch, example, dtype)
    given = {name: _tensors(torch, x, dtype) for name, x in (kwargs or {}).items()}
    original = module
    module, computed = merged(module)
    training = {m: m.training for m in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            graph = trace(module, *_enlarged(torch, module, args, given))
    finally:
        for one, mode in training.items():
            one.training = mode
    root, whole = build(graph)
    root.ties, unknown = ties(graph, root)
    for path in unknown:
        kind = type(graph.modules[path]).__qualname__
        text = "the module stands at several places, and the source has no name for this one"
        whole.missing.append(Missing(kind, path, "", text))
    if whole.missing and not partial:
        raise PortError(refusal(whole.missing), whole.missing)
    found = classes(root)
    missing = [
        Missing(
            type(graph.modules[path]).__qualname__, path, "",
            "the module stands at several places, and its calls there do different things",
        )
        for path in different(graph, found)
    ]  # fmt: skip
    if missing:
        raise PortError(refusal(missing), missing)
    notes = [*graph.notes, *_fixed(whole)]
    text = source(found, f"{root.kind}, ported from PyTorch.", notes, graph.example_only)
    orders = whole.orders
    return Ported(
        text,
        root.group.name,
        whole.transpositions,
        [orders.get(n, ()) for n in graph.inputs],
        [orders.get(n, ()) for n in refs(graph.root.output)],
        _unused(whole),
        whole.rules,
        [
            *notes,
            *(f"{name}: merged into one tensor when weights are loaded" for name in computed),
        ],
        module=original,
        example=args,
        kwargs=given,
    )


def _arguments(torch: Any, example: Any, dtype: Any) -> tuple[Any, ...]:
    """The arguments as tensors."""
    if _is_shape(example) or hasattr(example, "dtype"):
        return (_tensors(torch, example, dtype),)
    if isinstance(example, tuple | list):
        return tuple(_tensors(torch, x, dtype) for x in example)
    raise TypeError(
        "example must be a shape such as (1, 3, 224, 224), a tensor, or a tuple of them, got "
        f"{example!r:.80}"
    )


def _is_shape(x: Any) -> bool:
    return isinstance(x, tuple | list) and len(x) > 0 and all(isinstance(n, int) for n in x)


def _tensors(torch: Any, x: Any, dtype: Any) -> Any:
    """The structure with a tensor for each shape and array."""
    if isinstance(x, torch.Tensor):
        return x.detach()
    if _is_shape(x):
        return torch.zeros(*x, dtype=dtype)
    if hasattr(x, "dtype") and hasattr(x, "shape"):
        return torch.from_numpy(np.array(x))
    if isinstance(x, dict):
        return {key: _tensors(torch, one, dtype) for key, one in x.items()}
    if isinstance(x, tuple | list):
        return type(x)(_tensors(torch, one, dtype) for one in x)
    if x is None or isinstance(x, bool | int | float | str):
        return x
    raise TypeError(f"an input must be a shape, a tensor or an array, got {x!r:.80}")


def _enlarged(torch: Any, module: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The example with a batch of two, if the module takes it: a size of 1 would be fixed."""
    tree = torch.utils._pytree
    leaves = [x for x in tree.tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    if not leaves or any(not x.ndim or x.shape[0] != 1 for x in leaves):
        return args, kwargs
    larger = tree.tree_map_only(torch.Tensor, lambda x: torch.cat([x, x]), (args, kwargs))
    try:
        module(*larger[0], **larger[1])
    except Exception:  # it has one batch size
        return args, kwargs
    return larger


def _fixed(whole: Whole) -> list[str]:
    """What to say of inputs whose batch, image or length torch traced with the example's sizes."""
    if whole.graph.fixed:  # of all inputs
        return whole.graph.fixed
    notes = []
    for i, number in enumerate(whole.graph.inputs):
        shape = whole.graph.values[number].shape or ()
        is_map = whole.orders.get(number) == channels_last(len(shape)) or len(shape) > 3
        features = 1 if is_map else len(shape) - 1  # whose size weights fix
        axes = [a for a, n in enumerate(shape) if a != features and isinstance(n, int) and n > 1]
        if axes:
            sizes = ", ".join(f"axis {axis}: {shape[axis]}" for axis in axes)
            notes.append(
                f"input {i}: torch traced these sizes of the example as constants, others may give "
                f"something else: {sizes}"
            )
    return notes


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
