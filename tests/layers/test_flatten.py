"""Flatten and Unflatten: torch's order of the features, from channels-last input."""

from itertools import combinations_with_replacement

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import distinct
from support.messages import error_test
from support.torch_bridge import to_numpy, to_torch, torch

from jaxgroups import nnx as jnn

SHAPES = [(2, 3, 5, 4), (4, 4, 4, 4), (2, 3, 5), (2, 3), (2, 3, 5, 4, 6)]


def last(x, batch_axes=1):
    return np.moveaxis(x, batch_axes, -1)


@pytest.mark.parametrize("shape", SHAPES)
def test_default_flatten(rng, shape):
    x = distinct(rng, shape)
    np.testing.assert_array_equal(jnn.Flatten()(last(x)), to_numpy(torch.nn.Flatten()(to_torch(x))))


@pytest.mark.parametrize(("start", "end"), [*combinations_with_replacement(range(4), 2)])
def test_every_pair_of_axes(rng, start, end):
    """Negative axes too; the channel axis of the result stands last, where there is one."""
    x = distinct(rng, (2, 3, 5, 4))
    expected = to_numpy(torch.nn.Flatten(start, end)(to_torch(x)))
    if start >= 1 or end == 0:
        expected = last(expected)
    np.testing.assert_array_equal(jnn.Flatten(start, end)(last(x)), expected)
    np.testing.assert_array_equal(jnn.Flatten(start - 4, end - 4)(last(x)), expected)


@pytest.mark.parametrize("batch", [(), (2, 6)])
def test_any_number_of_batch_axes(rng, batch):
    x = distinct(rng, (*batch, 3, 5, 4))
    n = len(batch)
    flat = jnn.Flatten(n, batch_axes=n)(last(x, n))
    np.testing.assert_array_equal(flat, x.reshape(*batch, -1))
    again = jnn.Unflatten(n, (3, -1, 4), batch_axes=n)(flat)
    np.testing.assert_array_equal(again, last(x, n))


def test_a_linear_layer_may_have_torch_weights(rng):
    x, weight = distinct(rng, (2, 3, 5, 4)), distinct(rng, (7, 60))
    expected = torch.nn.functional.linear(torch.nn.Flatten()(to_torch(x)), to_torch(weight))
    np.testing.assert_array_equal(jnn.Flatten()(last(x)) @ weight.T, to_numpy(expected))


@pytest.mark.parametrize(
    ("shape", "dim", "sizes"),
    [
        ((2, 60), 1, (3, 5, 4)),
        ((2, 60), -1, (3, -1, 4)),
        ((2, 12, 5), 1, (3, 4)),
        ((2, 3, 12), 2, (3, 4)),
        ((2, 3, 12, 5), -2, (2, 6)),
        ((6, 3, 5), 0, (2, 3)),
        ((4, 16, 4), 1, (4, 4)),
    ],
)
def test_unflatten(rng, shape, dim, sizes):
    x = distinct(rng, shape)
    theirs = torch.nn.Unflatten(dim, sizes)
    expected = to_numpy(theirs(to_torch(x)))
    channel = 2 if dim == 0 else 1
    np.testing.assert_array_equal(jnn.Unflatten(dim, sizes)(last(x)), last(expected, channel))
    assert repr(jnn.Unflatten(dim, sizes)) == repr(theirs)


def test_gradient(rng):
    x = distinct(rng, (2, 3, 5, 4))
    cotangent = distinct(rng, (2, 60))
    _, pullback = jax.vjp(jnn.Flatten().__call__, jnp.asarray(last(x)))
    np.testing.assert_array_equal(pullback(cotangent)[0], last(cotangent.reshape(x.shape)))
    assert repr(jnn.Flatten(1, 2)) == repr(torch.nn.Flatten(1, 2))


X = np.ones((2, 7, 6, 3))
ERRORS = [
    (
        lambda: jnn.Flatten(3, 2)(X),
        ValueError,
        "flatten() has invalid args: start_dim cannot come after end_dim: Flatten() got "
        "start_dim=3, end_dim=2 for 4 axes",
    ),
    (
        lambda: jnn.Flatten(1, 4)(X),
        ValueError,
        "Dimension out of range (expected to be in range of [-4, 3], but got 4)",
    ),
    (
        lambda: jnn.Flatten()(X[0, 0, 0]),
        ValueError,
        "Flatten: expected 2D or more input (got 1D input): [3] has no channels after batch_axes=1",
    ),
    (
        lambda: jnn.Flatten(batch_axes=-1),
        ValueError,
        "Flatten: batch_axes must not be negative: got batch_axes=-1",
    ),
    (
        lambda: jnn.Unflatten(1, (2, 2))(X),
        ValueError,
        "unflatten: Provided sizes [2, 2] don't multiply up to the size of dim 1 (3) in the input "
        "tensor",
    ),
    (
        lambda: jnn.Unflatten(1, (0, -1))(X),
        ValueError,
        "unflatten: Provided sizes [0, -1] don't multiply up to the size of dim 1 (3) in the "
        "input tensor",
    ),
    (
        lambda: jnn.Unflatten(1, 3),
        TypeError,
        "unflattened_size must be a tuple of ints, but found type int: Unflatten() got "
        "unflattened_size=3",
    ),
    (
        lambda: jnn.Unflatten(1, ()),
        ValueError,
        "unflatten: sizes must be non-empty: Unflatten() got ()",
    ),
    (
        lambda: jnn.Unflatten(1, (-1, -1)),
        ValueError,
        "unflatten: only one dimension can be inferred, and sizes must not be negative: "
        "Unflatten() got unflattened_size=(-1, -1)",
    ),
    (
        lambda: jnn.Unflatten("C", (3, 1)),
        TypeError,
        "Unflatten(): argument 'dim' must be int, not str: got dim='C', give a whole number",
    ),
]


test_errors = error_test(ERRORS)
