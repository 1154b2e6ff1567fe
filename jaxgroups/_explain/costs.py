"""The cost of a convolution, counted as torch's flop counter and as XLA's cost analysis count it.

torch counts every output (of a transposed convolution: every input) times its weights, and padding
as data: ``ConvSpec.flops``. XLA leaves out products with the padding and with the zeros that a
transposed convolution inserts between its inputs: `products`. Both count a multiply-add as 2, and
neither counts the bias.
"""

from math import prod

import jax.numpy as jnp

from jaxgroups._problem.problem import ConvProblem, problem_of
from jaxgroups._spec.spec import ConvSpec


def taps_inside(
    length: int, kernel: int, stride: int, pad: tuple[int, int], dilation: int, between: int
) -> int:
    """Pairs (output, tap) of one axis whose tap falls on an input.

    `between` is the distance of two inputs: the dilation of the input.
    """
    low, high = pad
    dilated = (length - 1) * between + 1
    outputs = (dilated + low + high - dilation * (kernel - 1) - 1) // stride + 1
    places = (
        o * stride + t * dilation - low for o in range(max(outputs, 0)) for t in range(kernel)
    )
    return sum(0 <= place < dilated and place % between == 0 for place in places)


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
    """Bytes of input, weight, bias and output, each read or written once."""
    elements = prod(spec.input_shape) + spec.parameters + prod(spec.output_shape)
    return elements * jnp.dtype(spec.dtype).itemsize
