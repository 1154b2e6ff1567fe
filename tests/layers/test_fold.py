"""Unfold and fold: torch's samples, both layouts, gradients and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import opinfo
from support.helpers import distinct, to_last
from support.torch_bridge import to_numpy, to_torch, torch

import jaxgroups as jg
from jaxgroups import nnx as jnn

SETTINGS = [
    {"kernel_size": 2},
    {"kernel_size": (3, 2), "dilation": (1, 2), "padding": (4, 1), "stride": (2, 1)},
    {"kernel_size": (2, 3), "dilation": 2, "padding": 1, "stride": (1, 3)},
]


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "complex128", "bool"])
def test_samples(dtype):
    found = opinfo.samples("nn.functional.unfold", dtype, every=16 if dtype == "float64" else 40)
    assert found
    for sample in found:
        opinfo.assert_equal_to_torch(jg.unfold, "nn.functional.unfold", sample, dtype)


@pytest.mark.parametrize("settings", SETTINGS)
def test_unfold_and_fold(rng, settings):
    """Values and gradients of the functions, and of the layers with two batch axes."""
    x = distinct(rng, (6, 3, 7, 5))
    tensor = to_torch(x).requires_grad_()
    columns = torch.nn.Unfold(**settings)(tensor)
    given = distinct(rng, tuple(columns.shape))
    columns.backward(to_torch(given))
    got, pullback = jax.vjp(lambda x: jg.unfold(x, **settings), jnp.asarray(x))
    np.testing.assert_array_equal(got, to_numpy(columns))
    np.testing.assert_array_equal(pullback(jnp.asarray(given))[0], to_numpy(tensor.grad))
    last = jnn.Unfold(**settings)(to_last(x, 2).reshape(2, 3, 7, 5, 3))
    np.testing.assert_array_equal(
        last.reshape(6, *last.shape[2:]), to_numpy(columns).swapaxes(1, 2)
    )
    tensor = to_torch(given).requires_grad_()
    image = torch.nn.Fold((7, 5), **settings)(tensor)
    image.backward(to_torch(x))
    got, pullback = jax.vjp(lambda c: jg.fold(c, (7, 5), **settings), jnp.asarray(given))
    np.testing.assert_array_equal(got, to_numpy(image))
    np.testing.assert_array_equal(pullback(jnp.asarray(x))[0], to_numpy(tensor.grad))
    last = jnn.Fold((7, 5), **settings)(given.swapaxes(1, 2).reshape(2, 3, *given.shape[:0:-1]))
    np.testing.assert_array_equal(last.reshape(6, 7, 5, 3), to_last(to_numpy(image), 2))


def test_without_batch_axes_and_in_half_precision(rng):
    x = rng.integers(1, 99, (12, 20)).astype("float16")
    expected = torch.nn.functional.fold(to_torch(x.astype("float64")), (6, 5), 2)
    got = jg.fold(x, (6, 5), 2)
    assert got.dtype == "float16"
    np.testing.assert_array_equal(got.astype("float64"), to_numpy(expected))
    assert repr(jnn.Fold((6, 5), 2)) == repr(torch.nn.Fold((6, 5), 2))
    assert repr(jnn.Unfold(2)) == repr(torch.nn.Unfold(2))


X = np.ones((2, 3, 7, 6), "float32")
COLUMNS = np.ones((2, 12, 4), "float32")
ERRORS = [
    (
        lambda: jg.unfold(X, (8, 2)),
        "Given input with spatial size (7, 6), kernel_size=(8, 2), dilation=(1, 1), "
        "padding=(0, 0), calculated shape of the array of sliding blocks as (0, 5), but its "
        "components must be at least one: unfold() with stride=(1, 1)",
    ),
    (
        lambda: jg.unfold(X, (2, 2, 2)),
        "It is expected kernel_size equals to 2, but got size 3: unfold() got "
        "kernel_size=(2, 2, 2), give one int or one for each of H, W",
    ),
    (
        lambda: jg.unfold(X, 0),
        "kernel size should be greater than zero, but got kernel_height: 0 kernel_width: 0: "
        "unfold()",
    ),
    (
        lambda: jg.unfold(X, 2, 1, -1),
        "padding should be non-negative, but got pad_height: -1 pad_width: -1: unfold()",
    ),
    (
        lambda: jg.unfold(X[:, :0], 2),
        "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero "
        "dimensions for input, but got: [2, 0, 7, 6]",
    ),
    (
        lambda: jg.fold(COLUMNS, (4, 3), 2),
        "Given output_size=(4, 3), kernel_size=(2, 2), dilation=(1, 1), padding=(0, 0), "
        "stride=(1, 1), expected size of input's dimension 2 to match the calculated number of "
        "sliding blocks 3 * 2 = 6, but got input.size(2)=4.",
    ),
    (
        lambda: jg.fold(COLUMNS[:, :11], (3, 3), 2),
        "Expected size of input's dimension 1 to be divisible by the product of kernel_size, but "
        "got input.size(1)=11 and kernel_size=(2, 2).",
    ),
    (
        lambda: jg.fold(COLUMNS[0, 0], (3, 3), 2),
        "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and non-zero "
        "dimensions for input, but got: [4]",
    ),
    (
        lambda: jg.fold(COLUMNS, (3, 3, 3), 2),
        "It is expected output_size equals to 2, but got size 3: fold() got "
        "output_size=(3, 3, 3), give one int or one for each of H, W",
    ),
]


@pytest.mark.parametrize(("call", "text"), ERRORS, ids=[text[:60] for _, text in ERRORS])
def test_errors(call, text):
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == text
