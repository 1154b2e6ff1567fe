"""Pixel shuffles and channel shuffles against torch."""

import jax
import numpy as np
import pytest
from support import opinfo
from support.helpers import distinct, to_last
from support.messages import error_test
from support.torch_bridge import to_numpy, to_torch, torch

import jaxgroups as jg
from jaxgroups import nnx as jnn

SHUFFLES = ("pixel_shuffle", "pixel_unshuffle", "channel_shuffle")
SETTINGS = {
    "PixelShuffle": ((2, 12, 5, 4), (2,)),
    "PixelUnshuffle": ((2, 5, 6, 9), (3,)),
    "ChannelShuffle": ((2, 12, 5, 4), (3,)),
}


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "int64", "bool"])
@pytest.mark.parametrize("name", SHUFFLES)
def test_samples(name, dtype):
    found = opinfo.samples(name, dtype)
    assert found
    for sample in found:
        opinfo.assert_equal_to_torch(getattr(jg, name), name, sample, dtype)


@pytest.mark.parametrize("batch", [(), (2, 3)])
@pytest.mark.parametrize("name", SETTINGS)
def test_layers_are_channels_last_with_any_batch(rng, name, batch):
    shape, settings = SETTINGS[name]
    if name == "ChannelShuffle" and not batch:
        batch = (1,)  # torch takes the second axis for the channels
    x = distinct(rng, (int(np.prod(batch)), *shape[1:]))
    theirs = getattr(torch.nn, name)(*settings)
    expected = to_last(to_numpy(theirs(to_torch(x))), 2)
    layer = getattr(jnn, name)(*settings)
    last = to_last(x, 2)
    got = layer(last.reshape(*batch, *last.shape[1:]))
    np.testing.assert_array_equal(got, expected.reshape(*batch, *expected.shape[1:]))
    assert repr(layer) == repr(theirs)


@pytest.mark.parametrize("name", SETTINGS)
def test_gradients_are_the_inverse_rearrangement(rng, name):
    shape, settings = SETTINGS[name]
    x = distinct(rng, shape)
    tensor = to_torch(x).requires_grad_()
    expected = getattr(torch.nn, name)(*settings)(tensor)
    cotangent = distinct(rng, tuple(expected.shape))
    expected.backward(to_torch(cotangent))
    layer = getattr(jnn, name)(*settings)
    _, pullback = jax.vjp(lambda x: layer(x), to_last(x, 2))
    (got,) = pullback(to_last(cotangent, 2))
    np.testing.assert_array_equal(got, to_last(to_numpy(tensor.grad), 2))


X = np.ones((2, 3, 7, 6), "float32")
ERRORS = [
    (
        lambda: jg.pixel_shuffle(X, 2),
        ValueError,
        "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of "
        "upscale_factor, but input.size(-3)=3 is not divisible by 4",
    ),
    (
        lambda: jnn.PixelShuffle(2)(X),
        ValueError,
        "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of "
        "upscale_factor, but input.size(-1)=6 is not divisible by 4",
    ),
    (
        lambda: jg.pixel_shuffle(X, 0),
        ValueError,
        "pixel_shuffle expects a positive upscale_factor, but got 0",
    ),
    (
        lambda: jg.pixel_shuffle(X[0, 0], 2),
        ValueError,
        "pixel_shuffle expects input to have at least 3 dimensions, but got input with 2 "
        "dimension(s): [7, 6]",
    ),
    (
        lambda: jg.pixel_shuffle(X, 2.0),
        TypeError,
        "pixel_shuffle(): argument 'upscale_factor' must be int, not float: got "
        "upscale_factor=2.0, give a whole number",
    ),
    (
        lambda: jg.pixel_unshuffle(X, 2),
        ValueError,
        "pixel_unshuffle expects height to be divisible by downscale_factor, but "
        "input.size(-2)=7 is not divisible by 2",
    ),
    (
        lambda: jg.channel_shuffle(X, 2),
        ValueError,
        "Number of channels must be divisible by groups. Got 3 channels and 2 groups.",
    ),
    (
        lambda: jg.channel_shuffle(X, 0),
        ValueError,
        "Number of groups to divide channels in must be positive. Value of groups:0",
    ),
    (
        lambda: jg.channel_shuffle(X[0, 0], 1),
        ValueError,
        "channel_shuffle expects input with > 2 dims, but got input with sizes [7, 6]",
    ),
]


test_errors = error_test(ERRORS)
