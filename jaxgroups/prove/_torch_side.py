"""Outputs, gradients and SGD steps of the torch module, on copies of it."""

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxgroups.prove._dropout import factor
from jaxgroups.prove._inputs import Arrays

Tensors = dict[str, np.ndarray]


@contextmanager
def defaults(dtype: str) -> Iterator[None]:
    """Within the block, new tensors have the dtype; torch's random state is restored afterwards."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            yield
    finally:
        torch.set_default_dtype(before)


def copy_of(module: Any, dtype: str, *, train: bool = False) -> Any:
    """A copy on the CPU, all of whose parameters need gradients, without dropout.

    Raises:
      ValueError: a module that cannot be copied.
    """
    import torch

    try:
        copied = copy.deepcopy(module)
    except Exception as error:
        raise ValueError(
            f"the torch module cannot be copied: {type(error).__name__}: {error}"
        ) from error
    copied = copied.to("cpu", getattr(torch, dtype)).requires_grad_(True).train(train)
    for layer in dropouts(copied).values():
        layer.eval()
    return copied


def perturb_constants(module: Any) -> None:
    """Randomly change tensors whose values are all equal, in place.

    A norm with weight 1 and bias 0, or a scale of 0 before a branch, would hide differences.
    """
    import torch

    rng = np.random.default_rng(2)
    seen: set[int] = set()
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if not tensor.is_floating_point() or not tensor.numel():
                continue
            if tensor.data_ptr() in seen or tensor.min() != tensor.max():
                continue
            seen.add(tensor.data_ptr())
            u = torch.from_numpy(rng.random(tuple(tensor.shape))).to(tensor)
            tensor.copy_(tensor * (1 + u / 4) + u / 10)


def dropouts(module: Any) -> dict[str, Any]:
    """The dropout layers, by name."""
    import torch

    kind = torch.nn.modules.dropout._DropoutNd
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, kind)}


def _recurrent(module: Any) -> list[Any]:
    """The recurrent layers with a dropout between their layers."""
    import torch

    found = [m for m in module.modules() if isinstance(m, torch.nn.RNNBase)]
    return [layer for layer in found if layer.dropout and layer.num_layers > 1]


@contextmanager
def marked_dropout(module: Any) -> Iterator[None]:
    """Within the block, a dropout multiplies by its `factor`."""
    hooks = [
        layer.register_forward_hook(
            lambda layer, _, output: output * factor(layer.p, type(layer).__name__)
        )
        for layer in dropouts(module).values()
    ]
    recurrent = [(layer, layer.dropout) for layer in _recurrent(module)]
    for layer, rate in recurrent:
        hooks += _marked_recurrent(layer, rate)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for layer, rate in recurrent:
            _restore(layer, rate)


def _marked_recurrent(layer: Any, rate: float) -> list[Any]:
    """Hooks that multiply the input weights of all layers but the first by the factor.

    That is the same as multiplying the inputs of these layers, where torch applies dropout.
    """
    by = factor(rate, "Dropout")

    def before(layer: Any, _: Any) -> None:
        layer.dropout = 0.0
        named = zip(layer._flat_weights_names, layer._flat_weights, strict=True)
        layer._flat_weights = [
            weight * by if re.match("weight_ih_l[1-9]", name) else weight for name, weight in named
        ]

    return [
        layer.register_forward_pre_hook(before),
        layer.register_forward_hook(lambda layer, *_: _restore(layer, rate)),
    ]


def _restore(layer: Any, rate: float) -> None:
    layer.dropout = rate
    layer._init_flat_weights()


def leaves(value: Any) -> list[Any]:
    """The tensors of an output, dictionaries in the order of their sorted keys."""
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in leaves(value[key])]
    if isinstance(value, tuple | list):
        return [leaf for one in value for leaf in leaves(one)]
    return [] if value is None else [value]


def forward(module: Any, arrays: Arrays) -> list[np.ndarray]:
    """The outputs, without gradients."""
    import torch

    with torch.no_grad():
        return [_numpy(leaf) for leaf in leaves(module(*_given(module, arrays)))]


def state(module: Any) -> Tensors:
    """All tensors of the state_dict, copied."""
    return {name: _numpy(t).copy() for name, t in module.state_dict().items()}


def gradients(module: Any, arrays: Arrays, weights: Arrays) -> tuple[Tensors, list[Any]]:
    """Gradients of ``sum(weights * outputs)``: of the parameters by name, and of the inputs.

    They are zeros for a parameter that is not used, and None for an input of integers.
    """
    import torch

    given = _given(module, arrays)
    wanted = [x.requires_grad_(True) for x in given if x.is_floating_point()]
    outputs = [y for y in leaves(module(*given)) if y.is_floating_point()]
    pairs = zip(outputs, weights, strict=True)
    total = torch.stack([(y * torch.from_numpy(w)).sum() for y, w in pairs]).sum()
    named = dict(module.named_parameters(remove_duplicate=False))
    tensors = [*named.values(), *wanted]
    computed = torch.autograd.grad(total, tensors, allow_unused=True) if tensors else ()
    both = [
        np.zeros(tuple(t.shape)) if g is None else _numpy(g)
        for t, g in zip(tensors, computed, strict=True)
    ]
    of_inputs = iter(both[len(named) :])
    by_input = [next(of_inputs) if x.is_floating_point() else None for x in given]
    return dict(zip(named, both, strict=False)), by_input


def sgd(module: Any, batches: list[tuple[Arrays, Arrays]], rate: float | None) -> tuple[float, Any]:
    """SGD steps on the mean squared error to the targets, in place.

    Args:
      batches: inputs and targets of each step.
      rate: the learning rate; None for one that changes the weights by about one percent.

    Returns:
      The learning rate and the losses.
    """
    import torch

    losses: list[float] = []
    parameters = list(module.parameters())
    if not parameters:
        return 0.0, losses
    for arrays, targets in batches:
        outputs = [y for y in leaves(module(*_given(module, arrays))) if y.is_floating_point()]
        pairs = zip(outputs, targets, strict=True)
        loss = torch.stack([((y - torch.from_numpy(t)) ** 2).mean() / 2 for y, t in pairs]).sum()
        losses.append(float(loss.detach()))
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        step = rate or 0.0
        if rate is None:
            size = sum(float((p.detach() ** 2).sum()) for p in parameters) ** 0.5
            slope = sum(float((g**2).sum()) for g in gradients if g is not None) ** 0.5
            step = rate = 0.01 * size / slope if slope else 0.01
        with torch.no_grad():
            for p, g in zip(parameters, gradients, strict=True):
                if g is not None:
                    p.sub_(g * step)
    return rate or 0.0, losses


@dataclass
class Operations:
    """The operations of one call of a torch module.

    Attributes:
      count: the number of operations, an upper bound for the longest chain of them.
      terms: the number of terms of the longest sum: positions of a channel, or the fan-in.
      random: names of the operations that draw random numbers.
      data_dependent: names of the operations whose result Python may branch on.
    """

    count: int = 0
    terms: int = 1
    random: set[str] = field(default_factory=set)
    data_dependent: set[str] = field(default_factory=set)


def operations(module: Any, arrays: Arrays) -> Operations:
    """The operations of one call, recorded."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    found = Operations()

    class Recorder(TorchDispatchMode):
        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            return False  # else torch._dynamo is imported, which takes seconds

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            out = func(*args, **(kwargs or {}))
            found.count += 1
            if isinstance(out, torch.Tensor) and out.ndim >= 2:
                found.terms = max(found.terms, out.numel() // max(out.shape[1], 1))
            drawn = torch.Tag.nondeterministic_seeded in func.tags
            if drawn and not _drops_nothing(func, args, kwargs or {}):
                found.random.add(str(func))
            open_shape = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
            if open_shape & {*func.tags} and not _by_integers(func, args):
                found.data_dependent.add(str(func))
            return out

    given = _given(module, arrays)
    with torch.no_grad(), Recorder():
        module(*given)
    fan_in = [p[0].numel() for p in module.parameters() if p.ndim >= 2 and len(p)]
    found.terms = max(found.terms, *fan_in, 1)
    return found


def _by_integers(func: Any, args: Any) -> bool:
    """Whether the operation is indexing by integers, not by a mask: its shape is known."""
    import torch

    if not str(func).startswith("aten.index."):
        return False
    return not any(one is not None and one.dtype in (torch.bool, torch.uint8) for one in args[1])


def _drops_nothing(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether the operation is attention with a dropout of 0."""
    names = [argument.name for argument in func._schema.arguments]
    if "dropout_p" not in names or "attention" not in str(func):
        return False
    place = names.index("dropout_p")
    return not (args[place] if len(args) > place else kwargs.get("dropout_p", 0.0))


def _given(module: Any, arrays: Arrays) -> list[Any]:
    import torch

    dtype = next((p.dtype for p in module.parameters()), torch.get_default_dtype())
    tensors = [torch.from_numpy(np.array(a)) for a in arrays]
    return [t.to(dtype) if t.is_floating_point() else t for t in tensors]


def _numpy(tensor: Any) -> np.ndarray:
    return tensor.detach().cpu().numpy() if hasattr(tensor, "detach") else np.asarray(tensor)
