"""The order of axes in memory: plans against NumPy arrays of distinct integers."""

import math

import numpy as np
import pytest

from jaxgroups.port import _order as orders


def _factors(rng, n):
    """A random way to write n as a product, with ones in between."""
    found = []
    while n > 1:
        divisors = [d for d in range(2, n + 1) if n % d == 0]
        found.append(int(rng.choice(divisors)))
        n //= found[-1]
    for _ in range(int(rng.integers(0, 3))):
        found.insert(int(rng.integers(0, len(found) + 1)), 1)
    return found or [1]


def _held(array, order):
    """The array of torch's shape as it lies in memory."""
    return np.transpose(array, order)


@pytest.mark.parametrize("seed", range(40))
def test_reshape_plan_gives_what_torch_gives(seed):
    rng = np.random.default_rng(seed)
    for _ in range(50):
        total = int(rng.choice([1, 4, 6, 8, 12, 16, 24, 36, 48]))
        sizes, result = _factors(rng, total), _factors(rng, total)
        order = tuple(map(int, rng.permutation(len(sizes))))
        array = np.arange(total).reshape(sizes)
        plan = orders.reshape(order, sizes, result)
        assert sorted(plan.before) == list(range(len(sizes)))
        assert sorted(plan.axes) == list(range(len(result)))
        held = np.transpose(_held(array, order), orders.between(order, plan.before))
        got = held.reshape([result[axis] for axis in plan.axes])
        np.testing.assert_array_equal(
            got, _held(array.reshape(result), plan.axes), str((order, sizes, result, plan))
        )
        for after, before in plan.same.items():
            assert sizes[before] == result[after]
            assert math.prod(sizes[:before]) == math.prod(result[:after])


@pytest.mark.parametrize("seed", range(10))
def test_axes_that_stay_do_not_move(seed):
    """A reshape that splits axes only is free, whatever the order."""
    rng = np.random.default_rng(seed)
    sizes = [int(n) for n in rng.choice([2, 3, 4, 6], 4)]
    result = [part for n in sizes for part in ([n // 2, 2] if n in (4, 6) else [n])]
    order = tuple(map(int, rng.permutation(4)))
    assert orders.reshape(order, sizes, result).before == order


def test_merging_neighbours_is_free_and_others_move():
    last = orders.channels_last(4)
    assert orders.reshape(last, [2, 3, 4, 5], [2, 3, 20]).before == last
    assert orders.reshape(last, [2, 3, 4, 5], [2, 3, 20]).axes == (0, 2, 1)
    assert orders.reshape(last, [2, 3, 4, 5], [2, 60]).before == (0, 1, 2, 3)
    assert orders.reshape(last, [2, 3, 1, 1], [2, 3]).before == last
    assert orders.reshape(last, [2, 6, 4, 5], [2, 2, 3, 4, 5]).axes == (0, 3, 4, 1, 2)


def test_new_axes_of_a_map_are_spatial():
    assert orders.reshape((0, 1), [2, 3], [2, 3, 1, 1]).axes == (0, 2, 3, 1)


@pytest.mark.parametrize("seed", range(10))
def test_without_is_the_order_after_a_reduction(seed):
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(2, 6))
    sizes = rng.integers(2, 5, rank)
    order = tuple(map(int, rng.permutation(rank)))
    gone = [int(a) for a in rng.choice(rank, int(rng.integers(1, rank)), replace=False)]
    array = np.arange(sizes.prod()).reshape(sizes)
    held = _held(array, order).sum(tuple(orders.place(order, axis) for axis in gone))
    named = [axis - rank if rng.integers(2) else axis for axis in gone]
    np.testing.assert_array_equal(held, _held(array.sum(tuple(gone)), orders.without(order, named)))


@pytest.mark.parametrize("seed", range(20))
def test_moves_says_whether_elements_change_places(seed):
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(1, 6))
    sizes = rng.choice([1, 2, 3], rank)
    order, wanted = (tuple(map(int, rng.permutation(rank))) for _ in range(2))
    array = np.arange(sizes.prod()).reshape(sizes)
    moved = bool((_held(array, order).ravel() != _held(array, wanted).ravel()).any())
    assert orders.copies(order, wanted, [n == 1 for n in sizes]) == moved


def test_between_brings_one_order_into_another():
    array = np.arange(24).reshape(2, 3, 4)
    held = _held(array, (2, 0, 1))
    np.testing.assert_array_equal(
        np.transpose(held, orders.between((2, 0, 1), (1, 2, 0))), _held(array, (1, 2, 0))
    )
    assert orders.channels_last(2) == (0, 1)
    assert orders.channels_last(5) == (0, 2, 3, 4, 1)
    assert orders.place((0, 2, 1), -1) == 1
