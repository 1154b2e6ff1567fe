"""What a convolution costs, in the two ways of counting that are in use.

torch's flop counter takes every output (of a transposed convolution: every input) times the
weights it meets, padding counted as data: that is ``ConvSpec.flops``. XLA's cost analysis leaves
out products with the padding and with the zeros that a transposed convolution puts between its
inputs: that is `products` here. Both count a multiply-add as 2, and neither counts the bias, which
to XLA is an addition of its own.
"""

from dataclasses import replace
from math import prod

import jax.numpy as jnp

from jaxgroups._problem.problem import ConvProblem, problem_of
from jaxgroups._spec.spec import ConvSpec


def taps_inside(
    length: int, kernel: int, stride: int, pad: tuple[int, int], dilation: int, between: int
) -> int:
    """Pairs (output, tap) of one axis whose tap falls on an input; inputs stand `between` apart."""
    low, high = pad
    spread = (length - 1) * between + 1
    outputs = (spread + low + high - dilation * (kernel - 1) - 1) // stride + 1
    places = (
        o * stride + t * dilation - low for o in range(max(outputs, 0)) for t in range(kernel)
    )
    return sum(0 <= place < spread and place % between == 0 for place in places)


def products(problem: ConvProblem) -> int:
    """Multiply-adds of a problem that meet an input: half of XLA's count of its FLOPs."""
    data, kernel, _ = problem.dimension_numbers
    inside = prod(
        taps_inside(problem.lhs_shape[at], problem.rhs_shape[of], stride, pad, dilation, between)
        for at, of, stride, pad, dilation, between in zip(
            data[2:],
            kernel[2:],
            problem.window_strides,
            problem.padding,
            problem.rhs_dilation,
            problem.lhs_dilation,
            strict=True,
        )
    )
    outputs, reads = problem.rhs_shape[kernel[0]], problem.rhs_shape[kernel[1]]
    return problem.lhs_shape[data[0]] // problem.batch_group_count * outputs * reads * inside


def macs_inside(spec: ConvSpec) -> int:
    """Multiply-adds of a spec without those that meet padding or the zeros between inputs."""
    return products(problem_of(spec))


def bytes_moved(spec: ConvSpec) -> int:
    """Bytes of input, weight, bias and output, each touched once: no layout can move fewer."""
    elements = prod(spec.input_shape) + spec.parameters + prod(spec.output_shape)
    return elements * jnp.dtype(spec.dtype).itemsize


def ordinary(spec: ConvSpec) -> ConvSpec:
    """The same convolution with ``groups=1``."""
    return replace(spec, groups=1)
