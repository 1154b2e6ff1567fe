"""One long row, which the kernels cut into columns: values by lax in float64, exact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxgroups as jg
from jaxgroups import _native as native

MISSING = native.status().missing
pytestmark = pytest.mark.skipif(MISSING is not None, reason=f"NO KERNELS to call: {MISSING}")

# batch, length, in, out, groups, kernel, and the arguments of lax
ROWS = {
    "few weights": (1, 5003, 8, 16, 1, 3, {"padding": [(1, 1)]}),
    "several blocks": (1, 1601, 64, 256, 1, 3, {"padding": [(0, 2)]}),
    "one tap": (2, 3001, 64, 192, 1, 1, {}),
    "stride": (1, 4001, 24, 40, 2, 5, {"window_strides": (2,), "padding": [(2, 1)]}),
    "dilation": (1, 3001, 32, 64, 2, 2, {"rhs_dilation": (512,)}),
    "long stride": (1, 9001, 6, 32, 2, 9, {"window_strides": (4,), "padding": [(4, 4)]}),
    "depthwise": (1, 3001, 96, 96, 96, 7, {"padding": [(3, 3)]}),
    "small groups": (3, 2003, 48, 96, 16, 3, {"padding": [(1, 1)]}),
    "input dilated by 2": (1, 2001, 32, 64, 1, 3, {"lhs_dilation": (2,), "padding": [(1, 2)]}),
    "depthwise, input dilated by 2": (
        1, 2001, 64, 64, 64, 5, {"lhs_dilation": (2,), "padding": [(2, 3)]},
    ),
    "input dilated by 3": (1, 1501, 32, 64, 1, 4, {"lhs_dilation": (3,), "padding": [(3, 3)]}),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ROWS)
def test_values_are_exact(name, dtype):
    batch, length, inputs, outputs, groups, kernel, how = ROWS[name]
    rng = np.random.default_rng(5)
    x = rng.integers(-9, 10, (batch, length, inputs))
    w = rng.integers(-9, 10, (kernel, inputs // groups, outputs))
    how = {"window_strides": (1,), "padding": [(0, 0)], **how}
    how |= {"dimension_numbers": ("NHC", "HIO", "NHC"), "feature_group_count": groups}

    def by(conv, dtype):
        return jax.jit(lambda x, w: conv(x, w, **how))(jnp.asarray(x, dtype), jnp.asarray(w, dtype))

    np.testing.assert_array_equal(
        by(jg.conv_general_dilated, dtype), by(lax.conv_general_dilated, "float64")
    )


@pytest.mark.parametrize("kernel", [1, 3])
def test_bias_residual_and_activation_come_once_for_each_column(kernel):
    rng = np.random.default_rng(6)
    x, w = rng.integers(-9, 10, (1, 5003, 48)), rng.integers(-9, 10, (kernel, 24, 64))
    b, r = rng.integers(-99, 100, 64), rng.integers(-99, 100, (1, 5003, 64))

    def fused(residual, activation):
        x32, w32, b32, r32 = (jnp.asarray(array, "float32") for array in (x, w, b, r))
        return jg.conv1d(
            x32, w32, b32, padding=kernel // 2, groups=2, data_format="channels_last",
            activation=activation, residual=r32 if residual else None,
        )  # fmt: skip

    plain = lax.conv_general_dilated(
        jnp.asarray(x, "float64"), jnp.asarray(w, "float64"), (1,), [(kernel // 2,) * 2],
        dimension_numbers=("NHC", "HIO", "NHC"), feature_group_count=2,
    )  # fmt: skip
    for residual in (False, True):
        expected = np.maximum(np.asarray(plain) + b + r * residual, 0)
        np.testing.assert_array_equal(fused(residual, "relu"), expected)
