"""Wrong calls of the handlers of channel sums through the FFI: errors with their texts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgroups import _native as native

pytestmark = pytest.mark.skipif(
    native.status().missing is not None, reason=f"NO KERNELS to call: {native.status().missing}"
)
WHOLE, VECTOR = (2, 7, 5), (2, 5)
TARGETS = {
    native.CHANNEL_MOMENTS: ((WHOLE,), (VECTOR, VECTOR)),
    native.CHANNEL_SUMS: ((WHOLE, WHOLE, VECTOR), (VECTOR, VECTOR)),
}
SIZES = "jaxgroups: the sizes of the arrays differ"


def call(target, operands=None, results=None, dtypes=None):
    """The handler's results for operands and results of these shapes, and dtypes in this order."""
    operands, results = (
        given or right for given, right in zip((operands, results), TARGETS[target], strict=True)
    )
    dtypes = dtypes or ["float32"] * (len(operands) + len(results))
    arrays = [
        jnp.asarray(np.arange(np.prod(shape)).reshape(shape), dtype)
        for shape, dtype in zip(operands, dtypes, strict=False)
    ]
    shapes = [
        jax.ShapeDtypeStruct(shape, dtype)
        for shape, dtype in zip(results, dtypes[len(operands) :], strict=True)
    ]
    return jax.block_until_ready(jax.jit(jax.ffi.ffi_call(target, shapes))(*arrays))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_right_call(dtype):
    x = np.arange(70.0).reshape(WHOLE)
    mean, var = call(native.CHANNEL_MOMENTS, dtypes=[dtype] * 3)
    np.testing.assert_array_equal(mean, x.mean(1))
    np.testing.assert_array_equal(var, x.var(1))
    first, second = call(native.CHANNEL_SUMS, dtypes=[dtype] * 5)
    shift = np.arange(10.0).reshape(2, 1, 5)
    np.testing.assert_array_equal(first, x.sum(1))
    np.testing.assert_array_equal(second, (x * (x - shift)).sum(1))


def replaced(shapes, i, shape):
    return (*shapes[:i], shape, *shapes[i + 1 :])


def wrong_shapes():
    """Every array in turn with one size too few and too many on each axis, or an axis less."""
    for target, (operands, results) in TARGETS.items():
        for i, right in enumerate((*operands, *results)):
            wrong = [right[1:]]
            wrong += [replaced(right, k, n + d) for k, n in enumerate(right) for d in (-1, 1)]
            for shape in wrong:
                if target == native.CHANNEL_MOMENTS and i == 0 and shape in ((2, 6, 5), (2, 8, 5)):
                    continue  # no other array has the rows
                every = replaced((*operands, *results), i, shape)
                yield target, every[: len(operands)], every[len(operands) :]


@pytest.mark.parametrize(("target", "operands", "results"), list(wrong_shapes()))
def test_other_shapes_are_refused(target, operands, results):
    with pytest.raises(jax.errors.JaxRuntimeError) as caught:
        call(target, operands, results)
    axes = "jaxgroups: there should be three axes, but got 2"
    text = axes if len(operands[0]) == 2 else SIZES
    assert str(caught.value) == f"INVALID_ARGUMENT: {text}"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", ["int32", "bfloat16", "complex64"])
def test_other_dtypes_are_refused(target, dtype):
    count = sum(map(len, TARGETS[target]))
    with pytest.raises(jax.errors.JaxRuntimeError, match="should be float32 or float64"):
        call(target, dtypes=[dtype] * count)
    for i in range(1, count):
        mixed = ["float32"] * count
        mixed[i] = "float64"
        with pytest.raises(jax.errors.JaxRuntimeError, match="jaxgroups: dtypes differ"):
            call(target, dtypes=mixed)
