"""The standard deviation beside torch's: values, gradients of equal numbers, dtypes, errors."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.messages import error_test
from support.torch_bridge import to_numpy, to_torch, torch

import jaxgroups as jg

AXES = [None, 0, -1, (0, 2), (2, 0, 1), ()]


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize(("correction", "dim"), list(product([0, 1, 2, 0.5], AXES)))
def test_values_and_gradients(rng, correction, dim, keepdim):
    x = rng.integers(-6, 7, (3, 4, 5)) / 2.0
    x[0] = 1.5
    x[:, 1] = -2
    x[..., 2] = 3
    tensor = to_torch(x).requires_grad_()
    how = {"correction": correction, "keepdim": keepdim}
    expected = torch.std(tensor, dim, **how)
    got, pullback = jax.vjp(lambda x: jg.std(x, dim, **how), jnp.asarray(x))
    np.testing.assert_allclose(got, to_numpy(expected), rtol=1e-13)
    weights = rng.normal(size=got.shape)
    (dx,) = pullback(jnp.asarray(weights))
    if dim == ():  # torch's own gradient counts one number for ()
        return
    expected.backward(torch.from_numpy(np.asarray(weights)))
    np.testing.assert_allclose(dx, to_numpy(tensor.grad), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_narrow_dtypes(dtype):
    """The squares are above the largest float16, their root is not."""
    x = jnp.asarray(np.tile([-300.0, 300.0], (2, 150)), dtype)
    got = jg.std(x, 1, correction=0)
    assert got.dtype == dtype
    np.testing.assert_array_equal(np.asarray(got, "float32"), [300, 300])


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_nan_and_infinities(special):
    x = np.array([[1.0, special, 2.0], [1.0, -2.0, 3.0]])
    np.testing.assert_allclose(jg.std(x, 1), to_numpy(torch.std(to_torch(x), 1)), rtol=1e-13)


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
@pytest.mark.parametrize("correction", [2, 3])
def test_too_few_numbers_have_no_standard_deviation(correction):
    x = np.array([[1.0, 2.0], [3.0, 3.0]])
    expected = torch.std(to_torch(x), 1, correction=correction)
    np.testing.assert_array_equal(jg.std(x, 1, correction=correction), to_numpy(expected))


X = np.ones((2, 3), "float32")
ERRORS = [
    (
        lambda: jg.std(X, 5),
        ValueError,
        "Dimension out of range (expected to be in range of [-2, 1], but got 5): std() got an "
        "input of 2 axes",
    ),
    (
        lambda: jg.std(X, (1, -1)),
        ValueError,
        "dim 1 appears multiple times in the list of dims: std() got dim=(1, -1)",
    ),
    (
        lambda: jg.std(X.astype("int32")),
        TypeError,
        "std and var only support floating point and complex dtypes: std() takes real "
        "floating-point numbers, got int32",
    ),
]
test_errors = error_test(ERRORS)
