"""Functions and models after `optimize`: their values by torch and by float64, and the report."""

import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from jax import lax
from support.helpers import to_last

import jaxgroups as jg
import jaxgroups.nnx as jnn
from jaxgroups import _native as native

MISSING = native.status().missing
NATIVE = pytest.mark.skipif(MISSING is not None, reason=f"NO KERNELS to call: {MISSING}")


def randomized(model, seed=0, dtype="float64"):
    """An nnx model in evaluation, with random parameters and statistics of a dtype."""
    rng = np.random.default_rng(seed)
    state = nnx.state(model, (nnx.Param, nnx.BatchStat))
    flat = dict(nnx.to_flat_state(state))
    for path, variable in flat.items():
        shape = variable.get_value().shape
        if not jnp.issubdtype(variable.get_value().dtype, jnp.floating):
            continue
        low, high = (0.5, 1.5) if path[-1] in ("var", "scale") else (-0.5, 0.5)
        variable.set_value(jnp.asarray(rng.uniform(low, high, shape), dtype))
    model.eval()
    return model


def inputs(shape=(2, 8, 9, 6), dtype="float64", seed=1):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def close(got, expected, dtype="float64", times=64):
    eps = float(jnp.finfo(dtype).eps)
    expected = np.asarray(expected)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, expected, rtol=0, atol=times * eps * abs(expected).max())


def convolution(inputs, outputs, kernel=3, groups=1, by="jaxgroups", **how):
    how = {"rngs": nnx.Rngs(0), "param_dtype": jnp.float64, **how}
    if by == "jaxgroups":
        return jnn.Conv2d(
            inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False, **how
        )
    return nnx.Conv(
        inputs, outputs, (kernel, kernel), feature_group_count=groups, use_bias=False, **how
    )


def norm(channels):
    return nnx.BatchNorm(channels, param_dtype=jnp.float64, rngs=nnx.Rngs(0))


class Block(nnx.Module):
    """The bodies of three kinds of networks; the attribute names are torch's."""

    def __init__(self, kind, by):
        groups = 12 if kind != "resnet" else 2
        self.kind = kind
        self.conv1, self.bn1 = convolution(6, 12, 1, by=by), norm(12)
        self.conv2, self.bn2 = convolution(12, 12, 3, groups, by), norm(12)
        self.conv3, self.bn3 = convolution(12, 6, 1, by=by), norm(6)
        if kind == "efficientnet":
            self.down = jnn.Conv2d(12, 3, 1, rngs=nnx.Rngs(0), param_dtype=jnp.float64)
            self.up = jnn.Conv2d(3, 12, 1, rngs=nnx.Rngs(0), param_dtype=jnp.float64)

    def __call__(self, x):
        act = {"resnet": jax.nn.relu, "mobilenet": jax.nn.relu6}.get(self.kind, jax.nn.silu)
        y = act(self.bn1(self.conv1(x)))
        y = act(self.bn2(self.conv2(y)))
        if self.kind == "efficientnet":
            gate = self.up(act(self.down(y.mean((1, 2), keepdims=True))))
            y = y * jax.nn.sigmoid(gate)
        y = self.bn3(self.conv3(y)) + x
        return act(y) if self.kind == "resnet" else y


def twin(model, kind):
    """torch's module with the weights of a block, in evaluation."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional

    class Twin(torch.nn.Module):
        def __init__(self):
            super().__init__()
            groups = 12 if kind != "resnet" else 2
            self.conv1 = torch.nn.Conv2d(6, 12, 1, bias=False)
            self.bn1 = torch.nn.BatchNorm2d(12)
            self.conv2 = torch.nn.Conv2d(12, 12, 3, padding=1, groups=groups, bias=False)
            self.bn2 = torch.nn.BatchNorm2d(12)
            self.conv3 = torch.nn.Conv2d(12, 6, 1, bias=False)
            self.bn3 = torch.nn.BatchNorm2d(6)
            if kind == "efficientnet":
                self.down = torch.nn.Conv2d(12, 3, 1)
                self.up = torch.nn.Conv2d(3, 12, 1)

        def forward(self, x):
            act = {"resnet": functional.relu, "mobilenet": functional.relu6}.get(
                kind, functional.silu
            )
            y = act(self.bn1(self.conv1(x)))
            y = act(self.bn2(self.conv2(y)))
            if kind == "efficientnet":
                y = y * self.up(act(self.down(y.mean((2, 3), keepdim=True)))).sigmoid()
            y = self.bn3(self.conv3(y)) + x
            return act(y) if kind == "resnet" else y

    module = Twin().double().eval()
    state = {}
    for path, variable in dict(nnx.to_flat_state(nnx.state(model))).items():
        *owner, name = map(str, path)
        array = np.asarray(variable.get_value())
        if name == "kernel":
            name, array = "weight", array.transpose(3, 2, 0, 1)
        name = {"scale": "weight", "mean": "running_mean", "var": "running_var"}.get(name, name)
        state[".".join([*owner, name])] = torch.from_numpy(array.copy())
    missing = module.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    assert all("num_batches" in key for key in missing.missing_keys)
    return module


FUSED = {
    "resnet": ["relu", "relu", "+ residual, relu"],
    "mobilenet": ["relu6", "relu6", "+ residual"],
    "efficientnet": ["silu", "silu", "silu", "sigmoid", "+ residual"],
}


@pytest.mark.parametrize("by", ["jaxgroups", "flax"])
@pytest.mark.parametrize("kind", FUSED)
def test_blocks_have_torch_values(kind, by):
    torch = pytest.importorskip("torch")
    model = randomized(Block(kind, by))
    x = inputs()
    optimized = jg.optimize(model, x)
    with torch.no_grad():
        exact = twin(model, kind)(torch.from_numpy(np.moveaxis(np.asarray(x), -1, 1).copy()))
    exact = to_last(exact.numpy(), 2)
    close(optimized(x), exact)
    found = optimized.report().convolutions
    assert [conv.fused for conv in found] == FUSED[kind]
    assert [conv.folded for conv in found].count(("scale", "shift")) == 3
    text = str(jax.make_jaxpr(optimized)(x))
    assert text.count("jaxgroups_conv_fused") == len(found)
    assert "rsqrt" not in text
    # in float32 the error is that of the model itself, within rounding of other sums
    single = randomized(Block(kind, by), dtype="float32")
    x32 = x.astype("float32")
    rewritten, plain = jg.optimize(single, x32)(x32), single(x32)
    assert rewritten.dtype == "float32"
    error, own = (abs(np.asarray(y, "float64") - exact).max() for y in (rewritten, plain))
    assert error <= 2 * own + 4 * float(jnp.finfo("float32").eps) * abs(exact).max()


@NATIVE
def test_the_program_calls_the_kernels_alone():
    model, x = randomized(Block("mobilenet", "flax"), dtype="float32"), inputs(dtype="float32")
    optimized = jg.optimize(model, x)
    text = jax.jit(optimized).lower(x).compile().as_text()
    assert text.count('custom_call_target="jaxgroups_fused"') == 3
    entry = text[text.index("ENTRY") :]
    assert not re.search(r" (fusion|add|multiply|maximum|convolution)\(", entry)
    report = optimized.report()
    assert all(conv.packed_bytes > 0 for conv in report.convolutions)
    assert report.as_dict()["convolutions"][1]["fused"] == "relu6"
    lines = str(report).splitlines()
    assert lines[0].startswith(
        "3 convolutions: 3 with folded constants, 3 with fused operations, 3 with packed weights ("
    )
    assert lines[3] == (
        "  convolution of f32[2,8,9,12] with f32[1,1,12,6]: scale and shift folded; + residual "
        "fused; weights packed once (a result of the program)"
    )


def test_without_kernels_it_is_operations_of_xla(without_kernels):
    model, x = randomized(Block("resnet", "jaxgroups")), inputs()
    expected = model(x)
    optimized = jg.optimize(model, x)
    assert [conv.packed_bytes for conv in optimized.report().convolutions] == [0, 0, 0]
    close(optimized(x), expected)


def conv(x, w, **how):
    return jg.conv2d(x, w, data_format="channels_last", **how)


W = inputs((3, 3, 3, 6), seed=2)
S, T = inputs((6,), seed=3), inputs((6,), seed=4)


def activated(f):
    return lambda x: f(conv(x, W, groups=2))


def after_sum(f):
    return lambda x: f(conv(x, W, groups=2, padding=1) + x)


ACTIVATED = {  # what is written, what is found
    "relu": (activated(jax.nn.relu), "relu"),
    "maximum": (activated(lambda y: jnp.maximum(y, 0.5)), "clip(0.5, inf)"),
    "clip": (activated(lambda y: jnp.clip(y, -1.0, 2.0)), "clip(-1, 2)"),
    "lax.clamp": (activated(lambda y: lax.clamp(-1.0, y, 2.0)), "clip(-1, 2)"),
    "hard_tanh-like": (activated(lambda y: jnp.maximum(jnp.minimum(y, 1.0), -1.0)), "hardtanh"),
    "silu": (activated(jax.nn.silu), "silu"),
    "silu by hand": (activated(lambda y: jax.nn.sigmoid(y) * y), "silu"),
    "sigmoid": (activated(jax.nn.sigmoid), "sigmoid"),
    "hard_sigmoid": (activated(jax.nn.hard_sigmoid), "hardsigmoid"),
    "hard_swish": (activated(jax.nn.hard_swish), "hardswish"),
    "hswish by hand": (activated(lambda y: y * jax.nn.relu6(y + 3) / 6), "hardswish"),
    "leaky_relu": (activated(lambda y: jax.nn.leaky_relu(y, 0.125)), "leaky(0.125)"),
    "residual before": (after_sum(jax.nn.relu), "+ residual, relu"),
    "residual after": (
        lambda x: x + jax.nn.silu(conv(x, W, groups=2, padding=1)),
        "silu, + residual",
    ),
    "given": (lambda x: conv(x, W, groups=2, activation="relu"), "relu"),
    "given, and a residual": (
        lambda x: x + conv(x, W, groups=2, padding=1, activation="relu"),
        "relu, + residual",
    ),
    # what looks alike
    "gelu": (activated(jax.nn.gelu), ""),
    "tanh": (activated(jnp.tanh), ""),
    "x + 2 for hardswish": (activated(lambda y: y * jax.nn.relu6(y + 2) / 6), ""),
    "relu7": (activated(lambda y: y * jnp.clip(y + 3, 0.0, 7.0) / 6), ""),
    "by 5": (activated(lambda y: jax.nn.relu6(y + 3) / 5), "relu6"),
    "6 divided": (activated(lambda y: 6 / (jax.nn.relu6(y + 3) + 1)), "relu6"),
    "leaky of less than 1": (activated(lambda y: jnp.where(y >= 1, y, 0.5 * y)), ""),
    "other branches": (activated(lambda y: jnp.where(y >= 0, 0.5 * y, y)), ""),
    "times another sigmoid": (activated(lambda y: y * jax.nn.sigmoid(y + 1)), ""),
    "bounds in disorder": (activated(lambda y: jnp.minimum(jnp.maximum(y, 2.0), 1.0)), None),
    "with itself": (activated(lambda y: y + y), ""),
    "an array": (activated(lambda y: jnp.maximum(y, S[None, None, None])), ""),
}


@pytest.mark.parametrize("name", ACTIVATED)
def test_activations(name):
    function, fused = ACTIVATED[name]
    x = inputs()
    optimized = jg.optimize(function, x)
    close(optimized(x), function(x))
    if fused is not None:
        assert [c.fused for c in optimized.report().convolutions] == [fused]


B = (None, None, None)
FOLDED = {  # what follows, what is folded
    "scale and shift": (lambda y, x: y * S[B] + T[B], ("scale", "shift")),
    "shift and scale": (lambda y, x: (y - T[B]) * S[B], ("scale", "shift")),
    "divided": (lambda y, x: y / S[B], ("scale",)),
    "a number": (lambda y, x: 3.0 * y - 1.0, ("scale", "shift")),
    "subtracted from": (lambda y, x: T[B] - y, ("scale", "shift")),
    "negated": (lambda y, x: -y, ("scale",)),
    "computed constants": (lambda y, x: y * lax.rsqrt(jnp.abs(S) + 1e-5)[B], ("scale",)),
    "broadcast": (lambda y, x: y * jnp.broadcast_to(S, y.shape), ("scale",)),
    "after a transposition": (
        lambda y, x: jnp.transpose(y, (0, 3, 1, 2)) * S[None, :, None, None],
        ("scale",),
    ),
    "after reshapes": (lambda y, x: y.reshape(2, 1, -1, 6) * S[B], ("scale",)),
    # not folded
    "of each position": (lambda y, x: y * jnp.arange(7.0)[None, None, :, None], ()),
    "of each image": (lambda y, x: y * jnp.arange(2.0)[:, None, None, None], ()),
    "of the input": (lambda y, x: y * x[:, :1, :1], ()),
    "a number over it": (lambda y, x: 1.0 / y, ()),
    "infinite": (lambda y, x: y * jnp.array([1, 2, 3, 4, 5, jnp.inf])[B], ()),
    "zero divisor": (lambda y, x: y / jnp.array([1.0, 2, 3, 4, 5, 0])[B], ()),
    "channels taken apart": (lambda y, x: y.reshape(2, -1, 3) * S[None, None, :3], ()),
    "after an activation": (lambda y, x: jax.nn.relu(y) * S[B], ()),
    "used twice": (lambda y, x: (y * S[B], y + 1.0), ()),
    "a sum, then a scale": (lambda y, x: (y + x[:, 1:-1, 1:-1]) * S[B], ()),
    "a sum, then a shift": (lambda y, x: (y + x[:, 1:-1, 1:-1]) + S[B], ("shift",)),
}


@pytest.mark.parametrize("name", FOLDED)
def test_constants_of_the_channels(name):
    follows, folded = FOLDED[name]
    x = inputs()
    function = lambda x: follows(conv(x, W, groups=2), x)  # noqa: E731
    optimized = jg.optimize(function, x)
    for got, expected in zip(
        jax.tree.leaves(optimized(x)), jax.tree.leaves(function(x)), strict=True
    ):
        assert got.shape == expected.shape
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(np.isfinite(got), finite)
        np.testing.assert_allclose(got[finite], expected[finite], rtol=1e-11, atol=1e-11)
    assert optimized.report().convolutions[0].folded == folded


LAYOUTS = {
    "lax, channels first": lambda x: lax.conv_general_dilated(
        jnp.moveaxis(x, -1, 1), jnp.transpose(W, (3, 2, 0, 1)), (1, 2), "SAME",
        feature_group_count=2,
    ) * S[None, :, None, None] + T[None, :, None, None],
    "transposed": lambda x: jg.conv_transpose2d(
        jnp.moveaxis(x, -1, 1), inputs((6, 3, 3, 2), seed=5), stride=2, groups=2
    ) * S[None, :, None, None],
    "one dimension": lambda x: jg.conv1d(
        x[:, 0], inputs((3, 3, 6), seed=5), T, groups=2, data_format="channels_last"
    ) * S[None, None],
    "three dimensions": lambda x: jg.conv3d(
        x[:, None], inputs((1, 3, 2, 1, 6), seed=5), T, groups=6, data_format="channels_last"
    ) * S[None, None, None, None],
    "bias before": lambda x: jax.nn.relu(conv(x, W, bias=T, groups=2) * S[B] + 1.0),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_and_rank(name):
    function, x = LAYOUTS[name], inputs()
    optimized = jg.optimize(function, x)
    close(optimized(x), function(x))
    assert "scale" in optimized.report().convolutions[0].folded


def test_two_convolutions_of_one_sum_and_shared_results():
    """One takes the sum, the other one is its residual; a result read twice is computed once."""

    def function(x):
        y = conv(x, W, groups=2, padding=1) * S[B]
        a = conv(y, W, groups=2, padding=1) * T[B]
        b = conv(y, W, groups=2, padding=1) + T[B]
        return jax.nn.relu(a + b), y

    x = inputs()
    optimized = jg.optimize(function, x)
    for got, expected in zip(optimized(x), function(x), strict=True):
        close(got, expected)
    found = optimized.report().convolutions
    assert [c.fused for c in found] == ["", "+ residual, relu", ""]
    assert [c.folded for c in found] == [("scale",), ("scale",), ("shift",)]
    assert found[0].stopped == "a result of the program"


def test_batch_statistics_are_left_and_changes_are_told():
    model = randomized(Block("resnet", "flax"), dtype="float32")
    model.train()
    x = inputs(dtype="float32")
    with pytest.warns(UserWarning, match=r"optimize\(\): a call changes bn1\.mean, bn1\.var") as w:
        optimized = jg.optimize(model, x)
    assert w[0].filename == __file__
    close(optimized(x), model(x), "float32")
    assert all(c.folded == () for c in optimized.report().convolutions)
    assert "note: a call changes bn1.mean" in str(optimized.report())


def test_16_bits_and_loops_are_left():
    x = inputs((2, 8, 9, 6), "bfloat16")
    w = W.astype("bfloat16")
    function = lambda x: jax.nn.relu(conv(x, w, groups=2) * S.astype("bfloat16")[B])  # noqa: E731
    optimized = jg.optimize(function, x)
    np.testing.assert_array_equal(*(f(x).astype("float32") for f in (optimized, jax.jit(function))))
    assert optimized.report().convolutions[0].stopped == (
        "not changed: bfloat16: its operations are rounded one by one"
    )

    def loop(x):
        return lax.fori_loop(0, 3, lambda _, x: conv(x, W, groups=2, padding=1) * S[B], x)

    x = inputs()
    optimized = jg.optimize(loop, x)
    close(optimized(x), loop(x))
    assert optimized.report().convolutions == ()
    assert optimized.report().notes == ("a convolution inside of scan is not changed",)


def test_weights_that_are_arguments():
    """No scale is folded; bias and activation of the call are."""

    def function(x, w):
        return jax.nn.relu(conv(x, w, groups=2) + T[B]), conv(x, w, groups=2) * S[B]

    x = inputs()
    optimized = jg.optimize(function, x, W)
    for got, expected in zip(optimized(x, W), function(x, W), strict=True):
        close(got, expected)
    first, second = optimized.report().convolutions
    assert (first.folded, first.fused, first.packed_bytes) == (("shift",), "relu", 0)
    assert second.stopped == "its weights or its bias are not constant"


def test_gradients_and_vmap():
    x = inputs()
    function = lambda x: jnp.sum(jax.nn.relu(conv(x, W, groups=2) * S[B] + T[B]) ** 2)  # noqa: E731
    optimized = jg.optimize(function, x)
    close(jax.grad(optimized)(x), jax.grad(function)(x), times=512)
    xs = jnp.stack([x, -x])
    close(jax.vmap(optimized)(xs), jax.vmap(function)(xs), times=512)
    corner = lambda x: jnp.sum(jax.nn.relu(x))  # noqa: E731
    assert jax.grad(jg.optimize(corner, jnp.zeros(3)))(jnp.zeros(3)).tolist() == [0, 0, 0]


def test_linen_and_plain_closures():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.relu(nn.BatchNorm(use_running_average=True)(nn.Conv(8, (3, 3))(x)))

    x, net = inputs(dtype="float32"), Net()
    variables = net.init(jax.random.key(0), x)
    bound = lambda x: net.apply(variables, x)  # noqa: E731
    optimized = jg.optimize(bound, x)
    close(optimized(x), bound(x), "float32")
    (found,) = optimized.report().convolutions
    assert (found.folded, found.fused) == (("scale", "shift"), "relu")
    model = randomized(Block("mobilenet", "jaxgroups"))
    x = inputs()
    closure = jg.optimize(lambda x: model(x) + 1, x)
    close(closure(x), model(x) + 1)


def test_equinox():
    eqx = pytest.importorskip("equinox")

    class Net(eqx.Module):
        conv1: eqx.nn.Conv2d
        conv2: eqx.nn.Conv2d
        scale: jax.Array

        def __call__(self, x):
            y = jax.nn.relu(self.conv1(x) * self.scale[:, None, None])
            return jax.nn.silu(self.conv2(y))

    keys = jax.random.split(jax.random.key(0))
    how = {"padding": 1, "dtype": jnp.float64}
    net = Net(
        eqx.nn.Conv2d(6, 8, 3, key=keys[0], **how),
        eqx.nn.Conv2d(8, 4, 3, groups=4, key=keys[1], **how),
        inputs((8,)),
    )
    x = inputs((2, 6, 8, 9))
    optimized = jg.optimize(jax.vmap(net), x)
    close(optimized(x), jax.vmap(net)(x))
    found = optimized.report().convolutions
    assert [(c.folded, c.fused) for c in found] == [
        (("scale", "shift"), "relu"),
        (("shift",), "silu"),
    ]


def test_other_arguments_and_wrong_targets_are_refused():
    x = inputs((2, 3))
    optimized = jg.optimize(lambda x, y: x + y["a"], x, {"a": x})
    close(optimized(x, {"a": x}), 2 * x)
    text = (
        "this program was optimized for arguments (f64[2,3], f64[2,3]), but got (f64[3], "
        "f64[2,3]): call jaxgroups.optimize with examples like these"
    )
    with pytest.raises(ValueError) as caught:
        optimized(x[0], {"a": x})
    assert str(caught.value) == text
    with pytest.raises(ValueError, match="was optimized for arguments"):
        optimized(x, x)
    with pytest.raises(TypeError) as caught:
        jg.optimize(x, x)
    assert str(caught.value).startswith(
        "jaxgroups.optimize(): the first argument must be a function or a model that can be called"
    )
    with pytest.raises(ValueError, match="the parameters are traced, so they are not constant"):
        jax.jit(lambda w: jg.optimize(lambda x: x @ w, x)(x))(x.T)
    assert repr(optimized) == "<Optimized for (f64[2,3], f64[2,3])>"


def test_effects_stay():
    seen = []

    def function(x):
        jax.debug.callback(seen.append, x.sum())
        return conv(x, W, groups=2)

    x = inputs()
    optimized = jg.optimize(function, x)
    close(optimized(x), conv(x, W, groups=2))
    jax.effects_barrier()
    assert len(seen) == 1


@NATIVE
def test_packed_weights_are_those_of_their_kernels(rng):
    """Layout and size are checked at every call."""
    from jaxgroups._native import packing

    weights = rng.standard_normal((3, 3, 4, 10)).astype("float32")
    shapes = ((1, 6, 6, 4), (3, 3, 4, 10), (1, 4, 4, 10), (1, 1), (0, 0), (0, 0), (1, 1), (1, 1))
    packed, layout = packing.pack(weights, 1, *shapes)
    assert np.count_nonzero(packed) == weights.size
    assert packing.pack(weights, 3, *shapes) is None  # no such convolution
    attributes = {
        "groups": 1, "stride": (1, 1), "low": (0, 0), "high": (0, 0), "dilation": (1, 1),
        "lhs_dilation": (1, 1), "weight_shape": weights.shape, "weight_strides": (),
        "weight_offset": 0, "activation": 0, "alpha": 0.0, "beta": 0.0, "residual": 0,
    }  # fmt: skip
    x = jnp.asarray(rng.standard_normal((1, 6, 6, 4)), "float32")
    call = jax.ffi.ffi_call(native.FUSED, jax.ShapeDtypeStruct((1, 4, 4, 10), "float32"))

    def result(packed, layout, *more, **changes):
        given = {
            k: np.array(v, np.int64) if isinstance(v, tuple) else v
            for k, v in {**attributes, "packed": layout, **changes}.items()
        }
        given = {k: np.float64(v) if k in ("alpha", "beta") else v for k, v in given.items()}
        return jax.block_until_ready(jax.jit(lambda *a: call(*a, **given))(x, packed, *more))

    exact = jg.conv2d(
        x.astype("float64"), weights.astype("float64"), data_format="channels_last",
        implementation="xla",
    )  # fmt: skip
    close(result(packed, layout), exact, "float32")
    other = "jaxgroups: the weights were packed for another convolution or other kernels"
    y = jnp.ones((1, 4, 4, 10), "float32")
    for text, arguments, changes in (
        (other, (packed, layout + 1), {}),
        (other, (packed[:-1], layout), {}),
        ("no activation of this number, but got 7", (packed, layout), {"activation": 7}),
        ("no place of the residual of this number, but got -1", (packed, layout), {"residual": -1}),
        ("perhaps a bias, and the residual", (packed, layout), {"residual": 1}),
        ("perhaps a bias, and the residual", (packed, layout, y, y), {}),
        ("should have the shape of the result", (packed, layout, y[:, :3]), {"residual": 1}),
        ("the weights have no strides", (weights, 0), {}),
        ("dtypes differ", (packed, layout, y.astype("float64")), {"residual": 1}),
    ):
        with pytest.raises(jax.errors.JaxRuntimeError, match=re.escape(text)):
            result(*arguments, **changes)


def test_no_warning_in_evaluation():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jg.optimize(randomized(Block("efficientnet", "flax")), inputs())
