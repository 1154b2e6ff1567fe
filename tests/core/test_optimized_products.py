"""Products with a constant matrix after `optimize`: float64 judges their values."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxgroups as jg
from jaxgroups import _native as native

MISSING = native.status().missing
NATIVE = pytest.mark.skipif(MISSING is not None, reason=f"NO KERNELS to call: {MISSING}")


def whole(*shape, seed=0):
    """Small whole numbers, whose products and sums are exact."""
    rng = np.random.default_rng(seed)
    return rng.integers(-9, 10, shape).astype("float32")


W = whole(5, 7, seed=1)
SQUARE = whole(6, 6, seed=2)
# function of x, shape of x, the result by NumPy
PRODUCTS = {
    "vector": (lambda x: x @ W, (5,), lambda x: x @ W),
    "rows": (lambda x: x @ W, (3, 5), lambda x: x @ W),
    "images": (lambda x: x @ W, (2, 3, 4, 5), lambda x: x @ W),
    "square": (lambda x: x @ SQUARE, (6, 6), lambda x: x @ SQUARE),
    "square from the left": (lambda x: SQUARE @ x, (6, 6), lambda x: SQUARE @ x),
    "transposed": (lambda x: x @ W.T, (3, 7), lambda x: x @ W.T),
    "a matrix from the left": (lambda x: W @ x, (7,), lambda x: W @ x),
    "columns": (lambda x: W @ x, (7, 4), lambda x: W @ x),
    "a first axis": (
        lambda x: jnp.einsum("kmn,kj->mnj", x, W),
        (5, 2, 3),
        lambda x: np.einsum("kmn,kj->mnj", x, W),
    ),
    "vmap": (
        lambda x: jax.vmap(lambda row: W @ row)(x),
        (3, 7),
        lambda x: np.einsum("jk,nk->nj", W, x),
    ),
}


@NATIVE
@pytest.mark.parametrize("name", PRODUCTS)
def test_values_are_those_of_the_product(name):
    function, shape, by_numpy = PRODUCTS[name]
    x = whole(*shape, seed=3)
    optimized = jg.optimize(function, x)
    (entry,) = optimized.report().convolutions
    assert entry.convolution.startswith("matrix product of f32[")
    assert entry.packed_bytes > 0
    assert "dot_general" not in str(jax.make_jaxpr(optimized)(x))
    np.testing.assert_array_equal(optimized(x), by_numpy(x.astype("float64")))


@NATIVE
def test_what_follows_is_fused_and_told(rng):
    model = nnx.Sequential(
        nnx.Linear(12, 8, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(8, 3, rngs=nnx.Rngs(1))
    )
    first, second = model.layers[0], model.layers[2]
    first.bias[...] = jnp.asarray(rng.standard_normal(8), "float32")
    x = rng.standard_normal((4, 12)).astype("float32")
    optimized = jg.optimize(model, x)
    kernels = [np.asarray(layer.kernel[...], "float64") for layer in (first, second)]
    hidden = np.maximum(x.astype("float64") @ kernels[0] + np.asarray(first.bias[...]), 0)
    np.testing.assert_allclose(optimized(x), hidden @ kernels[1], rtol=0, atol=1e-5)
    report = optimized.report()
    assert str(report).startswith("0 convolutions and 2 matrix products: 2 with folded constants")
    assert [entry.fused for entry in report.convolutions] == ["relu", ""]


@NATIVE
def test_gradients_vmap_and_float64(rng):
    w = rng.standard_normal((5, 7))
    x = rng.standard_normal((3, 5))

    def loss(function):
        return lambda x: (jnp.tanh(function(x)) ** 2).sum()

    plain = lambda x: x @ w  # noqa: E731
    optimized = jg.optimize(plain, x)
    assert len(optimized.report().convolutions) == 1
    expected = jax.grad(loss(plain))(x)
    np.testing.assert_allclose(jax.grad(loss(optimized))(x), expected, rtol=1e-12)
    many = np.stack([x, 2 * x])
    np.testing.assert_allclose(jax.vmap(optimized)(many), many @ w, rtol=1e-12)


def test_other_products_are_left():
    x, y = whole(3, 5), whole(4, 5, 2)
    functions = {
        "both vary": (lambda x, y: jnp.einsum("mk,bkn->bmn", x, y), (x, y)),
        "two axes": (lambda x: jnp.tensordot(x, whole(3, 5, 2), 2), (x,)),
        "batched": (lambda y: jnp.einsum("bkn,bkj->bnj", y, whole(4, 5, 6)), (y,)),
        "16 bits": (lambda x: x.astype("bfloat16") @ W.astype("bfloat16"), (x,)),
        "whole numbers": (lambda x: x.astype("int32") @ W.astype("int32"), (x,)),
        "empty": (lambda x: x[:0] @ W, (x,)),
    }
    for name, (function, args) in functions.items():
        optimized = jg.optimize(function, *args)
        assert optimized.report().convolutions == (), name
        np.testing.assert_array_equal(optimized(*args), function(*args), err_msg=name)


@NATIVE
def test_large_constants_are_arguments(monkeypatch):
    x = whole(3, 5)
    programs = [jg.optimize(lambda x: x @ W, x)]
    monkeypatch.setattr(sys.modules["jaxgroups._optimize.optimize"], "_MOST_EMBEDDED", 8)
    programs.append(jg.optimize(lambda x: x @ W, x))
    counts = []
    for optimized in programs:
        np.testing.assert_array_equal(optimized(x), x @ W)
        text = optimized._call.lower(*optimized._first, x).as_text()
        counts.append(text.split("@main(")[1].split("->")[0].count("%arg"))
    assert counts == [1, 3]
