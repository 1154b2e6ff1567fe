"""Convolutions of 16-bit floats: one rounding of a float32 sum, and gradients that stay in 16 bits.

The data are whole numbers, so that float32 sums are exact: each result is the float64 one of torch,
rounded once.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from support.helpers import to_last, whole

import jaxgroups as jg
from jaxgroups import _native as native
from jaxgroups._op.equations import convolutions

torch = pytest.importorskip("torch")

DTYPES = ["bfloat16", "float16"]
MISSING = native.status().missing
NATIVE = pytest.mark.skipif(MISSING is not None, reason=f"NO KERNELS to call: {MISSING}")
LOWERINGS = [None, "xla", "shift", "matmul", pytest.param("native", marks=NATIVE)]
HOW = {"stride": 2, "padding": 1, "groups": 2}
X, W, BIAS = (3, 12, 9, 8), (10, 6, 3, 3), (10,)  # torch's layout


def operands(rng, dtype):
    """x, weight, bias in torch's layout; the bias decides how sums of several hundred round."""
    return [
        *(jnp.asarray(whole(rng, shape, bound=40), dtype) for shape in (X, W)),
        jnp.asarray(whole(rng, BIAS, bound=15) * 16 + 1, dtype),
    ]


def in_float64(*arrays):
    return [torch.tensor(np.asarray(array, "float64"), requires_grad=True) for array in arrays]


def rounded(tensor, dtype):
    return np.asarray(jnp.asarray(tensor.detach().numpy().astype("float32")).astype(dtype))


def assert_rounded(got, tensor, dtype):
    assert got.dtype == dtype
    np.testing.assert_array_equal(np.asarray(got), rounded(tensor, dtype))


@pytest.mark.parametrize("implementation", LOWERINGS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_result_is_rounded_once(rng, dtype, implementation):
    x, w, b = operands(rng, dtype)
    call = partial(jg.conv2d, **HOW, implementation=implementation)
    exact = torch.nn.functional.conv2d(*in_float64(x, w, b), **HOW)
    twice = jnp.asarray(exact.detach().numpy() - np.asarray(b, "float64")[None, :, None, None])
    twice = twice.astype("float32").astype(dtype) + b[None, :, None, None]
    assert not np.array_equal(np.asarray(twice), rounded(exact, dtype)), "the data show nothing"
    assert_rounded(call(x, w, b), exact, dtype)
    assert_rounded(jax.jit(call)(x, w, b), exact, dtype)
    each = jax.vmap(call, (0, None, None))(x[:, None], w, b)
    assert_rounded(each[:, 0], exact, dtype)
    both = jax.vmap(call, (None, None, 0))(x, w, jnp.stack([b, b]))
    assert_rounded(both[1], exact, dtype)


@pytest.mark.parametrize("implementation", LOWERINGS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_are_rounded_once(rng, dtype, implementation):
    x, w, b = operands(rng, dtype)
    call = partial(jg.conv2d, **HOW, implementation=implementation)
    y, back = jax.vjp(call, x, w, b)
    ct = jnp.asarray(whole(rng, y.shape, bound=15), dtype)
    exact = in_float64(x, w, b)
    torch.nn.functional.conv2d(*exact, **HOW).backward(in_float64(ct)[0])
    for got, operand in zip(back(ct), exact, strict=True):
        assert_rounded(got, operand.grad, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_transposed_convolutions_are_rounded_once(rng, dtype):
    x, w = (jnp.asarray(whole(rng, s, bound=15), dtype) for s in ((2, 12, 5, 4), (12, 5, 3, 2)))
    b = jnp.asarray(whole(rng, (10,)), dtype)
    how = {"stride": 2, "padding": 1, "groups": 2}
    y, back = jax.vjp(partial(jg.conv_transpose2d, **how), x, w, b)
    ct = jnp.asarray(whole(rng, y.shape, bound=15), dtype)
    exact = in_float64(x, w, b)
    z = torch.nn.functional.conv_transpose2d(*exact, **how)
    z.backward(in_float64(ct)[0])
    assert_rounded(y, z, dtype)
    for got, operand in zip(back(ct), exact, strict=True):
        assert_rounded(got, operand.grad, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_convolve_16_bit_floats(rng, dtype):
    """Not float32: a processor or an accelerator may have faster instructions for 16 bits."""
    x, w, b = operands(rng, dtype)

    def both(x, w, b, ct):
        return jax.vjp(partial(jg.conv2d, **HOW), x, w, b)[1](ct)

    mapped = jax.vmap(both, (0, None, None, 0))
    ct = jnp.ones((3, 10, 5, 4), dtype)
    for call, more in ((both, ()), (mapped, (None,))):
        assert_16_bits(call, dtype, x[:, *more], w, b, ct[:, *more])


def assert_16_bits(call, dtype, *arrays):
    found = list(convolutions(jax.make_jaxpr(call)(*arrays).jaxpr))
    assert len(found) == 2  # of the gradients
    for eqn in found:
        assert {v.aval.dtype.name for v in (*eqn.invars, *eqn.outvars)} == {dtype}


def test_a_bias_gradient_adds_up_in_float32():
    """In bfloat16, 1 + 256 is 256."""
    x, w = jnp.ones((1, 1, 256, 128), "bfloat16"), jnp.ones((2, 1, 1, 1), "bfloat16")
    gradient = jax.grad(lambda b: jg.conv2d(x, w, b).astype("float32").sum())
    assert gradient(jnp.zeros(2, "bfloat16")).tolist() == [2**15, 2**15]


def test_a_wide_result_keeps_its_gradient_in_float32(rng):
    """`preferred_element_type` asks for float32, and its cotangent may need all digits."""
    x, w, _ = operands(rng, "bfloat16")
    call = partial(jg.conv2d, **HOW, preferred_element_type="float32")
    y, back = jax.vjp(call, x, w)
    ct = np.asarray(whole(rng, y.shape, bound=15) + 2.0**-9, "float32")  # not a bfloat16
    exact = in_float64(x, w)
    torch.nn.functional.conv2d(*exact, **HOW).backward(in_float64(ct)[0])
    for got, operand in zip(back(jnp.asarray(ct)), exact, strict=True):
        assert_rounded(got, operand.grad, "bfloat16")


@pytest.mark.parametrize("dtype", DTYPES)
def test_lax_calls_are_rounded_once(rng, dtype):
    x, w, _ = operands(rng, dtype)
    exact = torch.nn.functional.conv2d(*in_float64(x, w), **HOW)
    last = to_last(exact.detach().numpy(), 2)
    x, w = jnp.moveaxis(x, 1, -1), jnp.transpose(w, (2, 3, 1, 0))
    padding, numbers = [(1, 1), (1, 1)], ("NHWC", "HWIO", "NHWC")
    with jg.accelerate():
        y = lax.conv_general_dilated(
            x, w, (2, 2), padding, dimension_numbers=numbers, feature_group_count=2
        )
    np.testing.assert_array_equal(np.asarray(y), np.asarray(last.astype("float32").astype(dtype)))
