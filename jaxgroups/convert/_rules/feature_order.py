"""Rules for the order of flattened features, which differs between torch and Flax.

torch flattens a feature map (C, *spatial), Flax (*spatial, C). So the operation `ChannelsLast`
reorders an axis of a parameter that belongs to a flattened feature map: the rows of a Linear that
reads one, the columns and the bias of a Linear that makes one, and every vector of a norm of one.

    FlattenLinear(512, 7, 7)      its input is a flattened feature map
    UnflattenLinear(256, 4, 4)    its output becomes a feature map
    FlattenVector(512, 7, 7)      its vectors belong to a flattened feature map
    KeepOrder()                   the torch model has Flax's order: nothing is reordered
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

from flax import linen as nn
from flax import nnx

from jaxgroups._types import Shape
from jaxgroups.convert._rules.layers import Rule, Shapes, apply_rule, rule_of
from jaxgroups.convert._rules.merges import FlaxOnly
from jaxgroups.convert._rules.ops import Chain, ChannelsLast, Identity, Op, Reshape

_LINEARS = (nnx.Linear, nn.Dense, nnx.LinearGeneral, nn.DenseGeneral)


def axis_groups(op: Op, flax_shape: Shape) -> list[tuple[int, ...]]:
    """The groups of axes of a Flax parameter that are one axis each before its last `Reshape`."""
    last = _last_reshape(op)
    if last is None:
        return [(axis,) for axis in range(len(flax_shape))]
    groups, start = [], 0
    for size in last.torch:
        end = start
        while end < len(flax_shape) and prod(flax_shape[start:end]) != size:
            end += 1
        groups.append(tuple(range(start, end)))
        start = end
    if start < len(flax_shape) and groups:
        groups[-1] = (*groups[-1], *range(start, len(flax_shape)))
    return groups


def reordered(op: Op, reorderings: Sequence[ChannelsLast]) -> Op:
    """The operation with reorderings added; their axes count the groups of `axis_groups`."""
    if not reorderings:
        return op
    last = _last_reshape(op)
    steps = list(op.ops if isinstance(op, Chain) else (op,))
    steps = [step for step in steps if not isinstance(step, Identity)]
    place = len(steps) - (last is not None)
    steps[place:place] = reorderings
    return steps[0] if len(steps) == 1 else Chain(tuple(steps))


def is_reordered(op: Op) -> bool:
    """Whether an operation reorders flattened features already."""
    return any(isinstance(o, ChannelsLast) for o in (op.ops if isinstance(op, Chain) else (op,)))


def _last_reshape(op: Op) -> Reshape | None:
    last = op.ops[-1] if isinstance(op, Chain) and op.ops else op
    return last if isinstance(last, Reshape) else None


class OrderRule:
    """Base class of the rules in this file: they change the rule of the layer's type."""

    def __call__(self, layer: Any, shapes: Shapes) -> Rule:
        """The rule of the layer; an instance is a function for `register`.

        Raises:
          ValueError: the rule does not apply to such layers.
        """
        self._check(layer)
        base = rule_of(layer)
        if base is None:
            kind = type(layer).__name__
            raise ValueError(f"{self} is for a layer that has a rule, not for {kind}")
        known = apply_rule(base, layer, shapes)
        leaves = {
            leaf: rule
            if isinstance(rule, FlaxOnly)
            else replace(rule, op=self._op(leaf, rule.op, shapes[leaf]))
            for leaf, rule in known.leaves.items()
        }
        return Rule(leaves, known.torch_only)

    def _check(self, layer: Any) -> None:
        """Raise ValueError if the rule does not apply to such layers."""

    def _op(self, leaf: str, op: Op, shape: Shape) -> Op:
        """The operation of one parameter, from the one that the layer's own rule gives."""
        raise NotImplementedError


class FlattenLinear(OrderRule):
    """The rule of a Linear or Dense layer whose input is a flattened feature map.

    torch flattens ``(C, H, W)``, Flax ``(H, W, C)``. Pass it in ``rules=``. It also applies to a
    LinearGeneral or DenseGeneral that reads the axes ``(H, W, C)``.

    Args:
      sizes: ``c, h, w``, the sizes of the feature map: channels first, then the positions. For
        other ranks they are ``c, length`` or ``c, d, h, w``.
      output: the sizes ``(c, h, w)`` of the feature map that the output is unflattened into, if
        any.

    Raises:
      ValueError: fewer than two sizes, or one below 1.
    """

    def __init__(self, *sizes: int, output: Sequence[int] | None = None) -> None:
        self.input: Shape | None = _checked(sizes)
        self.output: Shape | None = None if output is None else _checked(output)

    def _check(self, layer: Any) -> None:
        if not isinstance(layer, _LINEARS):
            raise ValueError(f"{type(self).__name__} is for a Linear or Dense layer")

    def _op(self, leaf: str, op: Op, shape: Shape) -> Op:
        sides = (self.input, self.output) if leaf == "kernel" else (self.output,)
        if len(axis_groups(op, shape)) != len(sides):
            raise ValueError(f"{self} does not fit {leaf} of shape {shape}")
        sized = [(axis, size) for axis, size in enumerate(sides) if size is not None]
        return reordered(op, [ChannelsLast(axis, size) for axis, size in sized])

    def __repr__(self) -> str:
        output = "" if self.output is None else f", output={self.output}"
        return f"FlattenLinear({', '.join(map(str, self.input or ()))}{output})"


class UnflattenLinear(FlattenLinear):
    """The rule of a Linear or Dense layer whose output is unflattened into a feature map.

    The columns of the kernel and the bias are reordered from torch's ``(C, H, W)``. Pass it in
    ``rules=``. It also applies to a LinearGeneral or DenseGeneral that makes the axes ``(H, W,
    C)``.

    Args:
      sizes: ``c, h, w``, as for `FlattenLinear`.

    Raises:
      ValueError: fewer than two sizes, or one below 1.
    """

    def __init__(self, *sizes: int) -> None:
        self.input = None
        self.output = _checked(sizes)

    def __repr__(self) -> str:
        return f"UnflattenLinear({', '.join(map(str, self.output or ()))})"


class FlattenVector(OrderRule):
    """The rule of a layer whose vectors have an entry for each entry of a flattened feature map.

    An example is a BatchNorm, LayerNorm or PReLU between a flatten and a Linear. For a parameter
    outside any layer, use the operation ``ChannelsLast(0, (c, h, w))`` instead.

    Args:
      sizes: ``c, h, w``, as for `FlattenLinear`.

    Raises:
      ValueError: fewer than two sizes, or one below 1.
    """

    def __init__(self, *sizes: int) -> None:
        self.sizes = _checked(sizes)

    def _op(self, leaf: str, op: Op, shape: Shape) -> Op:
        if len(shape) > 1:
            raise ValueError(f"{self} is for a layer of vectors, but {leaf} has shape {shape}")
        return reordered(op, [ChannelsLast(0, self.sizes)] if shape else [])

    def __repr__(self) -> str:
        return f"FlattenVector({', '.join(map(str, self.sizes))})"


class KeepOrder(OrderRule):
    """The rule of a layer whose features are in Flax's order in torch too.

    That is the case if the torch model permutes to ``(N, H, W, C)`` before it flattens. Nothing is
    reordered, and there is no warning.
    """

    def _op(self, leaf: str, op: Op, shape: Shape) -> Op:
        return op

    def __repr__(self) -> str:
        return "KeepOrder()"


def _checked(sizes: Sequence[int]) -> Shape:
    """The sizes of a feature map, checked as those of the operation."""
    return ChannelsLast(0, tuple(sizes)).sizes
