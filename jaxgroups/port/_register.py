"""Rules of a user's own: what an operation or a layer of torch is in Flax."""

from collections.abc import Callable
from typing import Any

from jaxgroups.port import _body as body
from jaxgroups.port import _layers as layers
from jaxgroups.port._expr import Lit, Make
from jaxgroups.port._graph import Node
from jaxgroups.port._ops.elementwise import apply

IMPORTS: dict[str, str] = {}  # by prefix in the source the line that imports it
_ORDERS = ("channels_last", "last", "natural", "any")


def register(what: Any, target: str) -> None:
    """Register what an operation of torch is, element by element.

        port.register("aten.erfinv", "jax.scipy.special.erfinv({0})")

    Args:
      what: the operation as a refusal names it, ``"aten.erfinv"``.
      target: the expression, with ``{0}``, ``{1}`` for the operands. Modules in it are imported by
        their whole names.

    Raises:
      TypeError: an operation that is no string.
      ValueError: an expression without an operand.
    """
    if not isinstance(what, str):
        raise TypeError(f"an operation is a string such as 'aten.erfinv', got {what!r}")
    if "{0}" not in target:
        raise ValueError(f"the expression must have {{0}} for the operand, got {target!r}")
    name = ".".join(what.split(".")[:2])
    _import(target.partition("(")[0])

    def rule(b: body.Body, node: Node) -> None:
        apply(b, node, target, list(node.args))

    body.RULES[name] = rule


def register_layer(
    kind: type, order: str = "channels_last"
) -> Callable[[Callable[[Any], str]], Callable[[Any], str]]:
    """Register what a class of torch modules is in Flax.

        @port.register_layer(mynets.Swish)
        def _(module):
            return f"my_layers.Swish({module.beta})"

    Parameters are converted by the rule that `jaxgroups.convert.register` has for the Flax class.

    Args:
      kind: the class; a subclass with a ``forward`` of its own is not meant.
      order: the order of the input's axes: ``"channels_last"``; ``"last"``, features on torch's
        last axis; ``"natural"``, torch's; ``"any"``, element by element.

    Returns:
      A decorator of a function of the module that returns the constructor call. ``rngs=rngs`` in
      it is the stream that the class around it has.

    Raises:
      ValueError: an unknown order.
    """
    if order not in _ORDERS:
        raise ValueError(f"order must be one of {', '.join(_ORDERS)}, got {order!r}")

    def decorate(function: Callable[[Any], str]) -> Callable[[Any], str]:
        def rule(module: Any) -> layers.Layer:
            text = function(module)
            target, _, rest = text.partition("(")
            _import(target)
            inner = rest.rstrip().removesuffix(")")
            random = "rngs=rngs" in inner
            given = inner.replace("rngs=rngs", "").strip().strip(",").strip()
            arguments = [("", Lit(layers.Source(given), "arguments"))] if given else []
            return layers.Layer(Make(target, arguments, random), order)

        layers.LAYERS[f"{kind.__module__}.{kind.__qualname__}"] = rule
        return function

    return decorate


def _import(target: str) -> None:
    module = target.rpartition(".")[0]
    if module and module.split(".")[0] not in ("jax", "jnp", "nnx", "jg", "jnn"):
        IMPORTS[f"{module}."] = f"import {module}"
