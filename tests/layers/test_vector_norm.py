"""The norm of vectors beside torch's: values, gradients where numbers are 0, dtypes, errors."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.messages import error_test
from support.torch_bridge import to_numpy, to_torch, torch

import jaxgroups as jg

KINDS = [0, 0.5, 1, 1.5, 2, 2.5, 3, np.inf, -np.inf, -0.5, -1, -2]
AXES = [None, 0, -1, (0, 2), (1, 2), (2, 0, 1), ()]


def numbers(rng, shape=(3, 4, 5)):
    """Fractions of either sign; whole vectors, some numbers, and the largest ones equal."""
    x = rng.integers(-6, 7, shape) / 2.0
    x[0] = 0
    x[:, 1] = 0
    return x


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize(("kind", "dim"), list(product(KINDS, AXES)))
def test_values_and_gradients(rng, kind, dim, keepdim):
    x = numbers(rng)
    tensor = to_torch(x).requires_grad_()
    expected = torch.linalg.vector_norm(tensor, kind, dim, keepdim)
    got, pullback = jax.vjp(lambda x: jg.vector_norm(x, kind, dim, keepdim), jnp.asarray(x))
    np.testing.assert_allclose(got, to_numpy(expected), rtol=1e-13)
    weights = rng.normal(size=got.shape)
    (dx,) = pullback(jnp.asarray(weights))
    if kind == 0:  # torch has none
        np.testing.assert_array_equal(dx, 0 * x)
        return
    expected.backward(torch.from_numpy(np.asarray(weights)))
    np.testing.assert_allclose(dx, to_numpy(tensor.grad), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", [1, 2, 3, np.inf])
def test_narrow_dtypes(rng, kind, dtype):
    """300 squares are above the largest float16, their root is not."""
    x = jnp.asarray(np.full((2, 300), 40.0), dtype)
    got = jg.vector_norm(x, kind, 1)
    assert got.dtype == dtype
    expected = np.linalg.norm(np.full((2, 300), 40.0), kind, 1)
    np.testing.assert_allclose(np.asarray(got, "float64"), expected, rtol=4e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_nan_and_infinities(special, kind):
    x = np.array([[1.0, special, 2.0], [1.0, -2.0, 3.0]])
    expected = torch.linalg.vector_norm(to_torch(x), kind, 1)
    np.testing.assert_allclose(jg.vector_norm(x, kind, 1), to_numpy(expected), rtol=1e-13)


def test_a_scalar_is_a_vector_of_one_number():
    for dim in (None, 0, -1):
        assert jg.vector_norm(-3.0, 3, dim) == 3.0


X = np.ones((2, 3), "float32")
ERRORS = [
    (
        lambda: jg.vector_norm(X, 2, 5),
        ValueError,
        "Dimension out of range (expected to be in range of [-2, 1], but got 5): vector_norm() got "
        "an input of 2 axes",
    ),
    (
        lambda: jg.vector_norm(X, 2, (1, -1)),
        ValueError,
        "dim 1 appears multiple times in the list of dims: vector_norm() got dim=(1, -1)",
    ),
    (
        lambda: jg.vector_norm(X[:0], np.inf),
        ValueError,
        "linalg.vector_norm cannot compute the inf norm on an empty tensor because the operation "
        "does not have an identity: vector_norm() got an input of shape (0, 3)",
    ),
    (
        lambda: jg.vector_norm(X[:0], -1, 0),
        ValueError,
        "linalg.vector_norm cannot compute the -1 norm on the dimension 0 because this dimension "
        "is empty and the operation does not have an identity: vector_norm() got an input of shape "
        "(0, 3)",
    ),
    (
        lambda: jg.vector_norm(X.astype("int32")),
        TypeError,
        "linalg.vector_norm: Expected a floating point or complex tensor as input. Got int32: "
        "vector_norm() takes real floating-point numbers",
    ),
    (
        lambda: jg.vector_norm(X.astype("complex64")),
        TypeError,
        "linalg.vector_norm: Expected a floating point or complex tensor as input. Got complex64: "
        "vector_norm() takes real floating-point numbers",
    ),
]
test_errors = error_test(ERRORS)
