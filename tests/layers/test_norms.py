"""Normalization and PReLU: torch's samples, running statistics, gradients, accuracy, errors."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support import opinfo, transformed
from support.helpers import to_first, to_last
from support.messages import error_test
from support.torch_bridge import to_numpy, to_torch, torch

import jaxgroups as jg
from jaxgroups import nnx as jnn

F = torch.nn.functional
SAMPLED = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "local_response_norm"]
SAMPLED += ["rms_norm", "prelu"]
EVERY = dict.fromkeys(SAMPLED, 1) | {"prelu": 4, "group_norm": 4, "local_response_norm": 3}
WIDE = {"param_dtype": jnp.float64}
PLACES = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", SAMPLED)
def test_samples(name, dtype):
    found = opinfo.samples(name, dtype, every=EVERY[name] * (1 if dtype == "float64" else 3))
    assert found
    for sample in found:
        if name == "batch_norm" and sample.input.ndim < 2:
            continue  # torch takes (0,), which has no axis of channels
        # of few values, the gradient is the rounding of a sum that is 0; layers are tested below
        gradients = name in ("prelu", "local_response_norm")
        opinfo.assert_equal_to_torch(
            getattr(jg, name), name, sample, dtype, gradients=gradients, eps=32
        )


@pytest.mark.parametrize("name", ["group_norm", "rms_norm"])
def test_what_torch_refuses_is_refused(name):
    for sample, _, _ in opinfo.refused(name):
        opinfo.assert_refused(getattr(jg, name), sample)


# --- layers against torch's -----------------------------------------------------------------------


def numbers(rng, shape, mean=0.0):
    return rng.normal(size=shape) * 3 + mean


def channels_last(x, batch, rank):
    """Torch's (N, C, *spatial) as (*batch, *spatial, C), whose batch has N elements."""
    last = to_last(x, rank)
    return last.reshape(*batch, *last.shape[1:])


def first(array, rank):
    """(*batch, *spatial, C) -> (*batch, C, *spatial), of traced arrays too."""
    return jnp.moveaxis(array, -1, -rank - 1)


def settle(rng, theirs, ours):
    """The same random parameters in both."""
    for leaf, name in PLACES.items():
        tensor = getattr(theirs, name, None)
        if tensor is not None:
            value = rng.uniform(0.5, 2.0, tuple(tensor.shape))
            tensor.data.copy_(torch.from_numpy(value))
            getattr(ours, leaf)[...] = jnp.asarray(value)


def assert_gradients_are_torchs(rng, theirs, ours, x, last, back):
    """Output, and gradients of the input and of every parameter. `back` undoes the layout."""
    tensor = to_torch(x).requires_grad_()
    expected = theirs(tensor)
    weights = rng.normal(size=tuple(expected.shape))
    expected.backward(torch.from_numpy(weights))
    graph, params, rest = nnx.split(ours, nnx.Param, ...)

    def call(params, x, rest):
        model = nnx.merge(graph, params, rest)
        return back(model(x)), nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    @jax.jit
    def run(params, x, rest, cotangent):
        out, pullback, stats = jax.vjp(call, params, x, rest, has_aux=True)
        return out, pullback(cotangent)[:2], stats

    out, (grads, dx), stats = run(params, jnp.asarray(last), rest, jnp.asarray(weights))
    np.testing.assert_allclose(out, to_numpy(expected), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(back(dx), to_numpy(tensor.grad), rtol=1e-9, atol=1e-11)
    held = nnx.to_pure_dict(grads)
    for name, tensor in theirs.named_parameters():
        leaf = {"weight": "scale", "bias": "bias"}[name]
        np.testing.assert_allclose(held.pop(leaf), to_numpy(tensor.grad), rtol=1e-9, atol=1e-11)
        tensor.grad = None
    assert held == {}
    for leaf, value in stats.items():
        getattr(ours, leaf)[...] = value


def assert_statistics_are_torchs(theirs, ours):
    for leaf in ("mean", "var"):
        expected = getattr(theirs, PLACES[leaf])
        if expected is None:
            assert getattr(ours, leaf) is None
        else:
            np.testing.assert_allclose(
                getattr(ours, leaf)[...], to_numpy(expected), rtol=1e-12, atol=1e-14
            )
    if theirs.num_batches_tracked is not None:
        assert int(ours.num_batches_tracked[...]) == int(theirs.num_batches_tracked)


SETTINGS = [
    {},
    {"momentum": None, "affine": False},
    {"bias": False, "affine": True, "eps": 0.1},
    {"affine": True, "track_running_stats": True, "momentum": 0.2},
    {"track_running_stats": False},
    {"momentum": None, "affine": True, "track_running_stats": True},
]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("kind", ["BatchNorm", "InstanceNorm"])
def test_three_steps_of_training_then_evaluation(rng, kind, setting):
    """Outputs, gradients and running statistics of each step, with two batch axes."""
    rank = 1 + SETTINGS.index(setting) % 3
    name, batch = f"{kind}{rank}d", (2, 3)
    theirs = getattr(torch.nn, name)(4, dtype=torch.float64, **setting)
    ours = getattr(jnn, name)(4, **setting, **WIDE)
    settle(rng, theirs, ours)

    def back(y):
        return first(y.reshape(-1, *y.shape[len(batch) :]), rank)

    for step in range(4):
        x = numbers(rng, (6, 4, 5, 3, 2)[: rank + 2], mean=step)
        last = channels_last(x, batch, rank)
        if step == 2:
            theirs.eval()
            ours.eval()
            assert ours.use_running_average
        assert_gradients_are_torchs(rng, theirs, ours, x, last, back)
        assert_statistics_are_torchs(theirs, ours)


def test_batch_norm_of_vectors(rng):
    """BatchNorm1d takes (N, C) as well."""
    x = numbers(rng, (7, 4))
    theirs, ours = torch.nn.BatchNorm1d(4, dtype=torch.float64), jnn.BatchNorm1d(4, **WIDE)
    settle(rng, theirs, ours)
    assert_gradients_are_torchs(rng, theirs, ours, x, x, lambda y: y)
    assert_statistics_are_torchs(theirs, ours)


def test_an_instance_without_batch(rng):
    x = numbers(rng, (4, 5, 3))
    setting = {"affine": True, "track_running_stats": True}
    theirs = torch.nn.InstanceNorm2d(4, dtype=torch.float64, **setting)
    ours = jnn.InstanceNorm2d(4, **setting, **WIDE)
    settle(rng, theirs, ours)
    assert_gradients_are_torchs(rng, theirs, ours, x, to_last(x, 2), partial(first, rank=2))
    assert_statistics_are_torchs(theirs, ours)


def test_training_under_jit_and_view(rng):
    """The statistics change inside a compiled step; a view has its own mode."""
    x = numbers(rng, (6, 5, 3, 4))
    ours, theirs = jnn.BatchNorm2d(4, **WIDE), torch.nn.BatchNorm2d(4, dtype=torch.float64)
    step = nnx.jit(lambda layer, x: layer(x))
    for _ in range(2):
        step(ours, x)
        theirs(to_torch(to_first(x, 2)))
    assert_statistics_are_torchs(theirs, ours)
    view = nnx.view(ours, use_running_average=True)
    expected = to_numpy(theirs.eval()(to_torch(to_first(x, 2))))
    for y in (view(x), ours(x, use_running_average=True)):
        np.testing.assert_allclose(to_first(y, 2), expected, rtol=1e-10, atol=1e-12)
    assert not ours.use_running_average
    assert_statistics_are_torchs(theirs, ours)


PLAIN = [
    ("GroupNorm", (1, 4), {}),
    ("GroupNorm", (2, 4), {"eps": 0.3, "affine": False}),
    ("GroupNorm", (4, 4), {"bias": False}),
    ("LayerNorm", (4,), {"eps": 0.2}),
    ("LayerNorm", ((5, 4),), {}),
    ("LayerNorm", ((5, 4),), {"bias": False}),
    ("LayerNorm", ((3, 5, 4),), {"elementwise_affine": False}),
    ("RMSNorm", (4,), {}),
    ("RMSNorm", ((5, 4),), {"eps": 0.1}),
    ("RMSNorm", ((3, 5, 4),), {"elementwise_affine": False}),
    ("LocalResponseNorm", (3,), {"alpha": 0.5, "beta": 0.6, "k": 2.0}),
    ("LocalResponseNorm", (2,), {"alpha": 0.5}),
    ("LocalResponseNorm", (9,), {"alpha": 0.5}),
]


@pytest.mark.parametrize(("name", "arguments", "setting"), PLAIN, ids=str)
def test_layers_without_statistics(rng, name, arguments, setting):
    """With two batch axes; where torch has the channels first, the layout is changed for it."""
    x = numbers(rng, (2, 3, 5, 4))
    kw = {} if name == "LocalResponseNorm" else WIDE
    ours = getattr(jnn, name)(*arguments, **setting, **kw)
    theirs = getattr(torch.nn, name)(*arguments, **setting).double()
    settle(rng, theirs, ours)
    if name in ("LayerNorm", "RMSNorm"):
        assert_gradients_are_torchs(rng, theirs, ours, x, x, lambda y: y)
        return
    assert_gradients_are_torchs(rng, theirs, ours, to_first(x, 2), x, partial(first, rank=2))
    if name == "GroupNorm":
        more = type(ours)(*arguments, **setting, batch_axes=2, **WIDE)
        nnx.update(more, nnx.state(ours))
        expected = theirs(to_torch(to_first(x.reshape(6, 5, 4), 1)))
        got = to_first(more(x).reshape(6, 5, 4), 1)
        np.testing.assert_allclose(got, to_numpy(expected), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("parameters", [1, 4])
def test_prelu(rng, parameters):
    """The derivative at 0 is the slope; infinities do not reach the gradient of the slope."""
    x = rng.integers(-2, 3, (2, 4, 5)).astype("float64")
    x[0, :, 0], x[1, :, 0] = 0.0, np.inf
    assert (x == 0).any()
    theirs = torch.nn.PReLU(parameters, dtype=torch.float64)
    ours = jnn.PReLU(parameters, **WIDE)
    assert float(ours.negative_slope[...][0]) == 0.25
    slopes = rng.uniform(0.1, 0.9, parameters)
    theirs.weight.data.copy_(to_torch(slopes))
    tensor = to_torch(x).requires_grad_()
    expected = theirs(tensor)
    weights = rng.integers(1, 9, x.shape).astype("float64")
    expected.backward(to_torch(weights))

    graph, _ = nnx.split(ours)

    def call(slope, x):
        return nnx.merge(graph, nnx.State({"negative_slope": nnx.Param(slope)}))(x)

    got, pullback = jax.vjp(call, jnp.asarray(slopes), to_last(x, 1))
    np.testing.assert_allclose(to_first(got, 1), to_numpy(expected), rtol=1e-15)
    dslope, dx = pullback(to_last(weights, 1))
    np.testing.assert_allclose(to_first(dx, 1), to_numpy(tensor.grad), rtol=1e-15)
    np.testing.assert_allclose(dslope, to_numpy(theirs.weight.grad), rtol=1e-13)


# --- functions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["batch_norm", "instance_norm"])
def test_functions_return_the_new_statistics(rng, name):
    x = numbers(rng, (6, 4, 5, 3))
    mean, var = numbers(rng, 4), rng.uniform(1, 2, 4)
    mean_torch, var_torch = to_torch(mean), to_torch(var)
    expected = getattr(F, name)(
        to_torch(x), mean_torch, var_torch, None, None, True, momentum=0.3, eps=0.1
    )
    for layout, given in (("channels_first", x), ("channels_last", to_last(x, 2))):
        y, *new = getattr(jg, name)(
            given,
            mean,
            var,
            None,
            None,
            True,
            momentum=0.3,
            eps=0.1,
            data_format=layout,
            return_statistics=True,
        )
        y = to_first(y, 2) if layout == "channels_last" else y
        np.testing.assert_allclose(y, to_numpy(expected), rtol=1e-10)
        np.testing.assert_allclose(new[0], to_numpy(mean_torch), rtol=1e-12)
        np.testing.assert_allclose(new[1], to_numpy(var_torch), rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("group_norm", (2,)), ("local_response_norm", (3, 0.5)), ("prelu", (np.arange(4.0),))],
)
def test_functions_in_both_layouts(rng, name, arguments):
    x = numbers(rng, (3, 4, 5, 4))
    tensors = [to_torch(a) if isinstance(a, np.ndarray) else a for a in arguments]
    expected = to_numpy(getattr(F, name)(to_torch(x), *tensors))
    np.testing.assert_allclose(getattr(jg, name)(x, *arguments), expected, rtol=1e-10)
    last = getattr(jg, name)(to_last(x, 2), *arguments, data_format="channels_last")
    np.testing.assert_allclose(to_first(last, 2), expected, rtol=1e-10)


def test_local_response_norm_of_integers(rng):
    x = rng.integers(-9, 10, (2, 7, 4))
    expected = to_numpy(F.local_response_norm(to_torch(x), 3, 0.7))
    got = jg.local_response_norm(x, 3, 0.7)
    assert got.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize("kind", transformed.KINDS)
@pytest.mark.parametrize("name", ["batch_norm", "group_norm", "layer_norm", "rms_norm"])
def test_transformations(rng, name, kind):
    x = jnp.asarray(numbers(rng, (2, 4, 3)))
    first = {"batch_norm": (None, None), "group_norm": (2,)}.get(name, ((3,),))
    weight = np.linspace(0.5, 2, 4 if name in ("batch_norm", "group_norm") else 3)
    kw = {"training": True} if name == "batch_norm" else {}

    def ours(x):
        return getattr(jg, name)(x, *first, jnp.asarray(weight), **kw)

    def theirs(x):
        return getattr(F, name)(x, *first, to_torch(weight), **kw)

    transformed.assert_transforms(rng, kind, ours, theirs, x, power=3, rtol=1e-9)


# --- accuracy -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mean", [0.0, 1e3, -1e5])
def test_a_large_mean_costs_no_digits_of_the_variance(rng, mean):
    """float32 against float64 on the same numbers, as close as torch is or closer."""
    x = (numbers(rng, (8, 20, 20, 3)) + mean).astype("float32")
    exact = x.astype("float64")
    layer = jnn.BatchNorm2d(3, momentum=1.0)
    y = layer(x)
    theirs = torch.nn.BatchNorm2d(3, momentum=1.0)
    expected = to_last(to_numpy(theirs(to_torch(to_first(x, 2)))), 2)
    centre, deviation = exact.mean((0, 1, 2)), exact.std((0, 1, 2))
    true = (exact - centre) / np.sqrt(deviation**2 + 1e-5)
    rounding = abs(mean) * np.finfo("float32").eps / deviation.min()
    assert np.abs(np.asarray(y, "float64") - true).max() <= 2 * rounding + 2e-6
    assert np.abs(np.asarray(expected, "float64") - true).max() <= 8 * rounding + 1e-5
    n = exact[..., 0].size
    np.testing.assert_allclose(layer.var[...], deviation**2 * n / (n - 1), rtol=2e-6)
    np.testing.assert_allclose(layer.mean[...], centre, rtol=2e-7, atol=2e-6)


OVER_ROWS = ("reduce_sum", "jaxgroups_channel_moments", "jaxgroups_channel_sums")


def reductions(jaxpr):
    """How often a program passes over whole feature maps for sums."""
    found = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in OVER_ROWS and eqn.invars[0].aval.size > 100:
            found += 1
        for inner in eqn.params.values():
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                found += reductions(inner)
    return found


@pytest.mark.parametrize(("data_format", "passes"), [("channels_last", 1), ("channels_first", 2)])
def test_how_often_batch_norm_reads_its_input_for_sums(data_format, passes):
    """Sums of the gradient, and of the gradient times the normalized input; the values need two."""
    x, weight, bias = jnp.ones((4, 3, 5, 3)), jnp.ones(3), jnp.ones(3)

    def run(x, weight, bias):
        return jg.batch_norm(x, None, None, weight, bias, True, data_format=data_format)

    assert reductions(jax.make_jaxpr(run)(x, weight, bias).jaxpr) == passes
    _, pullback = jax.vjp(run, x, weight, bias)
    assert reductions(jax.make_jaxpr(pullback)(x).jaxpr) == passes


@pytest.mark.parametrize("special", [np.nan, np.inf])
def test_nan_and_infinities_stay_in_their_channel(rng, special):
    x = numbers(rng, (3, 2, 4, 5))
    x[0, 0, 0, 0] = special
    theirs, ours = torch.nn.BatchNorm2d(2, dtype=torch.float64), jnn.BatchNorm2d(2, **WIDE)
    expected = to_numpy(theirs(to_torch(x)))
    np.testing.assert_allclose(to_first(ours(to_last(x, 2)), 2), expected, rtol=1e-10)
    assert np.isnan(expected[:, 0]).all()
    assert np.isfinite(expected[:, 1]).all()
    assert_statistics_are_torchs(theirs, ours)


def test_half_precision_statistics_stay_in_the_dtype_of_the_parameters(rng):
    x = jnp.asarray(numbers(rng, (3, 4, 5, 2)), jnp.bfloat16)
    layer = jnn.BatchNorm2d(2)
    assert layer(x).dtype == jnp.bfloat16
    assert layer.mean[...].dtype == jnp.float32
    assert jnn.BatchNorm2d(2, dtype=jnp.float32)(x).dtype == jnp.float32


# --- errors and representations -------------------------------------------------------------------

X = np.ones((2, 6, 4), "float32")
ERRORS = [
    (
        lambda: jg.batch_norm(X[:1, :, :1], None, None, training=True),
        ValueError,
        "Expected more than 1 value per channel when training, got input size [1, 6, 1]: "
        "batch_norm() normalizes a single value to 0",
    ),
    (
        lambda: jnn.BatchNorm2d(6)(np.ones((1, 1, 1, 6), "float32")),
        ValueError,
        "Expected more than 1 value per channel when training, got input size [1, 6, 1, 1]: "
        "batch_norm() normalizes a single value to 0",
    ),
    (
        lambda: jg.batch_norm(X, None, None, training=True, eps=0.0),
        ValueError,
        "batch_norm eps must be positive during training, but got 0.0: batch_norm()",
    ),
    (
        lambda: jg.batch_norm(X, X[0, :, 0], X[0, :, 0], eps=-1.0),
        ValueError,
        "batch_norm eps must be non-negative, but got -1.0: batch_norm()",
    ),
    (
        lambda: jg.batch_norm(X, None, None),
        ValueError,
        "running_mean must be defined in evaluation mode: batch_norm() got running_mean=None",
    ),
    (
        lambda: jg.batch_norm(X, X[0, :, 0], None),
        ValueError,
        "running_mean and running_var must either both be None or neither be None: batch_norm() "
        "got running_var=None",
    ),
    (
        lambda: jg.batch_norm(X, X[0, :5, 0], X[0, :, 0]),
        ValueError,
        "running_mean should contain 6 elements not 5: batch_norm() got an input of 6 channels and "
        "running_mean of shape (5,)",
    ),
    (
        lambda: jg.batch_norm(X.astype("int32"), None, None, training=True),
        TypeError,
        '"batch_norm" not implemented for int32',
    ),
    (
        lambda: jg.batch_norm(X[0, 0], None, None, training=True),
        ValueError,
        "Expected at least 2 dimensions for input tensor but received 1: batch_norm() got an input "
        "of shape (4,)",
    ),
    (
        lambda: jnn.BatchNorm2d(4)(X),
        ValueError,
        "expected 4D input (got 3D input): BatchNorm2d needs channels-last input with a batch "
        "axis, got shape (2, 6, 4)",
    ),
    (
        lambda: jnn.BatchNorm1d(4)(X[0, 0]),
        ValueError,
        "expected 2D or 3D input (got 1D input): BatchNorm1d needs channels-last input with a "
        "batch axis, got shape (4,)",
    ),
    (
        lambda: jnn.BatchNorm1d(6)(X),
        ValueError,
        "running_mean should contain 4 elements not 6: BatchNorm1d with num_features=6 got "
        "channels-last input of shape (2, 6, 4)",
    ),
    (
        lambda: jg.instance_norm(X, use_input_stats=False),
        ValueError,
        "Expected running_mean and running_var to be defined when use_input_stats is false: "
        "instance_norm() got running_mean=None",
    ),
    (
        lambda: jg.instance_norm(X[:, :, :1]),
        ValueError,
        "Expected more than 1 spatial element when training, got input size [2, 6, 1]: "
        "instance_norm() normalizes a single value to 0",
    ),
    (
        lambda: jnn.InstanceNorm1d(6, affine=True)(X),
        ValueError,
        "expected input's size at dim=-1 to match num_features (6), but got: 4: InstanceNorm1d got "
        "channels-last input of shape (2, 6, 4)",
    ),
    (
        lambda: jnn.InstanceNorm2d(6)(X[0]),
        ValueError,
        "InstanceNorm2d: expected 3D or 4D input, got [6, 4] with data_format='channels_last'",
    ),
    (
        lambda: jg.group_norm(X, 4),
        ValueError,
        "Expected number of channels in input to be divisible by num_groups, but got input of "
        "shape [2, 6, 4] and num_groups=4: group_norm()",
    ),
    (
        lambda: jg.group_norm(X[:1, :, 0], 6),
        ValueError,
        "Expected more than 1 value per channel when training, got input size [1, 6]: group_norm() "
        "normalizes a single value to 0",
    ),
    (
        lambda: jg.group_norm(X, 3, X[0, :5, 0]),
        ValueError,
        "Expected weight to be a vector of size equal to the number of channels in input, but got "
        "weight of shape [5]: group_norm() needs [6]",
    ),
    (
        lambda: jnn.GroupNorm(4, 6),
        ValueError,
        "num_channels (6) must be divisible by num_groups (4): GroupNorm makes groups of equal "
        "size",
    ),
    (
        lambda: jnn.GroupNorm(2, 6)(X),
        ValueError,
        "Expected weight to be a vector of size equal to the number of channels in input, but got "
        "weight of shape [6]: GroupNorm with num_channels=6 got channels-last input of shape "
        "(2, 6, 4)",
    ),
    (
        lambda: jnn.GroupNorm(2, 4, batch_axes=3)(X),
        ValueError,
        "Expected at least 4 dimensions for input tensor but received 3: GroupNorm with "
        "batch_axes=3 got shape (2, 6, 4)",
    ),
    (
        lambda: jg.layer_norm(X, (5,)),
        ValueError,
        "Given normalized_shape=[5], expected input with shape [*, 5], but got input of "
        "size[2, 6, 4]: layer_norm()",
    ),
    (
        lambda: jg.layer_norm(X, ()),
        ValueError,
        "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one "
        "element, but got normalized_shape = []: layer_norm()",
    ),
    (
        lambda: jg.layer_norm(X, (4,), None, X[0, 0, :3]),
        ValueError,
        "Expected bias to be of same shape as normalized_shape, but got bias of shape [3]: "
        "layer_norm() needs [4]",
    ),
    (
        lambda: jg.rms_norm(X.astype("int32"), 4),
        TypeError,
        '"rms_norm" not implemented for int32',
    ),
    (
        lambda: jnn.LayerNorm(4.5),
        TypeError,
        "LayerNorm(): argument 'normalized_shape' must be tuple of ints, not float: got "
        "normalized_shape=4.5, give one int or one int an axis",
    ),
    (
        lambda: jg.local_response_norm(X[0], 2),
        ValueError,
        "Expected 3D or higher dimensionality input, but got dimensions: 2: local_response_norm() "
        "got an input of shape (6, 4)",
    ),
    (
        lambda: jnn.LocalResponseNorm(0)(X),
        ValueError,
        "kernel size should be greater than zero, but got size=0: local_response_norm() takes the "
        "mean over size channels",
    ),
    (
        lambda: jnn.PReLU(6)(X),
        ValueError,
        "Mismatch of parameter numbers and input channel size. Found parameter numbers = 6 and "
        "channel size = 4: prelu() got an input of shape [2, 6, 4] with "
        "data_format='channels_last'",
    ),
    (
        lambda: jg.prelu(X, np.ones((6, 1))),
        ValueError,
        "prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = 2",
    ),
    (
        lambda: jg.prelu(X.astype("int32"), np.ones(1, "float32")),
        TypeError,
        "prelu: Type promoting not supported. Got int32 and float32",
    ),
]


test_errors = error_test(ERRORS)


def test_channels_that_do_not_matter_are_warned_of():
    with pytest.warns(UserWarning, match="input's size at dim=-1 does not match num_features"):
        jnn.InstanceNorm1d(6)(X)


def test_settings_are_shown():
    assert repr(jnn.BatchNorm2d(3, momentum=None)) == (
        "BatchNorm2d(num_features=3, eps=1e-05, momentum=None, affine=True, "
        "track_running_stats=True)"
    )
    assert repr(jnn.LayerNorm(3)) == (
        "LayerNorm(normalized_shape=(3,), eps=1e-05, elementwise_affine=True)"
    )
    for rank, kind in product((1, 2, 3), ("BatchNorm", "InstanceNorm")):
        text = getattr(jnn, f"{kind}{rank}d").__doc__
        assert f"``torch.nn.{kind}{rank}d``" in text
        assert "{" not in text
