"""Marks in the traced graph where a module is called and where it returns."""

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

from jaxgroups.port._graph import Call, Line, Ref, Size
from jaxgroups.port._layers import layer_of
from jaxgroups.port._sequential import is_sequential

NO_GRAD = "no_grad"  # in place of the number of a call


@cache
def _operation() -> Any:
    """The operation that marks a place in the traced graph; it does nothing."""
    import torch

    library = torch.library.Library("jaxgroups_port", "DEF")
    library.define("mark(Tensor[] tensors, str call, bool returns) -> ()")
    library.impl("mark", lambda tensors, call, returns: None, "CompositeExplicitAutograd")
    norm = "local_response_norm"
    library.define(f"{norm}(Tensor x, int size, float alpha, float beta, float k) -> Tensor")
    library.impl(norm, lambda x, size, alpha, beta, k: x.clone(), "CompositeExplicitAutograd")
    operation = torch.ops.jaxgroups_port.mark
    node: Any = torch.fx.node  # type: ignore[attr-defined]
    node.has_side_effect(operation.default)
    _operation.library = library  # type: ignore[attr-defined]  # else it is unloaded
    return operation


@contextmanager
def marks(
    module: Any, paths: dict[int, list[str]], calls: dict[str, Call], trees: dict[str, Any]
) -> Iterator[None]:
    """Within the block every call of a module leaves marks in what torch traces.

    So does every block of ``torch.no_grad`` in a module: a mark NO_GRAD where it begins and ends.
    """
    import torch

    mark = _operation()
    functional = torch.nn.functional
    original = functional.local_response_norm
    stack: list[str] = []
    # by running call, whether it is of a Sequential, and the places of the calls that it made
    before: list[tuple[bool, list[list[str]]]] = [(False, [])]

    def enter(places: list[str], layer: Any, args: Any, kwargs: Any) -> Any:
        if not calls:  # a trace before this one may have failed inside a module
            stack.clear()
            before[1:] = []
        name = str(len(calls))
        chained, made = before[-1]
        times = sum(one is places for one in made) if chained else 0
        made.append(places)
        before.append((is_sequential(layer), []))
        path = _place(places, calls[stack[-1]].path if stack else "", times)
        if layer_of(layer) is None:  # another call may have two tensors where this one has one
            args, kwargs = _distinct((args, kwargs), torch)
        bound = _bound(layer, args, kwargs)
        tensors: list[Any] = []
        inputs = {key: _flat(x, tensors, torch) for key, x in bound.items()}
        kind = type(layer)
        calls[name] = Call(path, f"{kind.__module__}.{kind.__qualname__}", inputs, line=_caller())
        stack.append(name)
        mark(tensors, name, False)
        return args, kwargs

    def leave(layer: Any, args: Any, kwargs: Any, output: Any) -> None:
        name = stack.pop()
        before.pop()
        tensors: list[Any] = []
        trees[name] = _flat(output, tensors, torch)
        mark(tensors, name, True)

    handles = []
    for one in module.modules():
        hook = partial(enter, paths[id(one)])  # torch may call a copy of a shared module
        handles.append(one.register_forward_pre_hook(hook, with_kwargs=True))
        handles.append(one.register_forward_hook(leave, with_kwargs=True))
    functional.local_response_norm = _local_response_norm
    recurrent = [one for one in module.modules() if isinstance(one, torch.nn.RNNBase)]
    recurrent = [one for one in recurrent if type(one).__module__ == "torch.nn.modules.rnn"]
    for one in recurrent:
        one.forward = partial(_recurrent, one)
    begin, end = torch.no_grad.__enter__, torch.no_grad.__exit__

    def begin_marked(self: Any) -> None:
        begin(self)
        self.marked = bool(stack) and _is_of_module(sys._getframe(1))
        if self.marked:
            mark([], NO_GRAD, False)

    def end_marked(self: Any, *error: Any) -> None:
        if self.marked:
            mark([], NO_GRAD, True)
        end(self, *error)

    blocks: Any = torch.no_grad
    blocks.__enter__, blocks.__exit__ = begin_marked, end_marked
    called = _with_call_as_forward(module)
    for kind in called:
        kind.forward = kind.__call__
        kind.__call__ = torch.nn.Module.__call__
    try:
        yield
    finally:
        blocks.__enter__, blocks.__exit__ = begin, end
        for kind in called:
            kind.__call__ = kind.forward
            del kind.forward
        functional.local_response_norm = original
        for one in recurrent:
            del one.forward
        for handle in handles:
            handle.remove()


def _is_of_module(frame: Any) -> bool:
    """Whether the code that begins a block is not torch's own; a decorator's is the function's."""
    if frame.f_code.co_filename.endswith("_contextlib.py"):
        return not str(getattr(frame.f_locals.get("func"), "__module__", "torch")).startswith(
            "torch"
        )
    return "/torch/" not in frame.f_code.co_filename


@contextmanager
def own_gradients(found: list[str]) -> Iterator[None]:
    """Within the block, collect the functions called that have a backward of their own."""
    import torch

    function: Any = torch.autograd.Function
    original = vars(function)["apply"]

    def apply(kind: Any, *args: Any, **kwargs: Any) -> Any:
        if kind.__name__ not in found and not kind.__module__.startswith("torch"):
            found.append(kind.__name__)
        return original.__func__(kind, *args, **kwargs)

    function.apply = classmethod(apply)
    try:
        yield
    finally:
        function.apply = original


def _with_call_as_forward(module: Any) -> list[Any]:
    """The classes that define ``__call__`` in place of ``forward``: torch runs no hook of these."""
    import torch

    base: Any = torch.nn.Module
    found: list[Any] = []
    others: set[Any] = set()
    for one in module.modules():
        own = [kind for kind in type(one).__mro__ if "__call__" in vars(kind) and kind is not base]
        if own and type(one).forward is base.forward:
            found.append(own[0])
            own = own[1:]
        others.update(own)
    return [kind for kind in dict.fromkeys(found) if kind not in others]


def _local_response_norm(
    input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Any:
    """One operation in the graph, where torch has a dozen."""
    import torch

    operation = torch.ops.jaxgroups_port.local_response_norm
    return operation(input, size, float(alpha), float(beta), float(k))


def _recurrent(layer: Any, input: Any, hx: Any = None) -> Any:
    """Results of the right shapes, for any length of the sequences; torch would fix it."""
    directions = 2 if layer.bidirectional else 1
    size = layer.proj_size or layer.hidden_size
    batch = () if input.dim() == 2 else (input.shape[0 if layer.batch_first else 1],)
    output = input.new_zeros((*input.shape[:-1], directions * size))
    last = input.new_zeros((directions * layer.num_layers, *batch, size))
    if layer.mode != "LSTM":
        return output, last
    cells = (directions * layer.num_layers, *batch, layer.hidden_size)
    return output, (last, input.new_zeros(cells))


def _place(places: list[str], caller: str, times: int) -> str:
    """Where a module is called: at one of its places below its caller, else at its first one.

    Args:
      times: how often a Sequential has called it before: it calls each of its places once.
    """
    below = [place for place in places if place.startswith(f"{caller}." if caller else "")]
    return below[min(times, len(below) - 1)] if below else places[0]


def _distinct(arguments: Any, torch: Any) -> Any:
    """The arguments of a call, with another value for a tensor that is there already."""
    seen: set[int] = set()

    def of(x: Any) -> Any:
        if not isinstance(x, torch.Tensor):
            return x
        if id(x) in seen:
            return torch.ops.aten.alias(x)
        seen.add(id(x))
        return x

    return torch.utils._pytree.tree_map(of, arguments)


def _bound(layer: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """The arguments of a call by the names that ``forward`` gives them."""
    signature = inspect.signature(layer.forward)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        return {f"x{i}": x for i, x in enumerate(args)} | kwargs
    found: dict[str, Any] = {}
    for name, x in bound.arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            found |= {f"{name}{i}": one for i, one in enumerate(x)}
        elif kind is inspect.Parameter.VAR_KEYWORD:
            found |= x
        else:
            found[name] = x
    return found


def _flat(x: Any, tensors: list[Any], torch: Any) -> Any:
    """The structure with a `Ref` to the list's item in place of each tensor."""
    if isinstance(x, torch.Tensor):
        tensors.append(x)
        return Ref(len(tensors) - 1)
    if isinstance(x, torch.SymInt):
        return Size(str(x.node.expr), int(x.node.hint))
    if isinstance(x, dict):
        return {key: _flat(one, tensors, torch) for key, one in x.items()}
    if isinstance(x, torch.Size) or (isinstance(x, tuple) and hasattr(x, "_fields")):
        return tuple(_flat(one, tensors, torch) for one in x)
    if isinstance(x, list | tuple):
        return type(x)(_flat(one, tensors, torch) for one in x)
    if x is None or isinstance(x, bool | int | float | str):
        return x
    fields = getattr(x, "__dict__", None)
    if fields and any(isinstance(one, torch.Tensor) for one in fields.values()):
        return {key: _flat(one, tensors, torch) for key, one in fields.items()}
    return None


def _caller() -> Line | None:
    """The line of the program that calls the module of the running hook."""
    frame = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if "/torch/" not in file and "/contextlib.py" not in file:
            return Line(file, frame.f_lineno)
        frame = frame.f_back
    return None
