"""Max unpooling: torch's samples, indices of our pooling, sizes, duplicate indices, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import opinfo
from support.helpers import distinct, to_last
from support.messages import error_test
from support.torch_bridge import to_numpy, to_torch, torch

import jaxgroups as jg
from jaxgroups import nnx as jnn

SIZES = (9, 8, 7)


@pytest.mark.parametrize("variant", ["", "grad"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_samples(rank, variant):
    name = f"max_unpool{rank}d"
    every = 9 if variant else {1: 36, 2: 72, 3: 31}[rank]
    found = opinfo.samples(name, "float64", variant, every=every)
    assert found
    for sample in found:
        opinfo.assert_equal_to_torch(getattr(jg, name), name, sample, "float64", variant)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_what_torch_refuses_is_refused(rank):
    for sample, _, _ in opinfo.refused(f"max_unpool{rank}d"):
        opinfo.assert_refused(getattr(jg, f"max_unpool{rank}d"), sample)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_layers_undo_the_pooling(rng, rank, whole):
    x = distinct(rng, (6, 3, *SIZES[:rank]))
    values, places = getattr(torch.nn, f"MaxPool{rank}d")(2, return_indices=True)(to_torch(x))
    theirs = getattr(torch.nn, f"MaxUnpool{rank}d")(2)
    expected = to_last(to_numpy(theirs(values, places, x.shape)), rank)
    last = to_last(x, rank)
    last = last.reshape(2, 3, *last.shape[1:])
    pool = getattr(jnn, f"MaxPool{rank}d")(2, return_indices=True)
    unpool = getattr(jnn, f"MaxUnpool{rank}d")(2)
    size = last.shape if whole else SIZES[:rank]
    got = jax.jit(lambda x: unpool(*pool(x), output_size=size))(last)
    np.testing.assert_array_equal(got.reshape(expected.shape), expected)
    assert repr(unpool) == f"MaxUnpool{rank}d(kernel_size=2, stride=2, padding=0)"


def test_windows_that_overlap_share_a_place(rng):
    """One value is written twice; the gradient reaches both."""
    x = distinct(rng, (2, 3, 7, 7))
    values, places = torch.nn.functional.max_pool2d(to_torch(x), 3, 1, return_indices=True)
    assert len(np.unique(to_numpy(places)[0, 0])) < places[0, 0].numel()
    values = values.detach().requires_grad_()
    expected = torch.nn.functional.max_unpool2d(values, places, 3, 1)
    cotangent = distinct(rng, tuple(expected.shape))
    expected.backward(to_torch(cotangent))
    indices = jnp.asarray(to_numpy(places))
    got, pullback = jax.vjp(
        lambda v: jg.max_unpool2d(v, indices, 3, 1), jnp.asarray(to_numpy(values))
    )
    np.testing.assert_array_equal(got, to_numpy(expected))
    np.testing.assert_array_equal(pullback(jnp.asarray(cotangent))[0], to_numpy(values.grad))


@pytest.mark.parametrize("wrong", [-1, 16])
def test_an_index_outside_is_nan_under_jit(wrong):
    x, indices = jnp.ones((1, 2, 2)), jnp.asarray([[[0, 3], [9, wrong]]])
    got = jax.jit(lambda x, i: jg.max_unpool2d(x, i, 2))(x, indices)
    expected = np.full(16, np.nan)
    expected[[0, 3, 9]] = 1
    np.testing.assert_array_equal(got, expected.reshape(1, 4, 4))


X, PLACES = np.ones((2, 3, 7, 6), "float32"), np.ones((2, 3, 7, 6), "int32")
ERRORS = [
    (
        lambda: jg.max_unpool2d(X, PLACES * 1000, 2),
        ValueError,
        "Found an invalid max index: 1000 (output volumes are of size 14x12): max_unpool2d()",
    ),
    (
        lambda: jg.max_unpool2d(X, -PLACES, 2),
        ValueError,
        "Found an invalid max index: -1 (output volumes are of size 14x12): max_unpool2d()",
    ),
    (
        lambda: jg.max_unpool2d(X, X, 2),
        TypeError,
        "elements in indices should be type int64 but got: float32: max_unpool2d()",
    ),
    (
        lambda: jg.max_unpool2d(PLACES, PLACES, 2),
        TypeError,
        '"max_unpool2d" not implemented for int32: give floats',
    ),
    (
        lambda: jg.max_unpool2d(X, PLACES[:1], 2),
        ValueError,
        "Expected shape of indices to be same as that of the input tensor ([2, 3, 7, 6]) but got "
        "indices tensor with shape: [1, 3, 7, 6]",
    ),
    (
        lambda: jg.max_unpool2d(X, PLACES, 2, output_size=(30, 12)),
        ValueError,
        'invalid output_size "(30, 12)" (dim 0 must be between 12 and 16)',
    ),
    (
        lambda: jg.max_unpool2d(X, PLACES, 2, output_size=(15,)),
        ValueError,
        "output_size should be a sequence containing 2 or 4 elements, but it has a length of "
        "'1': max_unpool2d() got output_size=(15,)",
    ),
    (
        lambda: jg.max_unpool2d(X, PLACES, 2, 2, 7),
        ValueError,
        "max_unpooling: output_size must contain non-negative spatial dimensions, but got "
        "output_size[1]=-2: max_unpool2d()",
    ),
    (
        lambda: jg.max_unpool3d(X, PLACES, 2, 0),
        ValueError,
        "strides should be greater than zero, but got stride: [0, 0, 0]: max_unpool3d()",
    ),
    (
        lambda: jg.max_unpool2d(X[:, :0], PLACES[:, :0], 2),
        ValueError,
        "max_unpool2d(): Expected input to have non-zero size for non-batch dimensions, but got "
        "[2, 0, 7, 6] with dimension 1 being empty.",
    ),
    (
        lambda: jg.max_unpool2d(X[0, 0], PLACES[0, 0], 2),
        ValueError,
        "Input to max_unpool2d() should be a 3d or 4d Tensor, but got a tensor of shape [7, 6] "
        "with data_format='channels_first'",
    ),
]


test_errors = error_test(ERRORS)
