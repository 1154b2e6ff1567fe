"""Residual and activation as a part of the convolution: in kernels and transformations."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify, jet
from support.helpers import assert_same, to_first, to_last, weight_to_last, whole

import jaxgroups as jg
from jaxgroups import _native as native

MISSING = native.status().missing
NATIVE = pytest.mark.skipif(MISSING is not None, reason=f"NO KERNELS to call: {MISSING}")
BOTH = ["xla", pytest.param("native", marks=NATIVE)]
ACTIVATIONS = {  # of torch.nn.functional, with its arguments
    "relu": ("relu", {}),
    "relu6": ("relu6", {}),
    "silu": ("silu", {}),
    "hardswish": ("hardswish", {}),
    "hardsigmoid": ("hardsigmoid", {}),
    "sigmoid": ("sigmoid", {}),
    "leaky_relu": ("leaky_relu", {}),
    "hardtanh": ("hardtanh", {}),
    ("leaky_relu", 0.25): ("leaky_relu", {"negative_slope": 0.25}),
    ("hardtanh", -2, 5): ("hardtanh", {"min_val": -2, "max_val": 5}),
}
CASES = {  # torch's shapes of x and weight, arguments
    "depthwise": ((2, 20, 9, 8), (20, 1, 3, 3), {"groups": 20, "padding": 1}),
    "two rows, stride 2": ((1, 33, 9, 18), (33, 1, 5, 5), {"groups": 33, "stride": 2}),
    "multiplier": ((2, 5, 6, 7), (15, 1, 3, 2), {"groups": 5, "stride": 2}),
    "small groups": ((2, 12, 6, 7), (20, 3, 3, 3), {"groups": 4, "padding": 1}),
    "wide groups": ((2, 48, 5, 6), (70, 24, 3, 1), {"groups": 2, "padding": (1, 0)}),
    "dense": ((1, 4, 5, 6), (9, 4, 3, 3), {"dilation": 2, "padding": 2}),
    "1x1": ((2, 32, 5, 4), (24, 16, 1, 1), {"groups": 2}),
    "padding only": ((1, 6, 1, 1), (9, 2, 1, 1), {"groups": 3, "padding": 2, "stride": 2}),
}


def by_torch(case, activation, biased, residual, rng):
    """float64 arrays, arguments, torch's tensors that need gradients, and torch's result."""
    torch = pytest.importorskip("torch")
    x, w, how = CASES[case]
    arrays = [whole(rng, x), whole(rng, w)] + [whole(rng, w[:1])] * biased
    tensors = [torch.from_numpy(a / 4).requires_grad_() for a in arrays]
    y = torch.nn.functional.conv2d(*tensors, **how)
    if residual:
        tensors.append(torch.from_numpy(whole(rng, tuple(y.shape)) / 4).requires_grad_())
        y = y + tensors[-1]
    if activation is not None:
        name, settings = ACTIVATIONS[activation]
        if name == "hardsigmoid":  # its own gradient has a sixth of single precision
            y = torch.nn.functional.relu6(y + 3) / 6
        else:
            y = getattr(torch.nn.functional, name)(y, **settings)
    return [t.detach().numpy() for t in tensors], how, tensors, y


def ours(how, activation, biased, residual, implementation=None):
    def call(x, w, *rest):
        bias = rest[0] if biased else None
        more = {"residual": rest[-1]} if residual else {}
        return jg.conv2d(
            x, w, bias, **how, **more, activation=activation, implementation=implementation
        )

    return call


def close(got, expected, dtype="float64"):
    eps = float(jnp.finfo(dtype).eps)
    expected = np.asarray(expected)
    assert got.dtype == dtype
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=32 * eps, atol=32 * eps * abs(expected).max())


@pytest.mark.parametrize("implementation", BOTH)
@pytest.mark.parametrize("case", CASES)
def test_every_kernel_has_torch_values(rng, case, implementation):
    for activation, biased, residual in (("relu6", True, True), (("hardtanh", -2, 5), False, True)):
        arrays, how, _, y = by_torch(case, activation, biased, residual, rng)
        call = ours(how, activation, biased, residual, implementation)
        close(call(*arrays), y.detach())
        close(call(*(a.astype("float32") for a in arrays)), y.detach(), "float32")


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("activation", [None, *ACTIVATIONS])
def test_values_and_gradients_are_those_of_torch(rng, activation, residual):
    arrays, how, tensors, y = by_torch("small groups", activation, True, residual, rng)
    ct = whole(rng, tuple(y.shape))
    y.backward(y.new_tensor(ct))
    for implementation in [None, "xla"][: 1 + residual]:
        call = ours(how, activation, True, residual, implementation)
        got, pull = jax.vjp(jax.jit(call), *map(jnp.asarray, arrays))
        close(got, y.detach())
        for gradient, tensor in zip(pull(jnp.asarray(ct)), tensors, strict=True):
            close(gradient, tensor.grad)


@NATIVE
@pytest.mark.parametrize("case", CASES)
def test_one_call_computes_it(rng, case):
    arrays, how, _, _ = by_torch(case, "hardswish", True, True, rng)
    last = [to_last(a, 2) for a in (arrays[0], arrays[3])]
    call = ours({**how, "data_format": "channels_last"}, "hardswish", True, True)
    operands = last[0], weight_to_last(arrays[1]), arrays[2], last[1]
    text = jax.jit(call).lower(*operands).as_text()
    if "jaxgroups_fused" not in text:  # where another implementation is faster
        assert "custom_call" not in text
        call = ours({**how, "data_format": "channels_last"}, "hardswish", True, True, "native")
        text = jax.jit(call).lower(*operands).as_text()
    (found,) = re.findall(r"custom_call @jaxgroups_fused\((.*?)\)", text)
    assert found.count("%") == 4
    assert not re.search(r"stablehlo\.(add|multiply|divide|clamp|maximum)", text)


@NATIVE
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_accuracy_over_all_magnitudes(activation, dtype):
    """Four units in the last place of the exact value, also of infinities, NaN and zeros."""
    torch = pytest.importorskip("torch")
    least = -80.0 if dtype == "float32" else -700.0  # below, results are subnormal
    x = np.concatenate([np.linspace(least, 90, 4001), np.geomspace(1e-30, 1e30, 99)])
    x = np.concatenate([x, [0.0, np.inf, np.nan, 3, -3, 6]]).astype(dtype)
    name, settings = ACTIVATIONS[activation]
    exact = torch.from_numpy(x.astype("float64"))
    exact = getattr(torch.nn.functional, name)(exact, **settings).numpy()
    how = {"data_format": "channels_last", "implementation": "native", "activation": activation}
    got = np.asarray(jg.conv1d(x.reshape(1, -1, 1), np.ones((1, 1, 1), dtype), **how)).ravel()
    np.testing.assert_allclose(got, exact, rtol=4 * np.finfo(dtype).eps)
    negative = -x[x > 50]
    got = jg.conv1d(negative.reshape(1, -1, 1), np.ones((1, 1, 1), dtype), **how)
    exact = getattr(torch.nn.functional, name)(torch.from_numpy(negative), **settings)
    np.testing.assert_allclose(np.ravel(got), exact, rtol=1e-5, atol=1e-30)


@NATIVE
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits_are_rounded_once(rng, dtype):
    arrays, how, _, _ = by_torch("depthwise", None, True, True, rng)
    arrays = [jnp.asarray(a, dtype) for a in arrays]
    exact = ours(how, "silu", True, True, "xla")(*(a.astype("float64") for a in arrays))
    got = ours(how, "silu", True, True, "native")(*arrays)
    assert got.dtype == dtype
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(got.astype("float64"), exact, rtol=0.51 * eps, atol=1e-7)


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_other_ranks_and_any_batch(rng, rank, data_format):
    size = (5, 4, 3)[:rank]
    x, w, r = whole(rng, (2, 6, *size)), whole(rng, (9, 2, *(1,) * rank)), whole(rng, (2, 9, *size))
    function, how = getattr(jg, f"conv{rank}d"), {"groups": 3}
    right = np.maximum(np.asarray(function(x, w, **how)) + r, 0)
    if data_format == "channels_first":
        assert_same(function(x, w, residual=r, activation="relu", **how), right)
        assert_same(function(x[0], w, residual=r[0], activation="relu", **how), right[0])
        return
    x, r = (np.asarray(to_last(a, rank)).reshape(1, 2, *size, -1) for a in (x, r))
    got = function(
        x, weight_to_last(w), residual=r, activation="relu", data_format="channels_last", **how
    )
    assert_same(to_first(got[0], rank), right)


@pytest.mark.parametrize("axes", [(0, None, None, 0), (0, None, None, None), (None, None, 0, 0)])
def test_vmap(rng, axes):
    arrays, how, _, _ = by_torch("multiplier", None, True, True, rng)
    call = ours(how, "relu6", True, True)
    pairs = zip(arrays, axes, strict=True)
    mapped = [a if axis is None else np.stack([a, -a, 2 * a]) for a, axis in pairs]
    got = jax.vmap(call, axes)(*map(jnp.asarray, mapped))
    for i in range(3):
        one = [a if axis is None else a[i] for a, axis in zip(mapped, axes, strict=True)]
        assert_same(got[i], call(*one))


def test_second_derivatives_forward_mode_and_other_interpreters(rng):
    arrays, how, _, _ = by_torch("multiplier", None, True, True, rng)
    arrays = [jnp.asarray(a) for a in arrays]
    call = ours(how, "silu", True, True)

    def plain(x, w, b, r):
        return jax.nn.silu(jg.conv2d(x, w, b, **how) + r)

    def hessian(f):
        loss = lambda *a: jnp.sum(f(*a) ** 2)  # noqa: E731
        return jax.jit(lambda *a: jax.jvp(jax.grad(loss, (0, 1, 2, 3)), a, a)[1])(*arrays)

    for got, expected in zip(hessian(call), hessian(plain), strict=True):
        close(got, expected)

    def along_bias(f):
        return jax.jvp(lambda b: f(*arrays[:2], b, arrays[3]), arrays[2:3], arrays[2:3])[1]

    close(along_bias(call), along_bias(plain))
    series = [[a, 2 * a] for a in arrays]
    close(jet.jet(call, arrays, series)[1][0], jet.jet(plain, arrays, series)[1][0])

    def of_weights(f):
        return jax.jit(jax.grad(lambda *a: jnp.sum(f(*a)), 1))(*arrays)

    for policy in (jax.checkpoint_policies.dots_saveable, None):
        close(of_weights(jax.checkpoint(call, policy=policy)), of_weights(plain))
    checked = checkify.checkify(call, checkify.float_checks)
    error, _ = checked(arrays[0].at[0, 0, 0, 0].set(jnp.nan), *arrays[1:])
    assert "nan generated by primitive: jaxgroups_conv_fused" in error.get()


def test_exported_programs_and_disabled_jit(rng):
    arrays, how, _, y = by_torch("depthwise", "relu", True, True, rng)
    call = ours(how, "relu", True, True)
    exported = jax.export.export(jax.jit(call))(*arrays)
    assert "jaxgroups_fused" not in exported.mlir_module()
    close(exported.call(*arrays), y.detach())
    with jax.disable_jit():
        close(call(*arrays), y.detach())


@NATIVE
def test_the_log_names_what_is_fused(rng, caplog):
    arrays, how, _, _ = by_torch("depthwise", "relu", True, True, rng)
    with caplog.at_level("INFO", "jaxgroups"):
        jax.jit(ours(how, ("leaky_relu", 0.375), True, True, "native")).lower(*arrays)
    assert "with + residual, leaky(0.375)" in caplog.text


X, W = np.ones((1, 4, 5, 5)), np.ones((6, 2, 3, 3))
NAMES = "relu, relu6, hardtanh, leaky_relu, sigmoid, silu, hardsigmoid, hardswish"
FITS = (
    "conv2d(): the residual must have the shape and the dtype of the result, "
    "[1, 6, 3, 3] float64, but got "
)
REFUSED = {
    "unknown": (
        {"activation": "gelu"},
        ValueError,
        f"conv2d(): activation must be None or one of {NAMES}, but got activation='gelu'",
    ),
    "a function": (
        {"activation": abs},
        TypeError,
        "conv2d(): argument 'activation' must be a name, or a tuple of a name and numbers, not "
        f"builtin_function_or_method: got activation={abs!r}",
    ),
    "too many numbers": (
        {"activation": ("leaky_relu", 1, 2)},
        ValueError,
        "conv2d(): activation 'leaky_relu' takes 1 number, but got activation=('leaky_relu', 1, 2)",
    ),
    "no numbers": (
        {"activation": ("relu", 1)},
        ValueError,
        "conv2d(): activation 'relu' takes no numbers, but got activation=('relu', 1)",
    ),
    "order": (
        {"activation": ("hardtanh", 2, 1)},
        ValueError,
        "conv2d(): the bounds of 'hardtanh' should be in order, "
        "but got activation=('hardtanh', 2, 1)",
    ),
    "shape": ({"residual": np.ones((1, 6, 3, 1))}, ValueError, FITS + "[1, 6, 3, 1] float64"),
    "dtype": (
        {"residual": np.ones((1, 6, 3, 3), "float32")},
        ValueError,
        FITS + "[1, 6, 3, 3] float32",
    ),
    "no array": (
        {"residual": 1.0},
        TypeError,
        "conv2d() received an invalid combination of arguments - got (ndarray, ndarray, float): "
        "residual must be a jax or numpy array (of a torch tensor, take .numpy())",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(name):
    how, kind, text = REFUSED[name]
    with pytest.raises(kind) as caught:
        jg.conv2d(X, W, groups=2, **how)
    assert str(caught.value) == text


def test_complex_numbers_have_no_activation():
    with pytest.raises(TypeError, match=r"conv2d\(\): an activation is of real numbers"):
        jg.conv2d(X.astype("complex64"), W.astype("complex64"), groups=2, activation="relu")
    z = X.astype("complex64")
    residual = np.full((1, 6, 3, 3), 2j, "complex64")
    got = jg.conv2d(z, W.astype("complex64"), groups=2, residual=residual)
    np.testing.assert_array_equal(got, np.full((1, 6, 3, 3), 18 + 2j, "complex64"))
