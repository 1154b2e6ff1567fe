"""A Sequential of torch: a chain of layers, functions and Sequentials."""

from collections.abc import Callable
from typing import Any

from jaxgroups.port._errors import Unsupported
from jaxgroups.port._expr import Expr, Make, Use
from jaxgroups.port._graph import Call, Ref


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
    items: list[tuple[str, Any]] = []
    value: Any = x
    for step in call.steps:
        if not isinstance(step, Call) or list(step.inputs.values()) != [value]:
            raise Unsupported("a Sequential whose items take several values")
        items.append((step.path.rpartition(".")[2], _item(start(), step, value)))
        value = step.output
    numbered = [name for name, _ in items] == [str(i) for i in range(len(items))]
    if numbered:
        return Make("nnx.Sequential", [("", item) for _, item in items])
    return Make("jnn.Sequential", items)


def _item(body: Any, step: Call, value: Any) -> Any:
    """A constructor call, or a function of one value."""
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
        if len(inner) == 2 and inner[0] == (path,) and inner[1] == Use(value.number):
            return make
    if children or len(body.free):
        raise Unsupported("a Sequential whose items need the axes in another order")
    result = body.alias.get(step.output.number, step.output.number)
    return _function(result, value.number, {s.target.number: s.expr for s in statements})


def _function(result: int, value: int, made: dict[int, Expr]) -> Expr:
    """``nnx.relu``, or ``lambda x: ...``."""

    def inlined(part: Any) -> Any:
        if isinstance(part, Use):
            return "x" if part.number == value else inlined(made[part.number])
        if isinstance(part, Expr):
            return Expr([inlined(one) for one in part.parts], part.atom)
        return part

    expr = inlined(Use(result))
    if isinstance(expr, str):
        return Expr(["lambda x: x"], atom=False)
    texts = expr.parts
    if len(texts) == 3 and texts[1:] == ["x", ")"] and str(texts[0]).endswith("("):
        return Expr([texts[0][:-1]])
    return Expr(["lambda x: ", expr], atom=False)
