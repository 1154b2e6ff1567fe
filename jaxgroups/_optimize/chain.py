"""A convolution and the operations after it that one call can compute."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxgroups._op.fused import fused_p
from jaxgroups._op.primitive import biased_p, conv_p
from jaxgroups._optimize.activations import activation_of
from jaxgroups._optimize.channels import Rearrangement, per_channel
from jaxgroups._optimize.graph import Graph, Node, Value, constant
from jaxgroups._problem.problem import ConvProblem
from jaxgroups._problem.view_ops import apply_views, apply_views_to_aval
from jaxgroups._problem.xla_conv import LAX_P
from jaxgroups._spec.epilogue import Epilogue

CONVOLUTIONS = tuple(primitive.name for primitive in (LAX_P, conv_p, biased_p, fused_p))
_FOLDED_DTYPES = ("float32", "float64")
_OUR_PARAMS = ("implementation", "view_ops", "epilogue", "biased", "layout")


@dataclass(eq=False)
class Chain:
    """A convolution, and the operations that are folded into it or computed by its call.

    Attributes:
      node: the convolution in the program.
      problem: the convolution in XLA's terms.
      params: the parameters of lax's primitive.
      implementation: the argument of the call, or None.
      weights: the right operand after its view ops, as float64; None where it is not constant.
      bias: the constant bias of each output channel, as float64; None without one.
      free_bias: a bias that is not constant.
      scaled: whether a factor of each channel was folded into the weights.
      shifted: whether a summand of each channel was folded into the bias.
      epilogue, residual: the activation and the residual.
      before_residual: rearrangements of the result before the residual is added.
      path: rearrangements of the result before `end`.
      members: the nodes after the convolution that are replaced, in order.
      end: the value that the chain computes.
      stopped: why the next operation is not part of the chain.
    """

    node: Node
    problem: ConvProblem
    params: dict[str, Any]
    implementation: str | None
    weights: np.ndarray | None
    bias: np.ndarray | None
    free_bias: Value | None
    epilogue: Epilogue
    residual: Value | None
    path: Rearrangement
    end: Value
    before_residual: Rearrangement | None = None
    scaled: bool = False
    shifted: bool = False
    members: list[Node] = field(default_factory=list)
    stopped: str = ""

    @property
    def foldable(self) -> bool:
        """Whether scales may be folded into the weights."""
        return self.weights is not None and self.free_bias is None

    def scale(self, by: np.ndarray) -> bool:
        """Fold a factor of each channel; False where the weights would no longer be finite."""
        if self.weights is None:
            return False
        axis = self.problem.dimension_numbers[1][0]
        shape = [1] * self.weights.ndim
        shape[axis] = -1
        weights = self.weights * by.reshape(shape)
        if not np.isfinite(weights.astype(self.problem.dtype)).all():
            return False
        self.weights, self.scaled = weights, True
        if self.bias is not None:
            self.bias = self.bias * by
        return True

    def shift(self, by: np.ndarray) -> bool:
        """Fold a summand of each channel into the bias."""
        if self.free_bias is not None:
            return False
        channels = self.problem.rhs_shape[self.problem.dimension_numbers[1][0]]
        bias = np.zeros(channels) if self.bias is None else self.bias
        self.bias, self.shifted = bias + by, True
        return True


def chain_of(graph: Graph, node: Node) -> Chain | str:
    """The longest chain that begins at a convolution, or the reason why it is not rewritten."""
    chain = _start(node)
    if isinstance(chain, str):
        return chain
    path = chain.path
    pending: list[Node] = []  # rearrangements since the last member
    value = chain.end
    while True:
        users = graph.users_of(value)
        if users is None:
            chain.stopped = "a result of the program"
            break
        rearranged = path.then(users[0]) if len(users) == 1 else None
        if rearranged is not None:
            pending.append(users[0])
            path, value = rearranged, users[0].out
            continue
        nodes = _extend(graph, chain, path, value, users)
        if isinstance(nodes, str):
            chain.stopped = nodes
            break
        chain.members += [*pending, *nodes]
        pending = []
        chain.path, chain.end = path, nodes[-1].out
        value = chain.end
    return chain


def _start(node: Node) -> Chain | str:
    params = {k: v for k, v in node.params.items() if k not in _OUR_PARAMS}
    ours = {k: v for k, v in node.params.items() if k in _OUR_PARAMS}
    views = ours.get("view_ops", ())
    lhs, rhs, *rest = node.ins
    problem = ConvProblem.of(lhs.aval, apply_views_to_aval(rhs.aval, views), params)
    if problem is None:
        return "a size is symbolic"
    if problem.batch_group_count > 1:
        return "a convolution with batch groups"
    if params.get("out_sharding") is not None:
        return "it is sharded"
    if problem.dtype not in _FOLDED_DTYPES or node.out.aval.dtype != problem.dtype:
        return f"{problem.dtype}: its operations are rounded one by one"
    if ours.get("layout"):
        return "it is already optimized"
    epilogue = ours.get("epilogue", Epilogue())
    array = constant(rhs)
    weights = None
    if array is not None and getattr(array, "is_fully_addressable", True):
        weights = np.asarray(apply_views(array, views), np.float64)
    bias, free_bias = None, None
    if node.name == biased_p.name or ours.get("biased"):
        value = constant(rest.pop(0))
        bias = None if value is None else np.asarray(value, np.float64)
        free_bias = node.ins[2] if bias is None else None
    axis = params["dimension_numbers"].out_spec[1]
    path = Rearrangement(node.out.shape, axis)
    chain = Chain(
        node,
        problem,
        params,
        ours.get("implementation"),
        weights,
        bias,
        free_bias,
        epilogue,
        rest.pop(0) if epilogue.residual != "none" else None,
        path,
        node.out,
    )
    if chain.residual is not None:
        chain.before_residual = path
    return chain


def _extend(
    graph: Graph, chain: Chain, path: Rearrangement, value: Value, users: list[Node]
) -> list[Node] | str:
    """Add the next operation to the chain; returns its nodes, or the reason why it is not added."""
    plain = not chain.epilogue
    if chain.epilogue.kind == "none":
        activation = activation_of(graph, value)
        if activation is not None:
            chain.epilogue = chain.epilogue._replace(
                kind=activation.kind, alpha=activation.alpha, beta=activation.beta
            )
            return list(activation.nodes)
    if len(users) != 1:
        return f"its result is used {len(users)} times" if users else "its result is not used"
    (node,) = users
    if node.name not in ("add", "sub", "mul", "div", "neg"):
        return f"{node.name} follows"
    if node.name == "neg":
        return (
            list(users) if plain and chain.foldable and chain.scale(-np.ones(1)) else "neg follows"
        )
    first = node.ins[0] is value
    other = node.ins[1] if first else node.ins[0]
    if node.ins[0] is node.ins[1]:
        return f"{node.name} of the result and itself follows"
    numbers = per_channel(other, path.shape, path.axis)
    if numbers is not None:
        return _constants(chain, node, first, numbers, plain)
    if node.name != "add" or other.aval.dtype != value.aval.dtype or other.shape != value.shape:
        return f"{node.name} with an operand that is not constant for each channel"
    if chain.residual is not None:
        return "a second residual follows"
    place = "before" if plain else "after"
    chain.residual, chain.before_residual = other, path
    chain.epilogue = chain.epilogue._replace(residual=place)
    return list(users)


def _constants(
    chain: Chain, node: Node, first: bool, numbers: np.ndarray, plain: bool
) -> list[Node] | str:
    """Fold an operation with a constant for each channel; returns as `_extend`."""
    why = f"{node.name} with constants after {chain.epilogue}"
    if node.name in ("add", "sub"):
        if chain.epilogue.kind != "none":
            return why
        subtracted, negated = node.name == "sub" and first, node.name == "sub" and not first
        if negated and not (plain and chain.foldable and chain.scale(-np.ones(1))):
            return why
        shifted = chain.shift(-numbers if subtracted else numbers)
        return [node] if shifted else "its bias is not constant"
    if not plain:
        return why
    if not chain.foldable:
        return "its weights or its bias are not constant"
    if node.name == "div" and not first:
        return "a constant divided by the result follows"
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if chain.scale(1 / numbers if node.name == "div" else numbers):
            return [node]
    return "its weights times the scale are not finite"
