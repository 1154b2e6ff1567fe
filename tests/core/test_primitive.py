"""The primitive under every transformation: what lax gives, bit for bit, with XLA's own lowering,
and lax's result to the last rounding with the chosen one. `accelerate` on models of others.
"""

import os
import re
import subprocess
import sys
import textwrap
import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax import lax
from jax.interpreters import mlir
from jax.test_util import check_grads
from support.helpers import assert_same, whole

import jaxgroups as jg
from jaxgroups import _native as native
from jaxgroups._lowerings import dispatch
from jaxgroups._op import primitive
from jaxgroups._problem import jax_private as private

LAST = ("NHWC", "HWIO", "NHWC")
FORMS = {
    "grouped": {"window_strides": (2, 1), "padding": ((1, 1), (0, 2)), "feature_group_count": 2},
    "dilated": {
        "window_strides": (1, 1),
        "padding": "SAME",
        "rhs_dilation": (2, 1),
        "feature_group_count": 2,
    },
    "transposed": {
        "window_strides": (1, 1),
        "padding": ((2, 1), (1, 1)),
        "lhs_dilation": (2, 3),
        "feature_group_count": 2,
    },
}


def operands(rng):
    return jnp.asarray(whole(rng, (3, 5, 6, 4))), jnp.asarray(whole(rng, (3, 2, 2, 6)))


def both(form):
    kw = {**FORMS[form], "dimension_numbers": LAST}
    return (lambda f: lambda x, w: f(x, w, **kw))(lax.conv_general_dilated), (
        lambda x, w: jg.conv_general_dilated(x, w, **kw)
    )


def square(f):
    return lambda x, w: jnp.sum(f(x, w) ** 2)


TRANSFORMED = {
    "jit": jax.jit,
    "grad": lambda f: jax.grad(square(f), (0, 1)),
    "jit-of-grad": lambda f: jax.jit(jax.grad(square(f), (0, 1))),
    "jvp": lambda f: lambda x, w: jax.jvp(f, (x, w), (x[::-1], w[::-1])),
    "linearize": lambda f: lambda x, w: jax.linearize(f, x, w)[1](x[::-1], w),
    "hessian-vector": lambda f: lambda x, w: jax.jvp(jax.grad(square(f), (0, 1)), (x, w), (x, w)),
    "reverse-of-reverse": lambda f: jax.grad(
        lambda x, w: jnp.sum(jax.grad(square(f), 1)(x, w)), (0, 1)
    ),
    "vmap-x": lambda f: lambda x, w: jax.vmap(f, (0, None))(jnp.stack([x, x[::-1]]), w),
    "vmap-w": lambda f: lambda x, w: jax.vmap(f, (None, -1), 1)(x, jnp.stack([w, w[::-1]], -1)),
    "vmap-both": lambda f: lambda x, w: jax.vmap(f)(jnp.stack([x, 2 * x]), jnp.stack([w, -w])),
    "per-example-gradients": lambda f: (
        lambda x, w: jax.vmap(jax.grad(square(f), 1), (0, None))(x[:, None], w)
    ),
    "vmap-of-vmap": lambda f: (
        lambda x, w: jax.vmap(jax.vmap(f, (None, 0)), (0, None))(
            jnp.stack([x, x[::-1]]), jnp.stack([w, w[::-1], -w])
        )
    ),
    "remat": lambda f: jax.grad(square(jax.checkpoint(f)), (0, 1)),
    "scan": lambda f: (
        lambda x, w: lax.scan(lambda c, w: (c + jnp.sum(f(x, w)), f(x, w)), 0.0, jnp.stack([w, -w]))
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("how", TRANSFORMED)
def test_transformations_give_what_lax_gives(rng, how, form):
    """Whole numbers in float64, so that no order of summation can differ."""
    x, w = operands(rng)
    theirs, ours = (TRANSFORMED[how](f)(x, w) for f in both(form))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert_same(a, b)


def test_a_kernel_longer_than_the_input_gives_an_empty_result(rng):
    """As lax has it: padded to 3 elements, a kernel that spans 5."""
    kw = {**FORMS["grouped"], "rhs_dilation": (1, 3), "dimension_numbers": LAST}
    x, w = jnp.asarray(whole(rng, (3, 5, 1, 4))), jnp.asarray(whole(rng, (3, 2, 2, 6)))
    w = jnp.concatenate([w, w], 1)
    for how in (lambda f: f, jax.jit, lambda f: jax.grad(square(f), (0, 1))):
        lax_own = how(lambda x, w: lax.conv_general_dilated(x, w, **kw))(x, w)
        ours = how(lambda x, w: jg.conv_general_dilated(x, w, **kw))(x, w)
        for actual, expected in zip(jax.tree.leaves(ours), jax.tree.leaves(lax_own), strict=True):
            assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
            assert not np.asarray(actual).any()


def test_a_result_dtype_is_not_mistaken_for_none():
    """np.dtype("float64") == None is True, so a cache keyed by it would return another call."""
    x, w = jnp.ones((1, 4, 5), "float32"), jnp.ones((2, 2, 3), "float32")
    for preferred in (None, jnp.float64, "float64", np.dtype("float64"), None):
        y = jg.conv1d(x, w, groups=2, preferred_element_type=preferred)
        assert y.dtype == ("float32" if preferred is None else "float64")


@pytest.mark.parametrize("traced", [False, True])
def test_settings_hold_in_their_context_only(traced):
    """Nothing that is cached by a spec keeps the precision or x64 of an earlier call."""
    x, w = jnp.ones((1, 4, 5), "float32"), jnp.ones((2, 2, 3), "float32")
    how = {"groups": 2, "preferred_element_type": "float64"}

    def precision(x, w):
        eqns = jax.make_jaxpr(lambda x, w: jg.conv1d(x, w, groups=2))(x, w).jaxpr.eqns
        return [eqn.params["precision"] for eqn in eqns if "precision" in eqn.params]

    call = jax.jit(lambda x, w: jg.conv1d(x, w, **how)) if traced else partial(jg.conv1d, **how)
    for _ in range(2):
        assert precision(x, w) == [None]
        with jax.default_matmul_precision("highest"):
            assert precision(x, w) == [(lax.Precision.HIGHEST,) * 2]
        assert call(x, w).dtype == "float64"
        with jax.enable_x64(False), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a dtype that is not available
            assert call(x, w).dtype == "float32"


def test_our_primitive_is_what_was_traced(rng):
    _, ours = both("grouped")
    text = str(jax.make_jaxpr(jax.grad(square(ours), (0, 1)))(*operands(rng)))
    assert text.count("jaxgroups_conv[") == 3
    assert "conv_general_dilated[" not in text


@pytest.mark.parametrize("form", FORMS)
def test_gradients_agree_with_differences(rng, form):
    check_grads(both(form)[1], operands(rng), order=2, modes=("fwd", "rev"), rtol=1e-6)


BAD = {
    "groups": {"feature_group_count": 3},
    "padding": {"padding": "NOPE"},
    "padding pairs": {"padding": (1, 2)},
    "strides": {"window_strides": (1,)},
    "string padding, dilated": {"padding": "SAME", "lhs_dilation": (2, 2)},
    "numbers": {"dimension_numbers": ("NHWC", "HWIO")},
    "batch groups": {"batch_group_count": 2, "feature_group_count": 2},
}


@pytest.mark.parametrize("bad", BAD)
def test_errors_are_those_of_lax(rng, bad):
    kw = {**FORMS["grouped"], "dimension_numbers": LAST} | BAD[bad]
    with pytest.raises(Exception) as theirs:  # lax says which
        lax.conv_general_dilated(*operands(rng), **kw)
    with pytest.raises(type(theirs.value)) as ours:
        jg.conv_general_dilated(*operands(rng), **kw)
    assert str(ours.value) == str(theirs.value)


def test_lists_and_arrays_are_taken_as_lax_takes_them(rng):
    x, w = operands(rng)
    kw = {
        "window_strides": [1, 2],
        "padding": np.array([[1, 1], [0, 0]]),
        "dimension_numbers": LAST,
        "feature_group_count": 2,
        "precision": "highest",
    }
    assert_same(jg.conv_general_dilated(x, w, **kw), lax.conv_general_dilated(x, w, **kw))


def test_export_to_three_platforms_and_a_symbolic_batch(rng):
    """CPU gets a lowering of ours, the others a convolution; a symbolic size stays with XLA."""
    x, w = (a.astype("float32") for a in operands(rng))
    x, w = jnp.tile(x, 32), jnp.tile(w[:, :, :1, :4], 32)
    f = jax.jit(
        lambda x, w: jg.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=LAST, feature_group_count=128
        )
    )
    assert "stablehlo.convolution" not in text_of(f, x, w)
    exported = jax.export.export(f, platforms=("cpu", "cuda", "tpu"))(x, w)
    assert "stablehlo.convolution" in exported.mlir_module()
    np.testing.assert_allclose(exported.call(x, w), f(x, w), rtol=1e-6)
    (n,) = jax.export.symbolic_shape("n")
    symbolic = jax.export.export(f)(jax.ShapeDtypeStruct((n, *x.shape[1:]), x.dtype), w)
    np.testing.assert_allclose(symbolic.call(x, w), f(x, w), rtol=1e-5, atol=1e-4)


def test_a_forced_lowering_holds_for_what_derives_where_it_can(rng):
    """The weight gradient of 'matmul' for a depthwise kernel has no matrix: the best is taken."""
    x = jnp.ones((2, 6, 16), "float32")
    w = jnp.ones((3, 1, 16), "float32")
    f = lambda x, w: jg.conv1d(x, w, groups=16, data_format="channels_last", implementation="shift")  # noqa: E731
    text = jax.jit(jax.grad(square(f), (0, 1))).lower(x, w).as_text(debug_info=True)
    assert "jaxgroups.shift" in text
    with pytest.raises(ValueError, match="one channel in a group, no matrix"):
        jg.conv1d(x, w, groups=16, data_format="channels_last", implementation="matmul")


class FlaxBlock(nnx.Module):
    """ResNeXt's, with Flax's own layers."""

    def __init__(self, rngs, conv=None):
        extra = {"conv_general_dilated": conv} if conv else {}
        self.narrow = nnx.Conv(16, 64, (1, 1), rngs=rngs)
        self.paths = nnx.Conv(64, 64, (3, 3), feature_group_count=32, rngs=rngs, **extra)
        self.widen = nnx.Conv(64, 16, (1, 1), rngs=rngs)

    def __call__(self, x):
        return x + self.widen(nnx.relu(self.paths(nnx.relu(self.narrow(x)))))


@pytest.fixture(params=["kernels", "operations of XLA"])
def expected(request):
    """The lowerings of a whole FlaxBlock, with the compiled kernels and as where there are none."""
    if request.param == "operations of XLA":
        request.getfixturevalue("without_kernels")
        return {"shift", "matmul"}
    if native.status().missing:
        pytest.skip(f"NO KERNELS here: {native.status().missing}")
    return {"native"}


def lowerings_in(text):
    """Of all convolutions in a lowered program that are ours."""
    return set(re.findall(r"jaxgroups\.(\w+)", text)) & set(dispatch.names())


def text_of(function, *args):
    return jax.jit(function).lower(*args).as_text(debug_info=True)


def test_accelerate_reaches_flax_and_ends(rng, expected):
    x = jnp.asarray(rng.standard_normal((2, 7, 6, 16)), "float32")
    block = FlaxBlock(nnx.Rngs(0))
    graph, state = nnx.split(block)

    def loss(state, x):
        return jnp.mean(nnx.merge(graph, state)(x) ** 2)

    step = jax.jit(jax.value_and_grad(loss))
    before = step(state, x)
    assert "jaxgroups." not in text_of(jax.value_and_grad(loss), state, x)
    with jg.accelerate() as handle:
        text = text_of(jax.value_and_grad(loss), state, x)
        assert lowerings_in(text) == expected
        during = step(state, x)
        assert "on" in repr(handle)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), before, during
    )
    assert "jaxgroups." not in text_of(jax.value_and_grad(loss), state, x)
    assert "undone" in repr(handle)


def test_accelerate_drops_what_was_compiled(rng):
    x = jnp.asarray(rng.standard_normal((1, 5, 5, 32)), "float32")
    w = jnp.asarray(rng.standard_normal((3, 3, 1, 32)), "float32")
    traced = []

    @jax.jit
    def f(x, w):
        traced.append(1)
        return lax.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=LAST, feature_group_count=32
        )

    f(x, w)
    outer, inner = jg.accelerate(), jg.accelerate()
    f(x, w)
    assert len(traced) == 2
    outer.undo()
    assert private.lowering_rule(lax.conv_general_dilated_p, "cpu").func is primitive.lower
    inner.undo()
    inner.undo()
    assert not hasattr(private.lowering_rule(lax.conv_general_dilated_p, "cpu"), "func") or (
        private.lowering_rule(lax.conv_general_dilated_p, "cpu").func is not primitive.lower
    )
    f(x, w)
    assert len(traced) == 3


def test_xla_forced_stays_lax_under_accelerate(rng):
    x, w = operands(rng)
    with jg.accelerate():
        text = text_of(
            lambda x, w: jg.conv2d(
                x, w, groups=2, data_format="channels_last", implementation="xla"
            ),
            x,
            w,
        )
    assert "stablehlo.convolution" in text
    assert "jaxgroups.xla" in text


def test_accelerate_reaches_equinox(expected):
    eqx = pytest.importorskip(
        "equinox", reason="equinox is NOT installed: accelerate untested on it"
    )
    layer = eqx.nn.Conv2d(32, 64, 3, padding=1, groups=32, dtype="float32", key=jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (32, 9, 8), "float32")
    run = eqx.filter_jit(lambda x: layer(x))
    before = run(x)
    with jg.accelerate():
        assert lowerings_in(text_of(lambda x: layer(x), x)) == expected - {"matmul"}
        np.testing.assert_allclose(run(x), before, rtol=1e-4, atol=1e-5)


def test_flax_takes_the_function_by_its_hook(rng, expected):
    x = jnp.asarray(rng.standard_normal((2, 7, 6, 16)), "float32")
    plain, hooked = FlaxBlock(nnx.Rngs(0)), FlaxBlock(nnx.Rngs(0), jg.conv_general_dilated)
    np.testing.assert_allclose(hooked(x), plain(x), rtol=1e-4, atol=1e-5)
    assert lowerings_in(text_of(lambda x: hooked(x), x)) == expected - {"matmul"}
    dense = {"feature_group_count": 16, "features": 32, "kernel_size": (3, 3)}
    a, b = (
        linen.Conv(**dense, **kw) for kw in ({}, {"conv_general_dilated": jg.conv_general_dilated})
    )
    variables = a.init(jax.random.key(0), x)
    np.testing.assert_allclose(b.apply(variables, x), a.apply(variables, x), rtol=1e-4, atol=1e-5)


SHARDED = """
    import jax, jax.numpy as jnp, numpy as np
    from jax import lax
    from jax.sharding import NamedSharding, PartitionSpec as P
    import jaxgroups as jg
    assert jax.device_count() == 8
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    kw = dict(window_strides=(1, 1), padding="SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    rng = np.random.default_rng(0)
    for groups, cin, cout in ((64, 64, 64), (16, 64, 32), (2, 32, 64), (1, 8, 16)):
        x = jnp.asarray(rng.integers(-5, 6, (16, 6, 5, cin)), "float32")
        w = jnp.asarray(rng.integers(-5, 6, (3, 3, cin // groups, cout)), "float32")
        ours = lambda x, w: jg.conv_general_dilated(x, w, feature_group_count=groups, **kw)
        theirs = lambda x, w: lax.conv_general_dilated(x, w, feature_group_count=groups, **kw)
        loss = lambda f: lambda x, w: jnp.sum(f(x, w) * x.mean())
        xs = jax.device_put(x, NamedSharding(mesh, P("batch")))
        ws = jax.device_put(w, NamedSharding(mesh, P()))
        compiled = jax.jit(ours).lower(xs, ws).compile()
        assert "all-gather" not in compiled.as_text(), groups
        y = compiled(xs, ws)
        assert y.sharding.spec == P("batch"), y.sharding
        np.testing.assert_array_equal(y, theirs(x, w))
        inside = jax.shard_map(ours, mesh=mesh, in_specs=(P("batch"), P()), out_specs=P("batch"))
        np.testing.assert_array_equal(jax.jit(inside)(x, w), theirs(x, w))
        grads = jax.jit(jax.grad(loss(inside), (0, 1)))(x, w)
        def local(x, w):
            gx, gw = jax.grad(lambda x, w: jnp.sum(ours(x, w) ** 2), (0, 1))(x, w)
            return gx, gw
        specs = (P("batch"), P())
        inner = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=specs)
        gx, gw = jax.jit(inner)(x, w)
        ex, ew = jax.grad(lambda x, w: jnp.sum(theirs(x, w) ** 2), (0, 1))(x, w)
        np.testing.assert_allclose(gx, ex, rtol=1e-5)
        np.testing.assert_allclose(gw, ew, rtol=1e-5)
        for a, b in zip(grads, jax.grad(loss(theirs), (0, 1))(x, w)):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-2)
        explicit = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Explicit,))
        with jax.set_mesh(explicit):
            xe = jax.device_put(x, NamedSharding(explicit, P("batch")))
            we = jax.device_put(w, NamedSharding(explicit, P()))
            np.testing.assert_array_equal(jax.jit(ours)(xe, we), theirs(x, w))
    # an implementation that XLA cannot split computes the part of each device; none is exported
    from dataclasses import replace
    from jaxgroups._lowerings import dispatch
    from jaxgroups._lowerings import shift
    computed = []
    def apply(problem, *arguments):
        computed.append(problem.lhs_shape)
        return shift.LOWERING.apply(problem, *arguments)
    dispatch.LOWERINGS = (
        replace(shift.LOWERING, portable=False, apply=apply), *dispatch.LOWERINGS[-2:])
    x, w = jnp.ones((16, 6, 5, 64)), jnp.ones((3, 3, 1, 64))
    conv = lambda x, w: jg.conv_general_dilated(x, w, feature_group_count=64, **kw)
    xs = jax.device_put(x, NamedSharding(mesh, P("batch")))
    inside = jax.shard_map(conv, mesh=mesh, in_specs=(P("batch"), P()), out_specs=P("batch"))
    for f, arguments, shape in (
        (conv, (xs, w), (2, 6, 5, 64)),
        (inside, (x, w), (2, 6, 5, 64)),
        (conv, (x, w), (16, 6, 5, 64)),
    ):
        computed.clear()
        jax.jit(f).lower(*arguments).compile()
        assert computed == [shape], computed
    computed.clear()
    jax.export.export(jax.jit(conv, in_shardings=(xs.sharding, None)))(xs, w)
    assert not computed
    print("fine")
"""


def test_eight_devices_sharded_by_batch():
    """NamedSharding without an all-gather, shard_map with its gradients, explicit sharding."""
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SHARDED)],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "fine\n"


def test_what_is_used_of_the_private_api_is_where_it_was():
    """Fails when JAX moves it: then `_jax_private` is the place to look."""
    rule = private.lowering_rule(lax.conv_general_dilated_p, "cpu")
    assert callable(rule)
    mlir.register_lowering(lax.conv_general_dilated_p, rule, platform="cpu")
    assert private.lowering_rule(lax.conv_general_dilated_p, "cpu") is rule
    assert jax.config.jax_use_shardy_partitioner is True
    assert callable(private.xla_client.register_custom_call_partitioner)
    assert callable(private.private_mlir.build_mlir_module_helper)
