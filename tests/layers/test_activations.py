"""Activations under torch's names: samples, values and derivatives at the bounds, NaN, errors."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import opinfo
from support.torch_bridge import to_numpy, to_torch, torch

import jaxgroups as jg
from jaxgroups import nnx as jnn

tnn = torch.nn
FUNCTIONS = ["clamp", "leaky_relu", "hardtanh", "softplus", "hardshrink", "softshrink", "threshold"]
LAYERS = [
    ("LeakyReLU", ()),
    ("LeakyReLU", (0.25,)),
    ("LeakyReLU", (0.0,)),
    ("Hardtanh", ()),
    ("Hardtanh", (-2.0, 3)),
    ("Softplus", ()),
    ("Softplus", (0.5, 2.0)),
    ("Hardshrink", ()),
    ("Softshrink", ()),
    ("Softshrink", (0.0,)),
    ("Threshold", (0.5, -7.0)),
]


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_samples(name, dtype):
    found = opinfo.samples(name, dtype, every=2)
    assert found
    for sample in found:
        opinfo.assert_equal_to_torch(getattr(jg, name), name, sample, dtype)


@pytest.mark.parametrize("name", ["hardtanh", "softshrink"])
def test_what_torch_refuses_is_refused(name):
    refused = opinfo.refused(name)
    assert refused
    for sample, _, _ in refused:
        opinfo.assert_refused(getattr(jg, name), sample)


@pytest.mark.parametrize(("name", "args"), LAYERS)
def test_layers_at_the_bounds(rng, name, args):
    """Numbers that are whole or halves, so that every bound is met; infinities and NaN."""
    x = np.concatenate([np.arange(-60, 61) / 2, [np.inf, -np.inf, np.nan, -0.0]])
    tensor = to_torch(x).requires_grad_()
    expected = getattr(tnn, name)(*args)(tensor)
    weights = rng.normal(size=x.shape)
    expected.backward(torch.from_numpy(weights))
    got, pullback = jax.vjp(getattr(jnn, name)(*args), jnp.asarray(x))
    np.testing.assert_allclose(got, to_numpy(expected), rtol=1e-14, atol=1e-15)
    (gradient,) = pullback(jnp.asarray(weights))
    np.testing.assert_allclose(gradient, to_numpy(tensor.grad), rtol=1e-13, atol=1e-15)


def test_integers():
    x = np.arange(-3, 4)
    np.testing.assert_array_equal(
        jg.hardtanh(x, -1, 2), to_numpy(tnn.functional.hardtanh(to_torch(x), -1, 2))
    )
    np.testing.assert_array_equal(jg.clamp(x, -1, 2), to_numpy(to_torch(x).clamp(-1, 2)))
    got, expected = jg.clamp(x, 0.5), to_numpy(to_torch(x).clamp(0.5))
    assert got.dtype.kind == expected.dtype.kind == "f"
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(
        jg.threshold(x, 1, 7), to_numpy(tnn.functional.threshold(to_torch(x), 1, 7))
    )


REFUSED = [
    (lambda x: jg.leaky_relu(x), "int32", '"leaky_relu" not implemented for int32'),
    (lambda x: jg.softplus(x), "int32", '"softplus" not implemented for int32'),
    (lambda x: jg.clamp(x), "float32", "torch.clamp: At least one of 'min' or 'max' must not be "
     "None"),
    (lambda x: jg.clamp(x, 0), "bool", '"clamp" not implemented for bool'),
    (lambda x: jg.hardtanh(x), "bool", '"hardtanh" not implemented for bool'),
    (lambda x: jg.hardtanh(x, 2, 1), "float32", "min_val cannot be greater than max_val: "
     "hardtanh() got min_val=2 and max_val=1"),
    (lambda x: jg.softshrink(x, -1), "float32", "lambda must be greater or equal to 0, but found "
     "to be -1: softshrink()"),
    (lambda x: jnn.Hardtanh(2, 2)(x), "float32", "max_val (2) must be greater than min_val (2)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "dtype", "text"), REFUSED)
def test_errors(call, dtype, text):
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(text)}$"):
        call(np.ones(3, dtype))


def test_repr():
    assert repr(jnn.Hardtanh(-2, 3)) == "Hardtanh(min_val=-2, max_val=3)"


@pytest.mark.parametrize("bounds", [(-1, 3), (None, 2), (2, None), (3, -1), (np.nan, 1), (-2, -2)])
@pytest.mark.parametrize("arrays", [False, True])
def test_clamp_at_the_bounds(bounds, arrays):
    """Bounds that are numbers and arrays; infinities and NaN."""
    x = np.concatenate([np.arange(-10, 11) / 2, [np.inf, -np.inf, np.nan]])
    if arrays:
        bounds = tuple(None if b is None else np.full((), b, x.dtype) for b in bounds)
    tensor = to_torch(x).requires_grad_()
    expected = torch.clamp(
        tensor, *(to_torch(b) if arrays and b is not None else b for b in bounds)
    )
    got, pullback = jax.vjp(lambda x: jg.clamp(x, *bounds), jnp.asarray(x))
    np.testing.assert_array_equal(got, to_numpy(expected))
    expected.sum().backward()
    (gradient,) = pullback(jnp.ones_like(got))
    known = ~np.isnan(to_numpy(expected))  # of NaN: 0 and 1 in torch, by the kind of the bound
    np.testing.assert_array_equal(gradient[known], to_numpy(tensor.grad)[known])


@pytest.mark.parametrize("slope", [np.float32(0.25), np.float64(0.25), 0.25])
def test_a_slope_keeps_the_dtype(slope):
    assert jg.leaky_relu(jnp.ones(3, "bfloat16"), slope).dtype == "bfloat16"
