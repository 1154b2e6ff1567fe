"""The two views of a problem that lowerings compute, both channels last.

A grouped convolution and all its gradients are one trilinear form, with x dilated by ``u``::

    sum over n, p, k, g, c, o   x[n, (p s + k d - lo) / u, (g, c)]  w[k, c, (g, o)]  y[n, p, (g, o)]

Without y it is the forward convolution. An input gradient, and so a transposed convolution, has the
same form with ``u = stride``. Without w it is the weight gradient. lax expresses that as a
convolution too: the channels take the place of the batch, there are ``batch_group_count`` groups,
and strides and dilations are exchanged.
"""

from dataclasses import dataclass, replace
from math import prod
from typing import Any, Self

import jax
import jax.numpy as jnp

from jaxgroups._problem.problem import ConvProblem, accumulation_dtype
from jaxgroups._problem.strides import Strides
from jaxgroups._spec import arithmetic
from jaxgroups._spec.arithmetic import Pair
from jaxgroups._types import Ints, Pairs


@dataclass(frozen=True)
class _View:
    """The sizes in the formula of this module; `c` and `o` are channels of one group."""

    batch: int
    size: Ints
    kernel: Ints
    out: Ints
    groups: int
    c: int
    o: int
    stride: Ints
    padding: Pairs
    dilation: Ints
    lhs_dilation: Ints  # all 1 for a weight gradient
    dtype: str
    result: str  # dtype of the result
    precision: Any

    @property
    def rank(self) -> int:
        return len(self.size)

    @property
    def taps(self) -> int:
        return prod(self.kernel)

    @property
    def phases(self) -> int:
        """Number of output phases: outputs of one phase use the same taps."""
        return prod(self.lhs_dilation)

    @property
    def accumulator(self) -> str:
        """The dtype of sums: float32 for 16-bit floats, else the dtype of the result."""
        return accumulation_dtype(self.result)

    @property
    def widened(self) -> Self:
        """The same view with a result in the dtype of sums."""
        return replace(self, result=self.accumulator)


@dataclass(frozen=True)
class Forward(_View):
    """x (N, *size, g c), w (*kernel, c, g o) -> y (N, *out, g o)."""


@dataclass(frozen=True)
class WeightGradient(_View):
    """x (N, *size, g c), y (N, *out, g o) -> w (*kernel, c, g o).

    `exchanged`: lax's left operand was dilated, so x and y are exchanged here. The kernel then
    comes out mirrored, with c and o exchanged (see `restore`).
    """

    exchanged: bool = False


View = Forward | WeightGradient


@dataclass(frozen=True)
class Weights:
    """Strides of w of a `Forward` view in an array, those of (*kernel, c, g, o), in elements."""

    strides: Ints
    offset: int


def view_of(problem: ConvProblem) -> View | None:
    """The view of a problem; None where both operands are dilated."""
    left, right, _ = problem.dimension_numbers
    n, features, *size = (problem.lhs_shape[axis] for axis in left)
    outs, _, *window = (problem.rhs_shape[axis] for axis in right)
    axes = zip(
        problem.lhs_dilation,
        size,
        window,
        problem.window_strides,
        problem.padding,
        problem.rhs_dilation,
        strict=True,
    )
    out = tuple(  # empty, as lax has it, where the kernel is longer than the padded input
        max(0, arithmetic.conv_size(arithmetic.dilated(length, u) if length else 0, k, s, pad, d))
        for u, length, k, s, pad, d in axes
    )
    size, window = tuple(size), tuple(window)
    common: dict[str, Any] = {
        "dtype": problem.dtype,
        "result": problem.result,
        "precision": problem.precision,
    }
    g = problem.batch_group_count
    forward = _taps(window, problem.window_strides, problem.rhs_dilation)
    to_weights = _taps(out, problem.rhs_dilation, problem.window_strides)
    if g == 1 and (problem.feature_group_count > 1 or forward <= to_weights):
        g = problem.feature_group_count
        return Forward(
            batch=n,
            size=size,
            kernel=window,
            out=out,
            groups=g,
            c=features // g,
            o=outs // g,
            stride=problem.window_strides,
            padding=problem.padding,
            dilation=problem.rhs_dilation,
            lhs_dilation=problem.lhs_dilation,
            **common,
        )
    common |= {"batch": features, "kernel": out, "groups": g, "dilation": problem.window_strides}
    common["lhs_dilation"] = (1,) * len(window)
    lhs, rhs = (size, n // g), (window, outs // g)
    (x, c), (y, o), stride, padding = lhs, rhs, problem.rhs_dilation, problem.padding
    exchanged = max(problem.lhs_dilation, default=1) > 1
    if exchanged:
        if max(stride) > 1:
            return None
        (x, c), (y, o), stride = rhs, lhs, problem.lhs_dilation
        padding = tuple(map(_exchanged_padding, padding, x, y, out, stride, problem.window_strides))
    return WeightGradient(
        size=x, c=c, out=y, o=o, stride=stride, padding=padding, exchanged=exchanged, **common
    )


def _taps(kernel: Ints, stride: Ints, dilation: Ints) -> int:
    """Taps of a kernel, or of the plain convolution that `stride_to_channels` makes of it.

    Without groups, every problem is a forward convolution, and also the weight gradient of another
    one. The view with fewer taps is chosen.
    """
    if whole_strides(kernel, stride, dilation):
        return prod(kernel) // prod(stride)
    return prod(kernel)


def whole_strides(kernel: Ints, stride: Ints, dilation: Ints) -> bool:
    """Whether the kernel is a multiple of the stride, along each axis: windows are whole blocks."""
    axes = zip(kernel, stride, dilation, strict=True)
    return all(s == 1 or (d == 1 and k % s == 0) for k, s, d in axes)


def _exchanged_padding(pad: Pair, x: int, y: int, k: int, u: int, d: int) -> Pair:
    """Padding of x where the left operand, of length y, was dilated by u.

    Entry q of that operand is at ``q u = p + j d - lo``, so
    ``p = q u + (k - 1 - j) d - ((k - 1) d - lo)``: tap j is counted from the other end.
    """
    lo, _ = pad
    return (k - 1) * d - lo, (y - 1) * u + lo + 1 - x


def weights_of(problem: ConvProblem, view: View | None, strides: Strides) -> Weights | None:
    """The strides of the weights of a problem in an array in which its right operand has `strides`.

    None if an axis of the weights has no single stride there, or if the view is not `Forward`.
    """
    if not isinstance(view, Forward):
        return None
    o, i, *window = problem.dimension_numbers[1]
    shape = (*view.kernel, view.c, view.groups, view.o)
    arranged = strides.transpose((*window, i, o)).reshape(shape)
    elements = None if arranged is None else arranged.strides()
    return None if arranged is None or elements is None else Weights(elements, arranged.offset)


def arrange(
    problem: ConvProblem,
    view: View,
    lhs: jax.Array,
    rhs: jax.Array,
    weights: Weights | None = None,
) -> tuple[jax.Array, jax.Array]:
    """The operands in the axes of the view; `rhs` is unchanged if `weights` gives its strides."""
    (n, f, *left), (o, i, *right), _ = problem.dimension_numbers
    if isinstance(view, Forward):
        lhs = jnp.transpose(lhs, (n, *left, f))
        return lhs, rhs if weights else jnp.transpose(rhs, (*right, i, o))
    lhs, rhs = jnp.transpose(lhs, (f, *left, n)), jnp.transpose(rhs, (i, *right, o))
    return (rhs, lhs) if view.exchanged else (lhs, rhs)


def arrange_result(problem: ConvProblem, result: jax.Array) -> jax.Array:
    """An array with the axes of the problem's result in the axes of its `Forward` view's result."""
    n, f, *space = problem.dimension_numbers[2]
    return jnp.transpose(result, (n, *space, f))


def restore(problem: ConvProblem, view: View, result: jax.Array) -> jax.Array:
    """The result of a view in the axes of the problem's output."""
    rank = view.rank
    if isinstance(view, Forward):
        canonical = (0, rank + 1, *range(1, rank + 1))
    else:
        canonical = (rank, rank + 1, *range(rank))
        if view.exchanged:
            result = jnp.flip(result, range(rank)).reshape(
                *view.kernel, view.c, view.groups, view.o
            )
            result = jnp.transpose(result, (*range(rank), rank + 2, rank + 1, rank))
            result = result.reshape(*view.kernel, view.o, view.groups * view.c)
    inverse = [0] * (rank + 2)
    for target, source in zip(problem.dimension_numbers[2], canonical, strict=True):
        inverse[target] = source
    return jnp.transpose(result, inverse)
