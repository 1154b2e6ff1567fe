"""The nnx and the linen layers, one body of tests: oracle, torch's signature, start and text."""

import copy
import inspect
from dataclasses import replace
from math import prod, sqrt

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TORCH
from flax import linen as nn
from flax import nnx
from support import reference
from support.cases import CASES
from support.helpers import (
    arguments,
    arrays,
    assert_same,
    from_same,
    to_last,
    weight_to_last,
    whole,
)

import jaxgroups as jg
import jaxgroups.linen as jln
import jaxgroups.nnx as jnn

NAMES = [f"{kind}{rank}d" for kind in ("Conv", "ConvTranspose") for rank in (1, 2, 3)]
TRANSPOSED = [name for name in NAMES if "Transpose" in name]
needs_torch = pytest.mark.skipif(not TORCH, reason="torch is not installed")


class Nnx:
    """How the tests build and call an nnx layer."""

    @staticmethod
    def build(name, in_channels, *args, seed=0, lazy=False, **kw):
        return getattr(jnn, name)(in_channels, *args, rngs=nnx.Rngs(seed), **kw)

    @classmethod
    def start(cls, name, x, *args, seed=0, **kw):
        """Parameters of a new layer."""
        layer = cls.build(name, x.shape[-1], *args, seed=seed, **kw)
        state = nnx.to_pure_dict(nnx.state(layer, nnx.Param))
        return {k: np.asarray(v) for k, v in state.items()}

    @staticmethod
    def run(layer, params, x, *args, **kw):
        for name, value in params.items():
            getattr(layer, name)[...] = jnp.asarray(value)
        return layer(x, *args, **kw)


class Linen:
    """The same for linen: in_channels come from the input, unless they are given."""

    @staticmethod
    def build(name, in_channels, *args, lazy=True, **kw):
        kw |= {} if lazy else {"in_channels": in_channels}
        return getattr(jln, name)(*args, **kw)

    @classmethod
    def start(cls, name, x, *args, seed=0, **kw):
        layer = cls.build(name, None, *args, **kw)
        params = layer.init(jax.random.key(seed), x)["params"]
        return {k: np.asarray(v) for k, v in params.items()}

    @staticmethod
    def run(layer, params, x, *args, **kw):
        return layer.apply({"params": dict(params)}, x, *args, **kw)


FRAMEWORKS = [pytest.param(Nnx, id="nnx"), pytest.param(Linen, id="linen")]
both = pytest.mark.parametrize("framework", FRAMEWORKS)
every = pytest.mark.parametrize("name", NAMES)
SAYABLE = [pytest.param(spec, id=name) for name, spec in CASES.items() if from_same(spec)]

# one case a class, nothing at its default
_RICH = {
    "Conv1d": "conv1d in=6 out=4 kernel=3 stride=2 padding=2 groups=2 batch=2 size=8",
    "Conv2d": "conv2d in=4 out=6 kernel=3x2 stride=1x2 padding=1x2 dilation=2x1 groups=2 batch=2 "
    "size=5x6",
    "Conv3d": "conv3d in=4 out=6 kernel=2x3x1 padding=1x0x1 groups=2 batch=2 size=3x5x4",
    "ConvTranspose1d": "conv_transpose1d in=6 out=4 kernel=3 stride=2 padding=1 output_padding=1 "
    "groups=2 batch=2 size=4",
    "ConvTranspose2d": "conv_transpose2d in=4 out=6 kernel=3x2 stride=2x3 padding=1x0 "
    "output_padding=1x0 groups=2 batch=2 size=3x4",
    "ConvTranspose3d": "conv_transpose3d in=4 out=6 kernel=2x3x1 stride=1x2x3 padding=0x1x0 "
    "groups=2 batch=1 size=2x3x4",
}
RICH = {name: jg.ConvSpec.parse(text) for name, text in _RICH.items()}


def said(spec, **kw):
    """The layer's constructor arguments after in_channels, by name."""
    fields = {"out_channels": spec.out_channels, "kernel_size": spec.kernel_size, "bias": spec.bias}
    return fields | arguments(spec) | kw


def class_name(spec):
    return f"Conv{'Transpose' if spec.transposed else ''}{spec.rank}d"


def zeros(key, shape, dtype):
    """An initialiser that compiles nothing, for layers whose parameters the test sets."""
    return jnp.asarray(np.zeros(shape, dtype))


QUICK = {"kernel_init": zeros, "bias_init": zeros}


def build(framework, spec, **kw):
    return framework.build(class_name(spec), spec.in_channels, **said(spec, **(QUICK | kw)))


def data(rng, spec, dtype="float32"):
    """Input and parameters of the layer, channels last, and the output by the definition."""
    x, w, b = arrays(rng, spec, dtype)
    unbatched = not spec.batch
    y = reference.of_spec(spec, x[None] if unbatched else x, w, b)
    y = np.asarray(to_last(y[0] if unbatched else y, spec.rank))
    params = {"kernel": weight_to_last(w)} | ({} if b is None else {"bias": b})
    return np.asarray(to_last(x, spec.rank)), params, y


def ones(spec, dtype=np.float32):
    return np.ones((1, *spec.size, spec.in_channels), dtype)


# --- values ---------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("spec", SAYABLE)
def test_layer_is_the_definition(rng, framework, spec):
    x, params, y = data(rng, spec)
    assert_same(framework.run(build(framework, spec), params, x), y)


@both
@pytest.mark.parametrize("batch", [(), (0,), (3,), (2, 3), (2, 1, 2)])
@every
def test_any_batch_axes(rng, framework, name, batch):
    spec = replace(RICH[name], batch=(prod(batch),))
    x, params, y = data(rng, spec)
    out = framework.run(build(framework, spec), params, x.reshape(*batch, *x.shape[1:]))
    assert_same(out, y.reshape(*batch, *y.shape[1:]))


@both
@every
def test_under_jit(rng, framework, name):
    spec = RICH[name]
    x, params, y = data(rng, spec)
    layer = build(framework, spec)
    if framework is Linen:
        assert_same(jax.jit(layer.apply)({"params": params}, x), y)
    else:
        framework.run(layer, params, x)
        assert_same(nnx.jit(lambda layer, x: layer(x))(layer, x), y)


@both
@pytest.mark.parametrize("name", TRANSPOSED)
def test_output_size_at_the_call(rng, framework, name):
    spec = RICH[name]
    layer = build(framework, spec, output_padding=0)
    sizes = set()
    for extra in range(max(spec.stride)):
        padding = tuple(min(extra, s - 1) for s in spec.stride)
        x, params, y = data(rng, replace(spec, output_padding=padding))
        assert_same(framework.run(layer, params, x, y.shape[1:-1]), y)
        assert_same(framework.run(layer, params, x, output_size=list(y.shape)), y)
        sizes.add(y.shape[1:-1])
    assert len(sizes) == max(spec.stride)
    with pytest.raises(ValueError, match="requested an output size"):
        framework.run(layer, params, x, tuple(n + max(spec.stride) for n in max(sizes)))


@both
def test_a_convolution_takes_no_output_size(rng, framework):
    spec = RICH["Conv2d"]
    x, params, y = data(rng, spec)
    with pytest.raises(TypeError, match="output_size"):
        framework.run(build(framework, spec), params, x, output_size=y.shape[1:-1])


# --- parameters -----------------------------------------------------------------------------------

# torch's (first, second / groups, *k) turned round, written out
KERNELS = {
    "Conv1d": (3, 3, 4),
    "Conv2d": (3, 2, 2, 6),
    "Conv3d": (2, 3, 1, 2, 6),
    "ConvTranspose1d": (3, 2, 6),
    "ConvTranspose2d": (3, 2, 3, 4),
    "ConvTranspose3d": (2, 3, 1, 3, 4),
}


@both
@every
@pytest.mark.parametrize("bias", [True, False])
def test_parameters_and_their_shapes(framework, name, bias):
    spec = RICH[name]
    params = framework.start(name, ones(spec), **said(spec, bias=bias, **QUICK))
    expected = {"kernel": KERNELS[name]} | ({"bias": (spec.out_channels,)} if bias else {})
    assert {k: v.shape for k, v in params.items()} == expected
    assert all(v.dtype == np.float32 for v in params.values())


@every
def test_nnx_parameters_are_params(name):
    layer = build(Nnx, RICH[name])
    assert type(layer.kernel) is nnx.Param
    assert type(layer.bias) is nnx.Param
    assert set(nnx.to_pure_dict(nnx.state(layer))) == {"kernel", "bias"}
    assert build(Nnx, RICH[name], bias=False).bias is None


@both
@every
def test_an_int_kernel_size_fills_the_rank(framework, name):
    rank = int(name[-2])
    assert framework.build(name, 4, 6, 3, groups=2, **QUICK).kernel_size == (3,) * rank
    params = framework.start(name, np.ones((*(5,) * rank, 4), np.float32), 6, 3, groups=2, **QUICK)
    assert params["kernel"].shape[:-2] == (3,) * rank


@both
@pytest.mark.parametrize("form", [list, iter, np.asarray, lambda v: (i for i in v)])
@pytest.mark.parametrize("name", ["Conv2d", "ConvTranspose2d"])
def test_axes_may_be_any_iterable(rng, framework, name, form):
    spec = RICH[name]
    x, params, y = data(rng, spec)
    tuples = {k: form(v) for k, v in said(spec).items() if isinstance(v, tuple)}
    assert {"kernel_size", "stride", "padding", "dilation"} <= set(tuples)
    layer = build(framework, spec, **tuples)
    assert repr(layer) == repr(build(framework, spec))
    for _ in range(2):  # an iterator must not be used up by the first call
        assert_same(framework.run(layer, params, x), y)
    if framework is Linen:
        assert hash(layer) == hash(build(framework, spec))


@every
def test_linen_takes_in_channels_from_the_input(name):
    spec = RICH[name]
    layer = build(Linen, spec)
    assert layer.in_channels is None
    for channels in (2, 4, 8):
        x = np.ones((1, *spec.size, channels), np.float32)
        kernel = jax.eval_shape(layer.init, jax.random.key(0), x)["params"]["kernel"]
        axis, expected = (-1, channels) if spec.transposed else (-2, channels // 2)
        assert kernel.shape[axis] == expected
    with pytest.raises(ValueError, match="in_channels must be divisible by groups"):
        layer.init(jax.random.key(0), np.ones((1, *spec.size, 5), np.float32))


@every
def test_linen_checks_given_in_channels_at_construction(rng, name):
    with pytest.raises(ValueError, match="in_channels must be divisible by groups"):
        getattr(jln, name)(6, 3, groups=2, in_channels=5)
    spec = RICH[name]
    layer = build(Linen, spec, lazy=False)
    x, params, y = data(rng, spec)
    assert_same(Linen.run(layer, params, x), y)
    wrong = np.ones((*x.shape[:-1], spec.in_channels + 2), np.float32)
    with pytest.raises(ValueError, match=f"to have {spec.in_channels} channels"):
        layer.init(jax.random.key(0), wrong)


@both
@every
@pytest.mark.parametrize(
    ("kw", "error", "sentence"),
    [
        ({"groups": 4}, ValueError, "out_channels must be divisible by groups"),
        ({"groups": 0}, ValueError, "groups must be a positive integer"),
        ({"groups": 2.0}, TypeError, "argument 'groups' must be int"),
        ({"stride": 0}, ValueError, "non-positive stride is not supported"),
        ({"padding": -1}, ValueError, "negative padding is not supported"),
        ({"kernel_size": (3,) * 4}, ValueError, "expected kernel_size"),
        ({"param_dtype": jnp.int32}, ValueError, "Only Tensors of floating point"),
        ({"wrong": 1}, TypeError, "wrong"),
    ],
)
def test_construction_refuses(framework, name, kw, error, sentence):
    with pytest.raises(error, match=sentence):
        framework.build(name, 4, **({"out_channels": 6, "kernel_size": 3} | kw))


@both
@every
def test_the_call_refuses_wrong_inputs(rng, framework, name):
    spec = RICH[name]
    x, params, _ = data(rng, spec)
    layer = build(framework, spec, lazy=False)
    with pytest.raises(ValueError, match=f"Expected {spec.rank + 1}D"):
        framework.run(layer, params, x.reshape(-1))
    with pytest.raises(ValueError, match="channels, but got 1"):
        framework.run(layer, params, x[..., :1])
    with pytest.raises(TypeError, match="input must be a jax or numpy array"):
        framework.run(layer, params, x.tolist())


@every
def test_wrong_kernels_are_refused(rng, name):
    spec = RICH[name]
    x, params, _ = data(rng, spec)
    torch_shaped = jnp.ones(spec.torch_weight_shape, jnp.float32)
    ungrouped = jnp.concatenate([jnp.asarray(params["kernel"])] * 2, axis=-2)
    layer = build(Nnx, spec)
    with pytest.raises(ValueError, match="Incompatible"):
        layer.kernel[...] = ungrouped
    for wrong in (torch_shaped, ungrouped):
        layer = build(Nnx, spec)
        layer.kernel = nnx.Param(wrong)
        with pytest.raises(ValueError, match=r"kernel has shape .* but this layer needs"):
            layer(x)
        with pytest.raises(flax.errors.ScopeParamShapeError, match="kernel"):
            Linen.run(build(Linen, spec), params | {"kernel": wrong}, x)
    layer = build(Nnx, spec)
    layer.bias = nnx.Param(jnp.ones(spec.out_channels + 1, jnp.float32))
    with pytest.raises(ValueError, match=r"bias has shape .* but this layer needs"):
        layer(x)


# --- torch's signature ----------------------------------------------------------------------------

_REQUIRED = dict.fromkeys(("in_channels", "out_channels", "kernel_size"), inspect.Parameter.empty)
CONV = _REQUIRED | {
    "stride": 1,
    "padding": 0,
    "dilation": 1,
    "groups": 1,
    "bias": True,
    "padding_mode": "zeros",
}
CONV_TRANSPOSE = _REQUIRED | {
    "stride": 1,
    "padding": 0,
    "output_padding": 0,
    "groups": 1,
    "bias": True,
    "dilation": 1,
    "padding_mode": "zeros",
}


def torch_order(name):
    """Torch's parameters with their defaults, in order; and those of its lazy layer."""
    order = list((CONV_TRANSPOSE if "Transpose" in name else CONV).items())
    return order, order[1:]


def leading(function, count):
    """The first parameters of a function with their defaults, all of them positional."""
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    assert all(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters[:count])
    return [(p.name, p.default) for p in parameters[:count]]


@every
def test_argument_order_is_torchs(name):
    order, lazy = torch_order(name)
    assert leading(getattr(jnn, name).__init__, len(order)) == order
    assert leading(getattr(jln, name), len(lazy)) == lazy


@needs_torch
@every
def test_the_order_above_is_torchs_own(name):
    import torch

    order, lazy = torch_order(name)
    assert leading(getattr(torch.nn, name).__init__, len(order)) == order
    assert leading(getattr(torch.nn, f"Lazy{name}").__init__, len(lazy)) == lazy


@both
@every
def test_positional_arguments_land_where_torch_puts_them(framework, name):
    values = {"out_channels": 6, "kernel_size": 5, "stride": 3, "padding": 4, "dilation": 7}
    values |= {"output_padding": 2, "groups": 2, "bias": False}
    values["padding_mode"] = "zeros" if "Transpose" in name else "circular"
    _, lazy = torch_order(name)
    layer = framework.build(name, 4, *(values[n] for n, _ in lazy), **QUICK)
    rank = int(name[-2])
    for n, _ in lazy:
        if n == "bias":
            assert not layer.bias
        elif n in ("out_channels", "groups", "padding_mode"):
            assert getattr(layer, n) == values[n]
        else:
            assert getattr(layer, n) == (values[n],) * rank, n


# --- the start ------------------------------------------------------------------------------------

# rank: (in, out, kernel, groups), so wide that the extremes come close to the bound
WIDE = {1: (16, 6000, 3, 4), 2: (16, 6000, 3, 4), 3: (16, 6000, 2, 4)}


def wide_bound(name):
    """1 / sqrt(fan_in), fan_in from dimension 1 of torch's weight."""
    ci, co, k, groups = WIDE[int(name[-2])]
    second = (co if "Transpose" in name else ci) // groups
    return 1 / sqrt(second * k ** int(name[-2]))


def wide_params(framework, name, **kw):
    rank = int(name[-2])
    ci, co, k, groups = WIDE[rank]
    x = np.ones((*(k,) * rank, ci), kw.get("param_dtype", np.float32))
    return framework.start(name, x, co, k, groups=groups, **kw)


def assert_uniform(values, bound):
    """Drawn from U(-bound, bound): the ends, the mean and the whole distribution."""
    n = values.size
    assert n >= 6000
    assert np.abs(values).max() <= bound * (1 + 1e-6)
    assert values.max() > bound * (1 - 20 / n)  # missed with probability e^-10
    assert values.min() < -bound * (1 - 20 / n)
    assert abs(values.mean(dtype=np.float64)) < 5 * bound / sqrt(3 * n)
    ranks = (np.sort(values.ravel().astype(np.float64)) / bound + 1) / 2
    distance = np.abs(ranks - (np.arange(n) + 0.5) / n).max()  # of Kolmogorov and Smirnov
    assert distance < 2.2 / sqrt(n), "not uniform"  # exceeded with probability 1e-4


def test_the_check_of_uniformity_can_fail(rng):
    good = rng.uniform(-1, 1, 20000)
    assert_uniform(good, 1.0)
    clipped = np.clip(rng.normal(0, 0.58, 20000), -1, 1)
    for bad in (good * 0.99, good * 1.01, abs(good), good + 0.02, good**3, clipped):
        with pytest.raises(AssertionError):
            assert_uniform(bad, 1.0)


@both
@every
def test_default_start_is_torchs_distribution(framework, name):
    params = wide_params(framework, name)
    assert_uniform(params["kernel"], wide_bound(name))
    assert_uniform(params["bias"], wide_bound(name))


@needs_torch
@every
def test_torch_starts_from_the_same_distribution(name):
    import torch

    ci, co, k, groups = WIDE[int(name[-2])]
    torch.manual_seed(0)
    layer = getattr(torch.nn, name)(ci, co, k, groups=groups)
    fan_in, _ = torch.nn.init._calculate_fan_in_and_fan_out(layer.weight)
    assert 1 / sqrt(fan_in) == wide_bound(name)
    assert_uniform(layer.weight.detach().numpy(), wide_bound(name))
    assert_uniform(layer.bias.detach().numpy(), wide_bound(name))


@both
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_start_in_other_dtypes(framework, dtype):
    params = wide_params(framework, "Conv1d", param_dtype=jnp.dtype(dtype))
    assert set(params) == {"kernel", "bias"}
    bound = wide_bound("Conv1d")
    for value in params.values():
        assert value.dtype == jnp.dtype(dtype)
        wide = value.astype(np.float64)
        rounding = 1 + float(jnp.finfo(dtype).eps)
        assert bound * 0.98 < wide.max() <= bound * rounding
        assert -bound * rounding <= wide.min() < -bound * 0.98
        assert abs(wide.mean()) < 5 * bound / sqrt(3 * wide.size) + bound * (rounding - 1)


@both
@pytest.mark.parametrize("name", ["Conv2d", "ConvTranspose1d"])
def test_complex_start_draws_both_parts(framework, name):
    params = wide_params(framework, name, param_dtype=jnp.complex64)
    assert set(params) == {"kernel", "bias"}
    for value in params.values():
        assert value.dtype == np.complex64
        assert_uniform(value.real, wide_bound(name))
        assert_uniform(value.imag, wide_bound(name))
        parts = np.corrcoef(value.real.ravel(), value.imag.ravel())
        assert abs(parts[0, 1]) < 5 / sqrt(value.size)


@needs_torch
@pytest.mark.filterwarnings("ignore:Complex modules are a new feature")
def test_torch_draws_both_parts_too():
    import torch

    ci, co, k, groups = WIDE[2]
    torch.manual_seed(0)
    weight = torch.nn.Conv2d(ci, co, k, groups=groups, dtype=torch.complex64).weight.detach()
    assert_uniform(weight.real.numpy(), wide_bound("Conv2d"))
    assert_uniform(weight.imag.numpy(), wide_bound("Conv2d"))


@both
def test_keys_decide_the_start(framework):
    first, same, other = (wide_params(framework, "Conv1d", seed=seed) for seed in (1, 1, 2))
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(first[name], same[name])
        assert np.mean(first[name] == other[name]) < 0.01
    assert np.mean(first["kernel"].ravel()[: first["bias"].size] == first["bias"]) < 0.01


def test_nnx_draws_from_the_params_stream():
    def kernel(rngs):
        return np.asarray(jnn.Conv2d(4, 6, 3, rngs=rngs).kernel[...])

    same = kernel(nnx.Rngs(params=3, dropout=1))
    np.testing.assert_array_equal(kernel(nnx.Rngs(params=3)), same)
    rngs = nnx.Rngs(0)
    assert not np.array_equal(kernel(rngs), kernel(rngs))  # one stream, two layers


@both
@every
def test_given_initialisers_are_used(framework, name):
    spec = RICH[name]
    constant = nn.initializers.constant
    kw = said(spec, kernel_init=constant(2.0), bias_init=constant(3.0))
    params = framework.start(name, ones(spec), **kw)
    assert set(np.unique(params["kernel"])) == {2.0}
    assert set(np.unique(params["bias"])) == {3.0}


# --- dtypes, precision, implementation ------------------------------------------------------------


@both
@every
@pytest.mark.parametrize("half", ["bfloat16", "float16"])
def test_compute_dtype(rng, framework, name, half):
    """Parameters stay float32; the sum runs in float32 and is rounded once, to the dtype asked."""
    spec = RICH[name]
    x, params, y = data(rng, spec)
    layer = build(framework, spec, dtype=jnp.dtype(half))
    assert_same(framework.run(layer, params, x), y.astype(jnp.dtype(half)))
    held = framework.start(name, x, **said(spec, dtype=jnp.dtype(half), **QUICK))
    assert {v.dtype for v in held.values()} == {np.dtype("float32")}


@both
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("name", ["Conv2d", "ConvTranspose2d"])
def test_param_dtype(rng, framework, name, dtype):
    spec = RICH[name]
    dtype = jnp.dtype(dtype)
    x, params, y = data(rng, spec, "complex128" if dtype.kind == "c" else "float64")
    narrow = {k: v.astype(dtype) for k, v in params.items()}
    layer = build(framework, spec, param_dtype=dtype)
    assert_same(framework.run(layer, narrow, x.astype(dtype)), y.astype(dtype))
    held = framework.start(name, x.astype(dtype), **said(spec, param_dtype=dtype, **QUICK))
    assert {v.dtype for v in held.values()} == {dtype}


@both
def test_dtype_defaults_to_the_common_one(rng, framework):
    spec = RICH["Conv2d"]
    x, params, y = data(rng, spec)
    with jax.numpy_dtype_promotion("standard"):
        out = framework.run(build(framework, spec), params, x.astype(np.float64))
        assert_same(out, y.astype(np.float64))
        out = framework.run(build(framework, spec), params, x.astype(np.int32))
        assert_same(out, y)


@both
@every
def test_precision_arrives(rng, framework, name):
    spec = RICH[name]
    x, params, _ = data(rng, spec)

    def jaxpr(**kw):
        layer = build(framework, spec, **kw)
        if framework is Nnx:
            return str(jax.make_jaxpr(layer)(x))
        return str(jax.make_jaxpr(layer.apply)({"params": params}, x))

    assert "HIGHEST" in jaxpr(precision="highest")
    assert "HIGHEST" in jaxpr(precision=jax.lax.Precision.HIGHEST, implementation="xla")
    assert "HIGHEST" not in jaxpr()


@both
@every
def test_preferred_element_type_is_returned(rng, framework, name):
    spec = RICH[name]
    x, params, y = data(rng, spec)
    layer = build(framework, spec, dtype=jnp.bfloat16, preferred_element_type=jnp.float32)
    assert_same(framework.run(layer, params, x), y)
    layer = build(framework, spec, preferred_element_type=jnp.float64)
    assert_same(framework.run(layer, params, x), y.astype(np.float64))


@both
def test_implementation_by_name(rng, framework):
    spec = RICH["Conv2d"]
    x, params, y = data(rng, spec)
    assert_same(framework.run(build(framework, spec, implementation="xla"), params, x), y)


# --- gradients ------------------------------------------------------------------------------------

SMALL = {
    "Conv1d": "conv1d in=4 out=6 kernel=3 stride=2 padding=1 groups=2 batch=2 size=5",
    "ConvTranspose1d": "conv_transpose1d in=4 out=6 kernel=3 stride=2 padding=1 groups=2 batch=2 "
    "size=3",
    "Conv2d": "conv2d in=4 out=4 kernel=2x1 padding=1 groups=2 batch=1 size=2x3",
    "ConvTranspose2d": "conv_transpose2d in=4 out=4 kernel=2x1 stride=2 groups=2 batch=1 size=2x2",
}


def gradients_of_the_definition(spec, x, params, cotangent):
    """d sum(y * cotangent) / d parameter by linearity, one basis vector each; layers' layout."""
    out = {k: np.zeros_like(v) for k, v in params.items()}
    first = np.moveaxis(x, -1, 1)
    for name, value in params.items():
        for index in np.ndindex(value.shape):
            basis = {k: np.zeros_like(v) for k, v in params.items()}
            basis[name][index] = 1
            kernel = basis["kernel"]
            *spatial, second_last, last = range(kernel.ndim)
            weight = kernel.transpose(last, second_last, *spatial)
            y = np.moveaxis(reference.of_spec(spec, first, weight, basis["bias"]), 1, -1)
            out[name][index] = np.sum(y * cotangent)
    return out


@both
@pytest.mark.parametrize("name", SMALL)
def test_gradients_of_the_parameters(rng, framework, name):
    spec = jg.ConvSpec.parse(SMALL[name])
    x, params, y = data(rng, spec)
    cotangent = whole(rng, y.shape, "float32")
    layer = build(framework, spec)
    if framework is Nnx:
        framework.run(layer, params, x)
        grads = nnx.jit(nnx.grad(lambda layer: jnp.sum(layer(x) * cotangent)))(layer)
        grads = nnx.to_pure_dict(grads)
    else:
        loss = jax.grad(lambda p: jnp.sum(layer.apply({"params": p}, x) * cotangent))
        grads = jax.jit(loss)(params)
    assert set(grads) == {"kernel", "bias"}
    for parameter, expected in gradients_of_the_definition(spec, x, params, cotangent).items():
        assert_same(grads[parameter], expected)


@every
def test_nnx_gradient_descent(rng, name):
    """Plain steps along nnx.grad approach the layer that made the data."""
    spec = RICH[name]
    x, params, _ = data(rng, spec)
    x = jnp.asarray(x) / 9
    y = Nnx.run(build(Nnx, spec), params, x)
    layer = build(Nnx, spec)

    @nnx.jit
    def step(layer):
        loss, grads = nnx.value_and_grad(lambda m: jnp.mean((m(x) - y) ** 2))(layer)
        state = nnx.state(layer, nnx.Param)
        nnx.update(layer, jax.tree.map(lambda p, g: p - jnp.float32(0.1) * g, state, grads))
        return loss

    losses = [float(step(layer)) for _ in range(20)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.8 * losses[0]


# --- life in Flax ---------------------------------------------------------------------------------


@pytest.mark.parametrize("axis_type", ["Auto", "Explicit"])
@every
def test_nnx_sharding_metadata(name, axis_type):
    spec = RICH[name]
    axes = (*(None,) * (spec.rank + 1), "model")
    mesh = jax.make_mesh((1,), ("model",), (getattr(jax.sharding.AxisType, axis_type),))
    with jax.set_mesh(mesh):
        layer = build(
            Nnx,
            spec,
            kernel_metadata={"out_sharding": axes, "note": "mine"},
            bias_metadata={"out_sharding": ("model",)},
        )
        specs = nnx.to_pure_dict(nnx.get_partition_spec(nnx.state(layer)))
        assert layer(jnp.asarray(ones(spec))).shape[-1] == spec.out_channels
    P = jax.sharding.PartitionSpec
    assert specs == {"kernel": P(*axes), "bias": P("model")}
    assert layer.kernel[...].sharding.spec == P(*axes)
    assert layer.bias[...].sharding.spec == P("model")
    assert layer.kernel.get_metadata()["note"] == "mine"
    assert "note" not in layer.bias.get_metadata()


@every
def test_linen_partitioning_metadata(rng, name):
    spec = RICH[name]
    axes = (*(None,) * (spec.rank + 1), "model")
    init = nn.with_partitioning(zeros, axes)
    layer = build(Linen, spec, kernel_init=init)
    x, params, y = data(rng, spec)
    variables = layer.init(jax.random.key(0), x)
    boxed = variables["params"]["kernel"]
    assert isinstance(boxed, nn.Partitioned)
    assert boxed.names == axes
    assert nn.get_partition_spec(variables)["params"]["kernel"] == jax.sharding.PartitionSpec(*axes)
    boxed = boxed.replace_boxed(jnp.asarray(params["kernel"]))
    assert_same(layer.apply({"params": {"kernel": boxed, "bias": params["bias"]}}, x), y)


@every
def test_nnx_split_merge_clone_and_copy(rng, name):
    spec = RICH[name]
    x, params, y = data(rng, spec)
    layer = build(Nnx, spec)
    Nnx.run(layer, params, x)
    graph, state = nnx.split(layer)
    assert graph == nnx.split(build(Nnx, spec))[0]
    assert hash(graph) == hash(nnx.split(build(Nnx, spec))[0])
    for other in (nnx.merge(graph, state), nnx.clone(layer), copy.deepcopy(layer)):
        assert_same(other(x), y)
        assert repr(other) == repr(layer)
    for other in (nnx.clone(layer), copy.deepcopy(layer)):
        other.kernel[...] = other.kernel[...] * 0
        assert_same(layer(x), y)  # the copy has its own memory
    doubled = nnx.merge(graph, jax.tree.map(lambda v: 2 * v, state))
    assert_same(doubled(x), 2 * y)


def test_nnx_layer_without_memory():
    layer = nnx.eval_shape(lambda: jnn.Conv2d(4, 8, 3, groups=2, rngs=nnx.Rngs(0)))
    assert isinstance(layer.kernel.get_value(), jax.ShapeDtypeStruct)
    assert layer.kernel.shape == (3, 3, 2, 8)


def test_nnx_layers_stacked_by_vmap(rng):
    x = whole(rng, (2, 5, 6, 4), "float32")

    @nnx.split_rngs(splits=3)
    @nnx.vmap
    def stack(rngs):
        return jnn.Conv2d(4, 6, 3, groups=2, rngs=rngs)

    layers = stack(nnx.Rngs(0))
    assert layers.kernel.shape == (3, 3, 3, 2, 6)
    kernels = whole(rng, layers.kernel.shape, "float32")
    biases = whole(rng, layers.bias.shape, "float32")
    layers.kernel[...], layers.bias[...] = jnp.asarray(kernels), jnp.asarray(biases)
    y = nnx.vmap(lambda layer, x: layer(x), in_axes=(0, None))(layers, x)
    spec = jg.ConvSpec.parse("conv2d in=4 out=6 kernel=3 groups=2 batch=2 size=5x6")
    for out, kernel, bias in zip(np.asarray(y), kernels, biases, strict=True):
        weight = kernel.transpose(3, 2, 0, 1)
        expected = reference.of_spec(spec, x.transpose(0, 3, 1, 2), weight, bias)
        assert_same(out, expected.transpose(0, 2, 3, 1))


def test_nnx_in_sequential(rng):
    """Two layers in a row are the definition twice."""
    first = RICH["Conv2d"]
    x, params, y = data(rng, first)
    hidden = np.maximum(y, 0)
    second = jg.ConvSpec.parse("conv_transpose2d in=6 out=4 kernel=2 groups=2")
    second = second.with_input((len(hidden), 6, *hidden.shape[1:-1]))
    _, w, b = arrays(rng, second, "float32")
    expected = reference.of_spec(second, hidden.transpose(0, 3, 1, 2), w, b).transpose(0, 2, 3, 1)

    net = nnx.Sequential(build(Nnx, first), nnx.relu, build(Nnx, second))
    Nnx.run(net.layers[0], params, x)
    Nnx.run(net.layers[2], {"kernel": weight_to_last(w), "bias": b}, hidden)
    assert_same(net(x), expected)


class Compact(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(jln.Conv2d(8, 3, padding="same", groups=2)(x))
        return jln.ConvTranspose2d(4, 2, 2, groups=4, name="up")(x)


class Setup(nn.Module):
    def setup(self):
        self.conv = jln.Conv2d(8, 3, padding="same", groups=2)
        self.up = jln.ConvTranspose2d(4, 2, 2, groups=4)

    def __call__(self, x):
        return self.up(nn.relu(self.conv(x)))


@pytest.mark.parametrize(("module", "name"), [(Compact, "Conv2d_0"), (Setup, "conv")])
def test_linen_in_compact_and_setup(rng, module, name):
    first = jg.ConvSpec.parse("conv2d in=4 out=8 kernel=3 padding=1 groups=2 batch=2 size=5x6")
    second = jg.ConvSpec.parse(
        "conv_transpose2d in=8 out=4 kernel=2 stride=2 groups=4 batch=2 size=5x6"
    )
    x, conv, y = data(rng, first)
    _, w, b = arrays(rng, second, "float32")
    hidden = np.maximum(y, 0).transpose(0, 3, 1, 2)
    expected = reference.of_spec(second, hidden, w, b).transpose(0, 2, 3, 1)

    drawn = module().init(jax.random.key(0), x)["params"]
    params = {name: conv, "up": {"kernel": weight_to_last(w), "bias": b}}
    assert jax.tree.map(np.shape, drawn) == jax.tree.map(np.shape, params)
    assert_same(module().apply({"params": params}, x), expected)


def test_linen_tabulate():
    x = np.ones((1, 5, 6, 4), np.float32)
    plain = {"width": 200, "force_terminal": False, "no_color": True}
    table = Compact().tabulate(jax.random.key(0), x, console_kwargs=plain)
    parameters = 3 * 3 * 2 * 8 + 8 + 2 * 2 * 1 * 8 + 4
    shapes = ("float32[3,3,2,8]", "float32[2,2,1,8]", "float32[1,10,12,4]")
    for text in ("Conv2d_0", *shapes, str(parameters)):
        assert text in table, table


def test_linen_bound_and_cloned(rng):
    spec = RICH["Conv2d"]
    x, params, y = data(rng, spec)
    layer = build(Linen, spec)
    assert_same(layer.bind({"params": params})(x), y)
    assert layer.clone() == layer
    wide = layer.clone(dtype=jnp.float64)
    assert_same(wide.apply({"params": params}, x), y.astype(np.float64))


# --- text -----------------------------------------------------------------------------------------

# torch.nn's class, arguments, settings, and what torch 2.13 prints
TEXTS = [
    ("Conv2d", (4, 8, 1), {}, "Conv2d(4, 8, kernel_size=(1, 1), stride=(1, 1))"),
    (
        "Conv2d",
        (4, 8, 1, 1),
        {"groups": 2, "bias": False},
        "Conv2d(4, 8, kernel_size=(1, 1), stride=(1, 1), groups=2, bias=False)",
    ),
    (
        "Conv2d",
        (4, 8, (3, 5), 2, (1, 2), 3),
        {"padding_mode": "reflect"},
        "Conv2d(4, 8, kernel_size=(3, 5), stride=(2, 2), padding=(1, 2), dilation=(3, 3), "
        "padding_mode=reflect)",
    ),
    (
        "Conv2d",
        (4, 8, 4),
        {"padding": "same"},
        "Conv2d(4, 8, kernel_size=(4, 4), stride=(1, 1), padding=same)",
    ),
    (
        "Conv1d",
        (4, 8, 3),
        {"padding": "valid"},
        "Conv1d(4, 8, kernel_size=(3,), stride=(1,), padding=valid)",
    ),
    (
        "Conv1d",
        (6, 6, 3),
        {"padding": 1, "groups": 6},
        "Conv1d(6, 6, kernel_size=(3,), stride=(1,), padding=(1,), groups=6)",
    ),
    (
        "Conv3d",
        (4, 8, 2),
        {"stride": (1, 2, 3), "bias": False},
        "Conv3d(4, 8, kernel_size=(2, 2, 2), stride=(1, 2, 3), bias=False)",
    ),
    (
        "ConvTranspose1d",
        (4, 8, 3, 2),
        {"output_padding": 1},
        "ConvTranspose1d(4, 8, kernel_size=(3,), stride=(2,), output_padding=(1,))",
    ),
    (
        "ConvTranspose2d",
        (4, 8, 3, 2, 1, 1, 2, False, 2),
        {},
        "ConvTranspose2d(4, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), "
        "dilation=(2, 2), output_padding=(1, 1), groups=2, bias=False)",
    ),
    (
        "ConvTranspose3d",
        (4, 8, 1),
        {},
        "ConvTranspose3d(4, 8, kernel_size=(1, 1, 1), stride=(1, 1, 1))",
    ),
]
texts = pytest.mark.parametrize(("name", "args", "kw", "text"), TEXTS)


@texts
def test_repr_is_torchs(name, args, kw, text):
    layer = Nnx.build(name, *args, **kw, **QUICK)
    assert repr(layer) == text
    assert str(layer) == text
    unknown = text.replace(f"({args[0]}, ", "(None, ", 1)
    assert repr(Linen.build(name, *args, **kw)) == unknown
    assert repr(Linen.build(name, *args, **kw, lazy=False)) == text


@needs_torch
@texts
def test_torch_prints_the_same(name, args, kw, text):
    import torch

    assert repr(getattr(torch.nn, name)(*args, **kw)) == text


@texts
def test_repr_inside_another_module(name, args, kw, text):
    class Net(nnx.Module):
        def __init__(self):
            self.conv = Nnx.build(name, *args, **kw, **QUICK)
            self.rest = nnx.Sequential(Nnx.build(name, *args, **kw, **QUICK))

    lines = [line.strip().rstrip(",") for line in repr(Net()).splitlines()]
    assert f"conv={text}" in lines
    assert text in lines  # in the Sequential's list

    class Outer(nn.Module):
        conv: nn.Module

    layer = Linen.build(name, *args, **kw)
    assert repr(layer) in repr(Outer(conv=layer))


@needs_torch
def test_linen_prints_torchs_lazy_layer():
    """Unknown channels are None here, 0 in torch."""
    import torch

    theirs = repr(torch.nn.LazyConv2d(8, 3, groups=1))
    assert theirs == "LazyConv2d(0, 8, kernel_size=(3, 3), stride=(1, 1))"
    assert f"Lazy{jln.Conv2d(8, 3)!r}" == theirs.replace("(0,", "(None,")
