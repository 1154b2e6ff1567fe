"""How a convolution is split: factors, mesh axes and halos, without any device."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from jaxgroups._problem.factors import factors_of
from jaxgroups._problem.halo import halo
from jaxgroups._problem.mesh_axes import Operand, mesh_of, spec_of, split
from jaxgroups._problem.problem import ConvProblem


def tiles(mesh, *axes):
    """What XLA says of an array whose axes are split by these axes of a mesh."""
    used = [a for axis in axes for a in axis]
    rest = [a for a in range(len(mesh)) if a not in used]
    devices = np.arange(np.prod(mesh)).reshape(mesh).transpose(*used, *rest)
    return tuple(int(np.prod([mesh[a] for a in axis])) for axis in axes), tuple(devices.flat)


@pytest.mark.parametrize("mesh", [(2,), (4,), (2, 3), (3, 2), (2, 2, 3), (6, 4)])
def test_a_mesh_is_read_from_device_numbers(mesh):
    """Each array is split by the axes that the mesh of the user has there, as primes."""
    last = len(mesh) - 1
    given = [((0,), ()), ((last,), ()), ((), tuple(range(len(mesh))))]
    if last:
        given += [((last, 0), ()), ((0,), (last,))]
    primes, specs = mesh_of(int(np.prod(mesh)), [tiles(mesh, *axes) for axes in given])
    assert np.prod(primes) == np.prod(mesh)
    assert all(n in (2, 3) for n in primes)
    for axes, spec in zip(given, specs, strict=True):
        assert tiles(primes, *spec) == tiles(mesh, *axes)


def test_an_order_of_devices_that_no_mesh_has_counts_as_replicated():
    primes, specs = mesh_of(4, [((4, 1), (0, 2, 3, 1)), ((2, 1), (0, 1, 2, 3))])
    assert np.prod(primes) == 4
    assert specs[0] == ((), ())
    assert tiles(primes, *specs[1]) == ((2, 1), (0, 1, 2, 3))


def problem(**how):
    """Four groups of 6 inputs and 10 outputs, NHWC."""
    given = {
        "lhs_shape": (8, 12, 14, 24),
        "rhs_shape": (3, 5, 6, 40),
        "dtype": "float32",
        "window_strides": (1, 1),
        "padding": ((1, 1), (2, 2)),
        "lhs_dilation": (1, 1),
        "rhs_dilation": (1, 1),
        "dimension_numbers": ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2)),
        "feature_group_count": 4,
    }
    return ConvProblem(**(given | how))


OUT = (8, 12, 14, 40)


def chosen(factors, mesh, lhs=(), rhs=(), out=(), sizes=(1000, 10, 1000)):
    def operand(axes, spec, size):
        whole = [(), (), (), ()]
        for axis, by in spec:
            whole[axis] = by
        return Operand(axes, tuple(whole), size)

    operands = [
        operand(axes, spec, size)
        for axes, spec, size in zip(
            (factors.lhs, factors.rhs, factors.out), (lhs, rhs, out), sizes, strict=True
        )
    ]
    return split(factors, mesh, [*operands[:2], replace(operands[2], result=True)])


def test_factors_of_a_convolution_and_of_its_weight_gradient():
    found = factors_of(problem(), OUT)
    assert found.lhs == (("n",), ("s0",), ("s1",), ("g", "c"))
    assert found.rhs == (("k0",), ("k1",), ("c",), ("g", "o"))
    assert found.out == (("n",), ("s0",), ("s1",), ("g", "o"))
    assert found.bias == (("g", "o"),)
    assert found.summed == ("c",)
    gradient = problem(
        lhs_shape=(8, 12, 14, 24),
        rhs_shape=(8, 12, 14, 40),
        dimension_numbers=((3, 0, 1, 2), (3, 0, 1, 2), (2, 3, 0, 1)),
        feature_group_count=1,
        batch_group_count=4,
    )
    found = factors_of(gradient, (3, 5, 6, 40))
    assert found.lhs == (("c",), ("s0",), ("s1",), ("g", "n"))
    assert found.rhs == (("c",), ("s0",), ("s1",), ("g", "o"))
    assert found.out == (("k0",), ("k1",), ("n",), ("g", "o"))
    assert found.summed == ("c", "s0", "s1")
    assert found.sizes["c"] == 8


def test_factors_are_split_where_the_least_moves():
    found = factors_of(problem(), OUT)
    assert chosen(found, (2,), lhs=[(0, (0,))]) == {"n": (0,)}
    assert chosen(found, (2,), lhs=[(3, (0,))]) == {"g": (0,)}
    # batch and weights split by one axis: the weights, which are small, are gathered
    assert chosen(found, (2,), lhs=[(0, (0,))], rhs=[(3, (0,))]) == {"n": (0,)}
    huge = (10, 10000, 10)
    assert chosen(found, (2,), lhs=[(0, (0,))], rhs=[(3, (0,))], sizes=huge) == {"g": (0,)}
    # 8 parts of 4 groups: the rest splits the outputs of a group
    assert chosen(found, (2, 2, 2), rhs=[(3, (0, 1, 2))]) == {"g": (0, 1), "o": (2,)}
    # neither 3 nor 5 divides the groups, and parts of a group alone are no tiles of its axis
    assert chosen(found, (5,), out=[(3, (0,))]) == {}
    assert chosen(found, (3,), rhs=[(2, (0,))]) == {}
    assert spec_of(found.out, {"g": (0, 1), "o": (2,)}) == ((), (), (), (0, 1, 2))


def values(x, low, step, other, other_step, count, dilation):
    """Sums of a window of `other` ones with unequal weights: the definition, one by one."""
    wide = np.zeros((len(x) - 1) * dilation + 1)
    wide[::dilation] = x
    result = np.zeros(count)
    for p, q in product(range(count), range(other)):
        at = p * step + q * other_step - low
        result[p] += (q + 1) * wide[at] if 0 <= at < len(wide) else 0
    return result


HALOS = [
    # parts, length, dilation, count, step, other, other_step, low
    (2, 12, 1, 12, 1, 3, 1, 1),
    (3, 12, 1, 12, 1, 4, 1, 2),
    (2, 12, 1, 6, 2, 3, 1, 1),
    (2, 12, 1, 6, 2, 2, 1, 0),
    (2, 12, 1, 12, 1, 3, 2, 2),
    (2, 6, 2, 12, 1, 4, 1, 2),
    (2, 6, 3, 18, 1, 3, 1, 1),
    (2, 12, 1, 10, 1, 3, 1, 0),
    (2, 16, 1, 8, 1, 9, 1, 0),
    (2, 12, 1, 14, 1, 3, 1, 2),
    (2, 12, 1, 12, 1, 3, 1, -1),
    (3, 12, 1, 3, 4, 4, 1, 0),
]


@pytest.mark.parametrize("case", HALOS)
def test_parts_with_their_halos_are_the_whole(case, rng):
    parts, length, dilation, count, step, other, other_step, low = case
    x = rng.integers(-9, 10, length).astype("float64")
    expected = values(x, low, step, other, other_step, count, dilation)
    size, each = length // parts, count // parts
    found = halo(parts, size, dilation, each, step, other, other_step, low)
    assert found is not None
    assert max(found.left, found.right) <= size
    padded = np.pad(x, (found.left, found.right))
    result = []
    for i in range(parts):
        part = padded[i * size : (i + 1) * size + found.left + found.right]
        low_here = found.padding[0]
        if found.start is not None:
            start = found.start + i * found.shift
            assert 0 <= start <= len(part) - found.length
            part = part[start : start + found.length]
        ends = (len(part) - 1) * dilation + 1 + sum(found.padding)
        assert ends == (each - 1) * step + (other - 1) * other_step + 1
        result.append(values(part, low_here, step, other, other_step, each, dilation))
    np.testing.assert_array_equal(np.concatenate(result), expected)


def test_a_halo_wider_than_a_part_is_refused():
    assert halo(4, 3, 1, 3, 1, 9, 1, 4) is None
    assert halo(2, 6, 2, 5, 1, 3, 1, 0) is None  # unequal steps of a dilated input
    assert halo(4, 4, 1, 1, 1, 13, 1, 0) is None
