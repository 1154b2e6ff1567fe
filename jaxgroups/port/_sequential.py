"""A Sequential of torch: a chain of layers, functions and Sequentials."""

from collections.abc import Callable
from typing import Any

from jaxgroups.port import _order as orders
from jaxgroups.port._errors import Unsupported
from jaxgroups.port._expr import Expr, Make, Use
from jaxgroups.port._graph import Call, Node, Ref, refs
from jaxgroups.port._layers import layer_of
from jaxgroups.port._values import check_names
from jaxgroups.port._whole import Whole, taken


def is_sequential(module: Any) -> bool:
    """Whether the module calls its children one after the other, as torch's Sequential does."""
    for base in type(module).__mro__:
        if f"{base.__module__}.{base.__qualname__}" == "torch.nn.modules.container.Sequential":
            return type(module).forward is base.forward
    return False


def chain(start: Callable[[], Any], call: Call, x: Ref) -> Make:
    """The call of the constructor of a Sequential.

    Args:
      start: makes an empty body of the Sequential.
      call: the call of the Sequential.
      x: its input.

    Raises:
      Unsupported: an item that takes other than the result of the item before, or in another order.
    """
    check_names(
        tuple(step.path.rpartition(".")[2] for step in call.steps if isinstance(step, Call))
    )
    items: list[tuple[str, Any]] = []
    value: Any = x
    for step in call.steps:
        if not isinstance(step, Call) or list(step.inputs.values()) != [value]:
            raise Unsupported("a Sequential whose items take several values")
        item, turned = _item(start(), step, value)
        if turned is not None:  # the axes are brought into the order by the function before it
            if not items or not isinstance(items[-1][1], Expr):
                raise Unsupported("a Sequential whose items need the axes in another order")
            name, before = items[-1]
            items[-1] = (name, _inlined(turned, {value.number: before}))
        items.append((step.path.rpartition(".")[2], item))
        value = step.output
    numbered = [name for name, _ in items] == [str(i) for i in range(len(items))]
    items = [(name, _function(i) if isinstance(i, Expr) else i) for name, i in items]
    if numbered:
        return Make("nnx.Sequential", [("", item) for _, item in items])
    return Make("jnn.Sequential", items)


def _item(body: Any, step: Call, value: Any) -> tuple[Any, Expr | None]:
    """A constructor call, and what its input has to be; or an expression of one value, ``"x"``."""
    if not isinstance(value, Ref):
        raise Unsupported("a Sequential whose items give several values")
    body.known.add(value.number)
    body.call_step(step)
    statements = body.made.statements
    children = body.made.children
    if len(children) == 1 and len(statements) == 1:
        ((path, make),) = children.items()
        (statement,) = statements
        parts = statement.expr.parts
        inner = [part for part in parts if not isinstance(part, str)]
        if len(inner) == 2 and inner[0] == (path,):
            if inner[1] == Use(value.number):
                return make, None
            if isinstance(inner[1], Expr) and [*inner[1].uses()] == [value.number]:
                return make, inner[1]
    if children or len(body.free):
        raise Unsupported("a Sequential whose items read values from elsewhere")
    result = body.alias.get(step.output.number, step.output.number)
    made = {s.target.number: s.expr for s in statements if isinstance(s.target, Ref)}
    return _inlined(Expr([Use(result)]), {**made, value.number: Expr(["x"])}), None


def _inlined(part: Any, made: dict[int, Expr]) -> Any:
    """The expression of the values' expressions."""
    if isinstance(part, Use):
        if part.number not in made:
            raise Unsupported("a Sequential whose items read values from elsewhere")
        return _inlined(made[part.number], made)
    if isinstance(part, Expr):
        inner = [_inlined(one, made) for one in part.parts]
        whole = len(inner) == 1 and isinstance(inner[0], Expr)
        return inner[0] if whole else Expr(inner, part.atom)
    return part


def _function(expr: Expr) -> Expr:
    """``nnx.relu``, or ``lambda x: ...``."""
    parts: list[Any] = [part.parts[0] if isinstance(part, Expr) and part.parts == ["x"] else part
             for part in expr.parts]  # fmt: skip
    if len(parts) == 3 and parts[1:] == ["x", ")"] and str(parts[0]).endswith("("):
        return Expr([parts[0][:-1]])
    return Expr(["lambda x: ", expr], atom=False)


def first_order(whole: Whole, call: Call) -> orders.Order | None:
    """The order in which the first layer of a Sequential that has one takes its input."""
    for step in call.steps:
        if not isinstance(step, Call):
            return None
        module = whole.graph.modules[step.path]
        layer = layer_of(module)
        if layer is not None and layer.order != "any":
            (number,) = [*refs(step.inputs)][:1]
            return taken(whole, layer, number)
        if layer is None and is_sequential(module) and step.steps:
            return first_order(whole, step)
        inner = [one.op for one in step.steps if isinstance(one, Node)]
        if layer is None and not (is_transparent(module) and {*inner} <= _ELEMENTWISE):
            return None
    return None


_ELEMENTWISE = {
    "aten.relu", "aten.relu6", "aten.hardtanh", "aten.silu", "aten.gelu", "aten.tanh",
    "aten.sigmoid", "aten.leaky_relu", "aten.elu", "aten.hardswish", "aten.dropout",
}  # fmt: skip


def is_transparent(module: Any) -> bool:
    """Torch's own module without parameters or children: its operations are written in place."""
    kind = type(module).__module__
    if not kind.startswith("torch.nn.modules") or [*module.children()]:
        return False
    return not [*module.parameters(recurse=False)] and not [*module.buffers(recurse=False)]
