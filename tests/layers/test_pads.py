"""Padding: torch's samples, negative amounts, layouts, gradients and errors."""

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

VARIANTS = ("constant", "reflect", "replicate", "replicate_negative", "circular")
MODES = ("constant", "reflect", "replicate", "circular")
KINDS = ("Zero", "Constant", "Reflection", "Replication", "Circular")


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "complex128", "int64", "bool"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_samples(variant, dtype):
    if getattr(torch, dtype) not in opinfo.info("pad", variant).dtypes:
        pytest.skip(f"torch has no {variant} of {dtype}")
    every = {"constant": 6, "circular": 2}.get(variant, 3) * (1 if dtype == "float64" else 2)
    found = opinfo.samples("pad", dtype, variant, every=every)
    assert found
    for sample in found:
        opinfo.assert_equal_to_torch(jg.pad, "pad", sample, dtype, variant)


# the last axis first; sizes 5, 4, 6
AMOUNTS = [(2, 1, 3, 0, 4, 2), (-2, 3, 1, -1, 0, 2), (-1, -2, -2, 1, 3, -1), (-5, 4, 1, 1, -4, 3)]


@pytest.mark.parametrize("amounts", AMOUNTS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_values_and_gradients(rng, rank, mode, amounts):
    """Both layouts. Where torch reads what it has not written, or refuses, we refuse."""
    x = distinct(rng, (2, 3, 5, 4, 6)[:2] + (5, 4, 6)[3 - rank :])
    given = amounts[: 2 * rank]
    if -5 in given and mode in ("constant", "circular"):
        given = (-3, 2, *given[2:4], *((-1, 1) if rank == 3 else ()))
    tensor = to_torch(x).requires_grad_()
    expected = torch.nn.functional.pad(tensor, given, mode)
    cotangent = distinct(rng, tuple(expected.shape))
    expected.backward(to_torch(cotangent))
    got, pullback = jax.vjp(lambda x: jg.pad(x, given, mode), jnp.asarray(x))
    np.testing.assert_array_equal(got, to_numpy(expected))
    np.testing.assert_array_equal(pullback(jnp.asarray(cotangent))[0], to_numpy(tensor.grad))
    last = jg.pad(to_last(x, rank), given, mode, data_format="channels_last")
    np.testing.assert_array_equal(last, to_last(to_numpy(expected), rank))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_channels_last_with_any_batch(rng, kind, rank):
    name, value = f"{kind}Pad{rank}d", (2.5,) if kind == "Constant" else ()
    x = distinct(rng, (6, 3, *(5, 4, 6)[3 - rank :]))
    for padding in (2, (1, 2, 3, 0, 2, 4)[: 2 * rank]):
        theirs = getattr(torch.nn, name)(padding, *value)
        expected = to_last(to_numpy(theirs(to_torch(x))), rank)
        layer = getattr(jnn, name)(padding, *value)
        last = to_last(x, rank)
        got = layer(last.reshape(2, 3, *last.shape[1:]))
        np.testing.assert_array_equal(got.reshape(expected.shape), expected)
        assert layer.padding == tuple(theirs.padding)
    assert repr(layer) == f"{name}(padding={padding}{', value=2.5' if value else ''})"


def test_the_constant_takes_the_dtype_of_the_input():
    for dtype, value, expected in [("int32", 1.5, 1), ("bool", 2.5, True), ("bfloat16", 1, 1)]:
        got = jg.pad(jnp.zeros((2,), dtype), (1, 0), value=value)
        assert got.dtype == dtype
        assert got[0] == expected


X = np.ones((2, 3, 7, 6), "float32")
ERRORS = [
    (
        lambda: jg.pad(X, (1, 2, 3)),
        ValueError,
        "Padding length must be divisible by 2: got pad=(1, 2, 3), give (low, high) for each axis",
    ),
    (
        lambda: jg.pad(X, 2),
        TypeError,
        "pad(): argument 'pad' must be tuple of ints, not int: got pad=2, give (low, high) for "
        "each axis",
    ),
    (
        lambda: jg.pad(X, (1,) * 10),
        ValueError,
        "Padding length should be less than or equal to two times the input dimension but got "
        "padding length 10 and input of dimension 4",
    ),
    (
        lambda: jnn.ZeroPad3d(1)(X[0]),
        ValueError,
        "Padding length should be less than or equal to two times the input dimension but got "
        "padding length 6 and input of dimension 3 with data_format='channels_last', whose "
        "channels are not padded",
    ),
    (
        lambda: jg.pad(X, (6, 0, 0, 0), "reflect"),
        ValueError,
        "Padding size should be less than the corresponding input dimension, but got: padding "
        "(6, 0) at dimension 3 of input [2, 3, 7, 6]",
    ),
    (
        lambda: jg.pad(X, (0, 0, 0, 8), "circular"),
        ValueError,
        "Padding value causes wrapping around more than once: padding (0, 8) at dimension 2 of "
        "input [2, 3, 7, 6]",
    ),
    (
        lambda: jg.pad(X, (-4, 3, 0, 0), "circular"),
        ValueError,
        "Negative padding value is resulting in an empty dimension: padding (-4, 3) at dimension "
        "3 of input [2, 3, 7, 6]: 2 elements are left to repeat",
    ),
    (
        lambda: jg.pad(X, (1, 1), "replicate"),
        ValueError,
        "Padding size 2 is not supported for 4D input tensor: except for mode='constant' give "
        "(low, high) for each of one, two or three spatial axes of (N, C, *spatial) or "
        "(C, *spatial)",
    ),
    (
        lambda: jg.pad(X, (1, 1), "edge"),
        ValueError,
        "Unrecognised padding mode edge: use one of constant, reflect, replicate, circular",
    ),
    (
        lambda: jg.pad(X, (1, 1, 1, 1), "reflect", 1.0),
        ValueError,
        'Padding mode "reflect" doesn\'t take in value argument: got 1.0',
    ),
    (
        lambda: jg.pad(X, (-4, -4)),
        ValueError,
        "The input size 6, plus negative padding -4 and -4 resulted in a negative output size, "
        "which is invalid. Check dimension 3 of your input.",
    ),
    (
        lambda: jg.pad(X, (-4, -4, 0, 0), "replicate"),
        ValueError,
        "The input size 6, plus negative padding -4 and -4 resulted in a negative output size, "
        "which is invalid. Check dimension 3 of your input.",
    ),
    (
        lambda: jg.pad(X[:, :, :0], (1, 1, 0, 0), "replicate"),
        ValueError,
        "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero "
        "dimensions for input, but got: [2, 3, 0, 6]",
    ),
    (
        lambda: jg.pad(X, (1, 1), value=1j),
        TypeError,
        "pad(): value=1j cannot be converted to float32",
    ),
    (
        lambda: jnn.ReflectionPad2d((1, 2, 3)),
        ValueError,
        "ReflectionPad2d: padding must be an int or a tuple of 4 ints, (low, high) of each "
        "spatial axis, the last one first: got padding=(1, 2, 3)",
    ),
]


test_errors = error_test(ERRORS)
