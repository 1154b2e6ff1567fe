"""``jaxgroups.optimize``: compiles a function or a model for inference."""

import warnings
from collections.abc import Callable
from typing import Any

import jax
from jax.core import Tracer

from jaxgroups import _console
from jaxgroups._optimize.chain import CONVOLUTIONS
from jaxgroups._optimize.graph import Graph, Node, Value, graph_of
from jaxgroups._optimize.report import OptimizeReport, entry
from jaxgroups._optimize.rewrite import rewrite

_MOST_EMBEDDED = 256 << 20  # bytes


class Optimized:
    """The result of `optimize`: a function with the arguments of the original one."""

    def __init__(self, graph: Graph, arguments: Any, results: Any, report: OptimizeReport) -> None:
        self._arguments, self._results, self._report = arguments, results, report
        self._types = [_type(value.aval) for value in graph.inputs]
        self._program = _Program(graph)
        # arguments are checked while jit traces, so that later calls need no Python
        constants = self._program.constants
        self._first: tuple[Any, ...] = ()
        if self._program.small:
            self._call = jax.jit(lambda *args, **kwargs: self._traced(constants, args, kwargs))
        else:
            self._first = (constants,)
            self._call = jax.jit(lambda c, *args, **kwargs: self._traced(c, args, kwargs))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The results for arguments of the structure, shapes and dtypes of the examples.

        Raises:
          ValueError: other arguments.
        """
        return self._call(*self._first, *args, **kwargs)

    def _traced(self, constants: list[Any], args: Any, kwargs: Any) -> Any:
        arrays, structure = jax.tree.flatten((args, kwargs))
        types = [_type(jax.typeof(array)) for array in arrays]
        if structure != self._arguments or types != self._types:
            raise ValueError(
                f"this program was optimized for arguments ({', '.join(self._types)}), "
                f"but got ({', '.join(types)}): call jaxgroups.optimize with examples like these"
            )
        return jax.tree.unflatten(self._results, self._program(constants, *arrays))

    def report(self) -> OptimizeReport:
        """What was folded, fused and packed for each convolution, and where that ended and why."""
        return self._report

    def __repr__(self) -> str:
        return f"<Optimized for ({', '.join(self._types)})>"

    def _repr_html_(self) -> str:
        return _console.html(f"{self!r}\n{self._report}")


def _type(aval: Any) -> str:
    return aval.str_short(short_dtypes=True)


class _Program:
    """A graph as a function of its constants and inputs.

    Attributes:
      constants: the arrays that no node computes.
      small: whether the compiled program may have its own copies of them. Each argument of a
        compiled program costs about 2 us a call, and the copies take about twice their memory.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        read = [value for node in graph.nodes for value in node.ins] + graph.outputs
        computed = {out for node in graph.nodes for out in node.outs} | set(graph.inputs)
        self._values = [v for v in dict.fromkeys(read) if v not in computed]
        # scalars stay in the program, so that XLA can fold them
        self._literals = {v: v.array for v in self._values if v.shape == ()}
        self._values = [v for v in self._values if v not in self._literals]
        self.constants = [value.array for value in self._values]
        size = sum(array.nbytes for array in self.constants)
        self.small = jax.default_backend() == "cpu" and size <= _MOST_EMBEDDED

    def __call__(self, constants: list[Any], *arrays: Any) -> list[Any]:
        known: dict[Value, Any] = dict(self._literals)
        known.update(zip(self._values, constants, strict=True))
        known.update(zip(self.graph.inputs, arrays, strict=True))
        for node in self.graph.nodes:
            known.update(zip(node.outs, node.run(*map(known.__getitem__, node.ins)), strict=True))
        return [known[value] for value in self.graph.outputs]


def optimize(target: Callable[..., Any], *args: Any, **kwargs: Any) -> Optimized:
    """Compile a function or a model for inference, with its parameters as constants.

    All arrays that the function uses and that are not arguments become constants with their current
    values: the parameters of a Flax nnx or Equinox model, or those that
    ``functools.partial(model.apply, variables)`` binds for a Linen module. Three optimizations
    follow:

    * Factors and summands of each channel after a convolution, such as a BatchNorm with running
      statistics, are folded into its weights and bias, in float64.
    * A residual and an activation after a convolution are fused into it, if nothing else reads the
      intermediate results: relu, relu6, clip, leaky_relu, sigmoid, silu, hardsigmoid, hardswish.
    * On a CPU, the weights are packed into the order in which the compiled kernels read them, and
      become part of the compiled program if all constants take at most 256 MB.

    On a CPU, the product with a constant matrix, as of a Linear layer, is computed by the kernels
    too: it is a convolution of kernel size 1. The maximum over windows is computed as a maximum of
    slices, and the sum over the spatial axes of a channels-last array as a product with ones.

    Every convolution uses the implementations of jaxgroups, also in layers of other libraries.
    Other operations are not changed, nor are convolutions in loops and branches, convolutions of
    16-bit and complex numbers, and a BatchNorm that computes the statistics of its batch.

    The result differs from the function by rounding only. It can be differentiated with respect to
    its arguments and used in jit and vmap. Later changes of the parameters have no effect on it.

    Args:
      target: a function, or a model that can be called. Set a model to evaluation first
        (``model.eval()`` of nnx, ``equinox.nn.inference_mode``).
      *args: example arguments; only their structure, shapes and dtypes are used.
      **kwargs: example keyword arguments, likewise.

    Returns:
      The optimized function; its ``report()`` lists what was done with each convolution.

    Raises:
      TypeError: `target` cannot be called.
      ValueError: parameters that are traced, as inside a function under ``jax.jit``.

    Warns:
      UserWarning: a call changes variables of the model; the optimized function does not.

    >>> import jax, jax.numpy as jnp, jaxgroups as jg
    >>> x, w = jnp.ones((1, 5, 5, 4)), jnp.ones((3, 3, 2, 6))
    >>> scale = jnp.arange(6.0).reshape(1, 1, 1, 6)
    >>> def block(x):
    ...     y = jg.conv2d(x, w, groups=2, data_format="channels_last")
    ...     return jax.nn.relu(y * scale - 1)
    >>> fast = jg.optimize(block, x)
    >>> bool(jnp.allclose(fast(x), block(x)))
    True
    >>> fast.report().convolutions[0].folded, fast.report().convolutions[0].fused
    (('scale', 'shift'), 'relu')
    """
    if not callable(target):
        raise TypeError(
            f"jaxgroups.optimize(): the first argument must be a function or a model that can be "
            f"called, not {type(target).__name__}"
        )
    function, changed = _pure(target)
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*args, **kwargs)
    if any(isinstance(array, Tracer) for array in closed.consts):
        raise ValueError(
            "jaxgroups.optimize(): the parameters are traced, so they are not constant: call it "
            "outside of jax.jit, jax.grad and jax.vmap"
        )
    notes = [f"a call changes {', '.join(changed)}; the optimized function does not"] * bool(
        changed
    )
    for note in notes:
        warnings.warn(
            f"jaxgroups.optimize(): {note}. For inference call model.eval() first", stacklevel=2
        )
    graph = graph_of(closed)
    report = _report(graph, notes)
    structures = (jax.tree.structure((args, kwargs)), jax.tree.structure(shapes))
    return Optimized(graph, *structures, report)


def _report(graph: Graph, notes: list[str]) -> OptimizeReport:
    """Rewrite the graph; returns the report."""
    unchanged = [
        f"a convolution inside of {node.name} is not changed"
        for node in graph.nodes
        if _has_convolution(node)
    ]
    return OptimizeReport(tuple(map(entry, rewrite(graph))), (*notes, *unchanged))


def _has_convolution(node: Node) -> bool:
    """Whether the inner jaxprs of a node, such as a loop, contain a convolution."""
    return any(map(_convolves, jax.tree.leaves(list(node.params.values()), is_leaf=_is_jaxpr)))


def _is_jaxpr(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")


def _convolves(value: Any) -> bool:
    if not _is_jaxpr(value):
        return False
    eqns = getattr(value, "jaxpr", value).eqns
    inner = (param for eqn in eqns for param in eqn.params.values())
    return any(eqn.primitive.name in CONVOLUTIONS for eqn in eqns) or any(map(_convolves, inner))


def _pure(target: Callable[..., Any]) -> tuple[Callable[..., Any], list[str]]:
    """The target without side effects, and a list that a call fills with the changed variables."""
    from flax import nnx

    changed: list[str] = []
    if not isinstance(target, nnx.Module):
        return target, changed
    structure, state = nnx.split(target)

    def function(*args: Any, **kwargs: Any) -> Any:
        model: Any = nnx.merge(structure, state, copy=True)
        out = model(*args, **kwargs)
        before, after = (dict(nnx.to_flat_state(s)) for s in (state, nnx.state(model)))
        for path, variable in after.items():
            given = before.get(path)
            if given is None or given.get_value() is not variable.get_value():
                changed.append(".".join(map(str, path)))
        return out

    return function, changed
