"""Structure: every torch tensor has its Flax tensor, and the same ones are trained and shared."""

from math import prod
from typing import Any

from flax import nnx

from jaxgroups.convert import ConversionError, Plan
from jaxgroups.convert._files.show import counted
from jaxgroups.convert._model.structure import of_nnx
from jaxgroups.prove._result import Check


def structure(module: Any, model: nnx.Module, plan: Plan) -> list[Check]:
    """The checks of the tensors, of which are trained, and of which are shared."""
    if not plan.complete:
        error = ConversionError(plan.model, plan.entries, plan.hints)
        text = "; ".join(line.strip() for line in str(error).split("\n")[1:])
        return [Check("structure", "tensors", "different", where=text)]
    params = {id(p): p for p in module.parameters()}.values()
    values = sum(p.numel() for p in params)
    what = f"{counted(len(plan.leaves()), 'tensor')}, {counted(values, 'trained value')}"
    return [
        Check("structure", what, "equal"),
        _check("shared tensors", _shared(module, plan)),
        _check("what is trained", _trained(module, model, plan)),
    ]


def _check(what: str, problem: str) -> Check:
    return Check("structure", what, "different" if problem else "equal", where=problem)


def _trained(module: Any, model: nnx.Module, plan: Plan) -> str:
    """A message if a parameter is a buffer on the other side, or the numbers of values differ."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    info = {tuple(p.path): p for p in of_nnx(model).params}
    flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
    trained = {info[tuple(path)].name for path, _ in flat if tuple(path) in info}
    for e in plan.leaves():
        if e.torch and (e.torch[0] in parameters) != (e.flax in trained):
            known = e.torch[0] in parameters
            theirs, ours = ("a parameter", "no") if known else ("a buffer", "an")
            return f"{e.torch[0]} is {theirs} in torch, {e.flax} is {ours} nnx.Param"
    if not plan.of_status("folded", "summed", "constant", "ignored"):
        theirs = sum({id(p): p.numel() for p in module.parameters()}.values())
        ours = sum(prod(p.shape) for p in info.values() if p.name in trained)
        if theirs != ours:
            return f"torch trains {theirs} values, Flax {ours}"
    return ""


def _shared(module: Any, plan: Plan) -> str:
    """A message if a tensor is shared on one side only."""
    named = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    first_path: dict[tuple[int, str], str] = {}
    for e in plan.of_status("ok"):
        if e.torch[0] in named:
            key = (id(named[e.torch[0]]), repr(e.op))
            other = first_path.setdefault(key, str(e.flax))
            if other != e.flax:
                return f"{e.torch[0]} is one tensor in torch, {other} and {e.flax} are two in Flax"
    for e in plan.of_status("alias"):
        one, other = (named.get(name) for name in e.torch)
        if one is not None and other is not None and one is not other:
            return f"{e.torch[0]} and {e.torch[1]} are two tensors in torch, and one in Flax"
    return ""
