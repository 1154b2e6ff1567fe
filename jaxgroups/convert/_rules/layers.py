"""The rule of each layer type, which depends on its type and settings, never on a shape.

A rule is a function of a layer and the shapes of its parameters. For each parameter it returns the
name of the torch tensor and the operation between the two. `register` adds rules for other layers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from flax import linen as nn
from flax import nnx

from jaxgroups import linen as jg_linen
from jaxgroups import nnx as jg_nnx
from jaxgroups._types import Shape
from jaxgroups.convert._rules.kernels import kernel_op, kind_of
from jaxgroups.convert._rules.merges import FlaxOnly, Merge, Sum
from jaxgroups.convert._rules.norms import BATCH_NORMS, INSTANCE_NORMS, TRAILING_NORMS
from jaxgroups.convert._rules.ops import (
    Chain,
    Identity,
    Op,
    Part,
    Permute,
    Reshape,
)

Shapes = Mapping[str, Shape]


@dataclass(frozen=True)
class TensorRule:
    """The torch tensor for one Flax parameter.

    Attributes:
      torch: the tensor's name within its layer.
      op: the operation from torch to Flax.
      plus: the name of a second tensor, which is added to the first one before the operation.
        Saving writes zeros to it.
      merge: the sum of the two.
    """

    torch: str
    op: Op = field(default_factory=Identity)
    plus: str | None = None
    merge: Merge = field(default_factory=Sum)


@dataclass(frozen=True)
class Rule:
    """The rule of a whole layer.

    Attributes:
      leaves: the rule of each parameter, by its dotted path within the layer. A parameter of a
        nested layer that is left out has the rule of the nested layer.
      torch_only: names of tensors that only torch has (counters).
    """

    leaves: Mapping[str, TensorRule | FlaxOnly]
    torch_only: tuple[str, ...] = ()


RuleFunction = Callable[[Any, Shapes], "Rule | Mapping[str, TensorRule | FlaxOnly]"]
_CONTAINERS = (nnx.Module, nnx.List, nnx.Dict, nnx.Sequential, nn.Module, nn.Sequential)
_RULES: dict[type, RuleFunction] = {}


def register(*types: type) -> Callable[[RuleFunction], RuleFunction]:
    """Register a function as the rule of layer types, nnx or linen, and of their subclasses.

        @register(MyConv)
        def _(layer, shapes):
            kernel = TensorRule("weight", Permute((2, 3, 1, 0)))
            return {"kernel": kernel, "bias": TensorRule("bias")}

    The function gets the layer with its settings, and the shapes of its parameters by name, those
    of nested layers dotted (``"query.kernel"``). It returns a `Rule`, or a `TensorRule` for each
    parameter; nested layers whose parameters it leaves out have their own rules. It may raise
    ValueError for settings without a counterpart in torch.

    Args:
      *types: the layer types.

    Returns:
      A decorator that returns the function unchanged.
    """

    def add(rule: RuleFunction) -> RuleFunction:
        for layer_type in types:
            _RULES[layer_type] = rule
        return rule

    return add


def rule_of(layer: Any) -> RuleFunction | None:
    """The rule of the layer's type or of its nearest registered base class, or None."""
    for layer_type in type(layer).__mro__:
        if layer_type in _RULES:
            return _RULES[layer_type]
    return None


def is_built_in(layer: Any) -> bool:
    """Whether a layer is one of Flax's own or derived from one; containers of layers are not."""
    for kind in type(layer).__mro__:
        if kind in _CONTAINERS:
            return False
        # the class that remat or scan makes comes before the original one
        if kind.__module__.split(".")[0] == "flax" and kind.__module__ != "flax.linen.transforms":
            return True
    return False


def apply_rule(rule: RuleFunction, layer: Any, shapes: Shapes) -> Rule:
    """The rule of one layer, given the shapes of its parameters."""
    answer = rule(layer, shapes)
    return answer if isinstance(answer, Rule) else Rule(answer)


def _kernel(shapes: Shapes, op: Op) -> dict[str, TensorRule]:
    leaves = {"kernel": TensorRule("weight", op)}
    return leaves | ({"bias": TensorRule("bias")} if "bias" in shapes else {})


def _axes(shapes: Shapes, expected: int) -> int:
    """The number of axes of the kernel; refuses the additional axes of stacked layers."""
    kernel = shapes["kernel"]
    if len(kernel) != expected:
        raise ValueError(
            f"its kernel has {len(kernel)} axes, but one such layer has {expected}: stacked layers "
            "(scan, vmap) have no counterpart in torch"
        )
    return expected


@register(jg_nnx.Layer, jg_linen.Layer, nnx.Conv, nn.Conv, nnx.ConvTranspose, nn.ConvTranspose)
def _conv(layer: Any, shapes: Shapes):
    ndim = _axes(shapes, np.size(layer.kernel_size) + 2)
    return _kernel(shapes, kernel_op(str(kind_of(layer)), ndim))


@register(nnx.Linear, nn.Dense)
def _linear(layer: Any, shapes: Shapes):
    _axes(shapes, 2)
    return _kernel(shapes, Permute((1, 0)))


def _general(kernel: Shape, features: int) -> Op:
    """(prod out, prod in) -> (*in, *out); the last `features` axes are out."""
    split = len(kernel) - features
    rows, columns = prod(kernel[split:]), prod(kernel[:split])
    return Chain((Permute((1, 0)), Reshape((columns, rows), kernel)))


@register(nnx.LinearGeneral, nn.DenseGeneral)
def _linear_general(layer: Any, shapes: Shapes):
    """Flax sorts `axis`, so the kernel's axes are in the order of the input's."""
    features = layer.out_features if isinstance(layer, nnx.LinearGeneral) else layer.features
    count = len(features) if isinstance(features, tuple | list) else 1
    axes = len(layer.axis) if isinstance(layer.axis, tuple | list) else 1
    batch = layer.batch_axis if isinstance(layer, nnx.LinearGeneral) else layer.batch_dims
    if batch:
        raise ValueError("a general linear layer with batch axes has no counterpart in torch")
    _axes(shapes, axes + count)
    leaves = {"kernel": TensorRule("weight", _general(shapes["kernel"], count))}
    if "bias" in shapes:
        bias = shapes["bias"]
        leaves["bias"] = TensorRule("bias", Reshape((prod(bias),), bias))
    return leaves


@register(jg_nnx.Bilinear)
def _bilinear(layer: Any, shapes: Shapes):
    """Torch's names and shapes."""
    return {name: TensorRule(name) for name in shapes}


@register(nnx.Embed, nn.Embed)
def _embed(layer: Any, shapes: Shapes):
    return {"embedding": TensorRule("weight")}


_QKV = ("query", "key", "value")
_NORM = {"scale": "weight", "bias": "bias"}


@register(nnx.BatchNorm, nn.BatchNorm)
def _batch_norm(layer: Any, shapes: Shapes):
    # without statistics there are no batches to count
    only_torch = ("num_batches_tracked",) if "mean" in shapes else ()
    return Rule(_statistics(shapes), torch_only=only_torch)


@register(*BATCH_NORMS, *INSTANCE_NORMS)
def _running_norm(layer: Any, shapes: Shapes):
    return _statistics(shapes)


def _statistics(shapes: Shapes) -> dict[str, TensorRule]:
    statistics = {"mean": "running_mean", "var": "running_var"}
    names = _NORM | statistics | {"num_batches_tracked": "num_batches_tracked"}
    return {leaf: TensorRule(name) for leaf, name in names.items() if leaf in shapes}


@register(nnx.GroupNorm, nn.GroupNorm, nnx.InstanceNorm, nn.InstanceNorm, jg_nnx.GroupNorm)
def _norm(layer: Any, shapes: Shapes):
    return {leaf: TensorRule(_NORM[leaf]) for leaf in shapes if leaf in _NORM}


@register(nnx.LayerNorm, nn.LayerNorm, nnx.RMSNorm, nn.RMSNorm, *TRAILING_NORMS)
def _layer_norm(layer: Any, shapes: Shapes):
    """A norm over several axes has the shape (C, *spatial) in torch, (*spatial, C) in Flax."""

    def op(shape: Shape) -> Op:
        return Identity() if len(shape) < 2 else Permute((*range(1, len(shape)), 0))

    return {
        leaf: TensorRule(_NORM[leaf], op(shape)) for leaf, shape in shapes.items() if leaf in _NORM
    }


@register(nnx.PReLU, nn.PReLU, jg_nnx.PReLU)
def _prelu(layer: Any, shapes: Shapes):
    """One slope has shape () in Flax, (1,) in torch and jaxgroups; one a channel has (C,) in all.

    ``nnx.PReLU(jnp.full((C,), 0.25))`` has one a channel: channels are last.
    """
    slope = shapes["negative_slope"]
    return {"negative_slope": TensorRule("weight", Identity() if slope else Reshape((1,), ()))}


@register(nnx.MultiHeadAttention, nn.MultiHeadDotProductAttention)
def _attention(layer: Any, shapes: Shapes):
    """torch packs query, key and value into ``in_proj_weight`` if their inputs have one size."""
    kernels = [shapes[f"{name}.kernel"] for name in _QKV]
    if len({kernel[1:] for kernel in kernels}) > 1:
        raise ValueError("fewer heads of keys than of queries have no counterpart in torch")
    packed = len({kernel[0] for kernel in kernels}) == 1
    leaves: dict[str, TensorRule] = {}
    for index, (name, kernel) in enumerate(zip(_QKV, kernels, strict=True)):
        op = _general(kernel, 2)
        if packed:
            leaves[f"{name}.kernel"] = TensorRule("in_proj_weight", Chain((Part(index, 3), op)))
        else:
            leaves[f"{name}.kernel"] = TensorRule(f"{name[0]}_proj_weight", op)
        if f"{name}.bias" in shapes:
            bias = shapes[f"{name}.bias"]
            op = Chain((Part(index, 3), Reshape((prod(bias),), bias)))
            leaves[f"{name}.bias"] = TensorRule("in_proj_bias", op)
    leaves["out.kernel"] = TensorRule("out_proj.weight", _general(shapes["out.kernel"], 1))
    if "out.bias" in shapes:
        leaves["out.bias"] = TensorRule("out_proj.bias")
    return leaves
