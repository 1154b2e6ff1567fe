"""Whether a module computes the same in training mode, dropout and norms apart."""

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Modes:
    """What the two modes of a module have in common.

    Attributes:
      dropouts: of the calls of a dropout function in evaluation mode, in order, whether each one
        drops in training mode.
      difference: where training mode does something else; empty if it does not.
    """

    dropouts: list[bool] = field(default_factory=list)
    difference: str = ""


def modes(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Modes:
    """Run a module in both modes, without computing, and compare the functions that it calls."""
    runs = []
    for train in (False, True):
        try:
            runs.append(_functions(module, args, kwargs, train))
        except Exception as error:  # a module may raise anything in a mode that is not used
            text = f"{type(error).__name__}: {error}".split("\n")[0]
            return Modes(difference=f"training mode fails on the example: {text}")
    evaluated, trained = runs
    found = Modes([drops for name, drops, _ in trained if name == "dropout"])
    for one, other in zip(evaluated, trained, strict=False):
        if one[0] != other[0]:
            found.difference = f"in training mode the original calls {other[0]}{_within(other[2])}"
            break
    else:
        if len(evaluated) != len(trained):
            extra = max(evaluated, trained, key=len)[min(len(evaluated), len(trained))]
            found.difference = f"the original calls {extra[0]}{_within(extra[2])} in one mode only"
    if sum(name == "dropout" for name, *_ in evaluated) != len(found.dropouts):
        found.dropouts = []  # which is which is not known
    return found


def call_without_data(
    module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], during: Any = None
) -> None:
    """Call a module with tensors that have shapes only.

    Args:
      module: the module.
      args, kwargs: its inputs; tensors of the device ``"meta"`` have no data already.
      during: a context manager around the call.
    """
    import torch
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True) as fake, torch.no_grad():

        def empty(x: Any) -> Any:
            meta = x.device.type == "meta"
            return torch.empty(x.shape, dtype=x.dtype) if meta else fake.from_tensor(x)

        named = [*module.named_parameters(), *module.named_buffers()]
        tensors: dict[str, Any] = {name: fake.from_tensor(t) for name, t in named}
        tree: Any = torch.utils
        moved = tree._pytree.tree_map_only(torch.Tensor, empty, (args, kwargs))
        with during or nullcontext():
            torch.func.functional_call(module, tensors, *moved)


def _within(path: str) -> str:
    return f" in {path}" if path else ""


def _functions(
    module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], train: bool
) -> list[tuple[str, bool, str]]:
    """The functions that a call runs: name, whether it drops, and the module that calls it."""
    import torch
    from torch.overrides import TorchFunctionMode, resolve_name

    found: list[tuple[str, bool, str]] = []
    stack = [""]
    names = {one: name for name, one in module.named_modules()}

    class Recorder(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            name = (resolve_name(func) or str(func)).rpartition(".")[2]
            if name.strip("_") in _DROPOUTS:
                drops = bool((kwargs or {}).get("training", args[2] if len(args) > 2 else False))
                found.append(("dropout", drops, stack[-1]))
            elif not name.startswith("__") and name not in _READING:
                found.append((name, False, stack[-1]))
            with torch._C.DisableTorchFunction():
                return func(*args, **(kwargs or {}))

    handles = []
    for one, name in names.items():
        handles.append(
            one.register_forward_pre_hook(lambda *_, name=name: stack.append(name), prepend=True)
        )
        handles.append(one.register_forward_hook(lambda *_: stack.pop() and None))
    before = {one: one.training for one in names}
    try:
        module.train(train)
        call_without_data(module, args, kwargs, Recorder())
    finally:
        for one, mode in before.items():
            one.training = mode
        for handle in handles:
            handle.remove()
    return found


_DROPOUTS = {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout"}
# functions that ask for what a tensor is, or whose number may differ without a meaning
_READING = {"size", "dim", "shape", "ndim", "add_", "is_floating_point", "dtype", "device", "numel",
            "empty_strided", "untyped_storage", "storage_offset", "stride", "layout"}  # fmt: skip
