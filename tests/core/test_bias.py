"""The bias as a part of the convolution: in kernels, and in every transformation."""

import itertools
import os
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from support import command
from support.helpers import assert_same, whole

import jaxgroups as jg
from jaxgroups import _native as native
from jaxgroups._op import primitive

MISSING = native.status().missing
NATIVE = pytest.mark.skipif(MISSING is not None, reason=f"NO KERNELS to call: {MISSING}")
LOWERINGS = ["xla", "shift", "matmul", pytest.param("native", marks=NATIVE)]
CASES = {  # x, weight (both channels last), arguments; the bias has the weight's last size
    "depthwise": ((2, 9, 8, 20), (3, 3, 1, 20), {"groups": 20, "padding": 1}),
    "multiplier": ((2, 6, 7, 5), (3, 2, 1, 15), {"groups": 5, "stride": 2}),
    "small groups": ((2, 6, 7, 12), (3, 3, 3, 20), {"groups": 4, "padding": 1}),
    "wide groups": ((2, 5, 6, 48), (3, 1, 24, 70), {"groups": 2, "padding": (1, 0)}),
    "dense": ((1, 5, 6, 4), (3, 3, 4, 9), {"dilation": 2, "padding": 2}),
    "1x1": ((2, 5, 4, 32), (1, 1, 16, 24), {"groups": 2}),
    "padding only": ((1, 1, 1, 6), (1, 1, 2, 9), {"groups": 3, "padding": 2, "stride": 2}),
}


def operands(rng, case):
    x, w, how = CASES[case]
    return whole(rng, x), whole(rng, w), whole(rng, (w[-1],)) + 17, how


def conv(how, implementation):
    how = how | {"data_format": "channels_last", "implementation": implementation}
    return lambda x, w, b: jg.conv2d(x, w, b, **how)


def plain(how):
    """Lax's own convolution, and a sum."""

    def pair(name, default):
        return tuple(np.broadcast_to(how.get(name, default), 2).tolist())

    def call(x, w, b):
        y = lax.conv_general_dilated(
            x,
            w,
            pair("stride", 1),
            [(p, p) for p in pair("padding", 0)],
            rhs_dilation=pair("dilation", 1),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=how.get("groups", 1),
        )
        return y + b[None, None, None]

    return call


@pytest.mark.parametrize("implementation", LOWERINGS)
@pytest.mark.parametrize("case", CASES)
def test_values_and_all_gradients(rng, case, implementation):
    *arrays, how = operands(rng, case)
    ours, right = conv(how, implementation), plain(how)
    try:
        y = ours(*arrays)
    except ValueError as error:
        assert "does not take this convolution" in str(error)  # noqa: PT017
        assert implementation != "native"
        return
    assert_same(y, right(*arrays))
    assert_same(jax.jit(ours)(*arrays), y)
    ct = whole(rng, y.shape)
    for got, expected in zip(
        jax.vjp(ours, *arrays)[1](ct), jax.vjp(right, *arrays)[1](ct), strict=True
    ):
        assert_same(got, expected)


@NATIVE
@pytest.mark.parametrize("case", CASES)
def test_a_kernel_adds_it(rng, case):
    """The program holds one call with three operands, and no sum."""
    *arrays, how = operands(rng, case)
    text = jax.jit(conv(how, "native")).lower(*arrays).as_text()
    (call,) = re.findall(r"custom_call @jaxgroups_forward\((.*?)\)", text)
    assert call.count("%") == 3
    assert "stablehlo.add" not in text


@NATIVE
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_all_six_functions(rng, rank, data_format, transposed):
    size = (6, 5, 4)[:rank]
    x, w = whole(rng, (2, 12, *size)), whole(rng, (12, 4 if transposed else 3, *(3, 2, 1)[:rank]))
    b = whole(rng, (12 if not transposed else 16,))
    function = getattr(jg, f"conv{'_transpose' if transposed else ''}{rank}d")
    how = {"stride": 2, "groups": 4, "data_format": data_format}
    if data_format == "channels_last":
        x, w = np.moveaxis(x, 1, -1), np.moveaxis(w, (0, 1), (-1, -2))
    bare = function(x, w, implementation="xla", **how)
    shape = [1] * bare.ndim
    shape[-1 if data_format == "channels_last" else 1] = len(b)
    assert_same(function(x, w, b, implementation="native", **how), bare + b.reshape(shape))


@pytest.mark.parametrize(
    "axes",
    [
        a
        for a in itertools.product((None, 0, 1), (None, 0), (None, 0, 1))
        if any(x is not None for x in a)
    ],
)
def test_vmap(rng, axes):
    *arrays, how = operands(rng, "small groups")
    ours, right = conv(how, None), plain(how)
    batches = [
        a if axis is None else np.stack([a, a * 2 + 1, a[::-1]], axis)
        for a, axis in zip(arrays, axes, strict=True)
    ]
    got = jax.jit(jax.vmap(ours, axes))(*batches)

    def pick(i):
        of = zip(batches, axes, strict=True)
        return [a if axis is None else np.take(a, i, axis) for a, axis in of]

    assert_same(got, np.stack([right(*pick(i)) for i in range(3)]))


@pytest.mark.parametrize("moved", [m for m in itertools.product((False, True), repeat=3) if any(m)])
def test_forward_mode(rng, moved):
    """Tangents of any of the three operands, the others constant."""
    *arrays, how = operands(rng, "small groups")
    tangents = [whole(rng, a.shape) for a in arrays]
    places = [i for i, there in enumerate(moved) if there]

    def of(function):
        def some(*given):
            full = list(arrays)
            for i, a in zip(places, given, strict=True):
                full[i] = a
            return function(*full)

        given = [jnp.asarray(arrays[i]) for i in places]
        return jax.jvp(jax.jit(some), given, [jnp.asarray(tangents[i]) for i in places])

    for got, expected in zip(of(conv(how, None)), of(plain(how)), strict=True):
        assert_same(got, expected)


def test_second_derivatives(rng):
    *arrays, how = operands(rng, "multiplier")

    def hessian_of(function):
        loss = lambda *a: jnp.sum(function(*a) ** 3)  # noqa: E731
        return jax.jit(lambda *a: jax.jvp(jax.grad(loss, (0, 1, 2)), a, a)[1])(
            *map(jnp.asarray, arrays)
        )

    for got, expected in zip(hessian_of(conv(how, None)), hessian_of(plain(how)), strict=True):
        assert_same(got, expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex64"])
def test_dtypes(rng, dtype):
    *arrays, how = operands(rng, "small groups")
    arrays = [jnp.asarray(a, dtype) for a in arrays]
    y = conv(how, None)(*arrays)
    assert y.dtype == dtype
    exact = plain(how)(
        *(a.astype("complex128" if dtype == "complex64" else "float64") for a in arrays)
    )
    assert_same(y, exact.astype(dtype))


def test_without_jit(rng):
    *arrays, how = operands(rng, "depthwise")
    with jax.disable_jit():
        y = conv(how, None)(*arrays)
    assert_same(y, plain(how)(*arrays))


def test_an_exported_program_and_lax_itself_know_no_kernel(rng):
    *arrays, how = operands(rng, "depthwise")
    exported = jax.export.export(jax.jit(conv(how, None)), platforms=("cpu", "cuda", "tpu"))(
        *arrays
    )
    assert "jaxgroups_forward" not in exported.mlir_module()
    assert_same(exported.call(*arrays), plain(how)(*arrays))


SHARDED = """
import jax, jax.numpy as jnp, numpy as np, jaxgroups as jg
from jax.sharding import NamedSharding, PartitionSpec as P
x, w = jnp.arange(16 * 5 * 4 * 8.0).reshape(16, 5, 4, 8) % 7, jnp.ones((3, 3, 1, 8))
b = jnp.arange(8.0)
biases = jnp.arange(64.0).reshape(8, 8)
conv = lambda x, w, b: jg.conv2d(x, w, b, groups=8, padding=1, data_format="channels_last")
right = conv(x, w, jnp.zeros(8))
mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
xs = jax.device_put(x, NamedSharding(mesh, P("batch")))
np.testing.assert_array_equal(jax.jit(conv)(xs, w, b), right + b)
# the bias of each device its own: it varies where the other operands may not
each = lambda x, w, b: conv(x, w, b[0])
both = jax.shard_map(each, mesh=mesh, in_specs=(P("batch"), P(), P("batch")), out_specs=P("batch"))
expected = right + np.repeat(biases, 2, 0)[:, None, None]
np.testing.assert_array_equal(jax.jit(both)(x, w, biases), expected)
one = jax.shard_map(each, mesh=mesh, in_specs=(P(), P(), P("batch")), out_specs=P("batch"))
np.testing.assert_array_equal(jax.jit(one)(x[:1], w, biases), right[:1] + biases[:, None, None])
loss = lambda f: lambda *a: jnp.sum(f(*a) ** 2)
shared = jax.shard_map(conv, mesh=mesh, in_specs=(P("batch"), P(), P()), out_specs=P("batch"))
gradients = lambda f: jax.jit(jax.grad(loss(f), (0, 1, 2)))(x, w, b)
for got, of in zip(gradients(shared), gradients(conv)):
    np.testing.assert_allclose(got, of, rtol=1e-5)
explicit = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Explicit,))
with jax.set_mesh(explicit):
    xe = jax.device_put(x, NamedSharding(explicit, P("batch")))
    rest = [jax.device_put(a, NamedSharding(explicit, P())) for a in (w, b)]
    y = jax.jit(conv)(xe, *rest)
    assert y.sharding.spec[0] == "batch", y.sharding
    np.testing.assert_array_equal(y, right + b)
print("fine")
"""


def test_eight_devices():
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    done = command.python("-P", "-c", SHARDED, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "fine\n"


def test_the_rules_hold_for_the_primitive_itself():
    """No tangent, no batch: what a caller of the primitive may bind."""
    x, w, b = jnp.ones((1, 4, 2)), jnp.ones((3, 1, 4)), jnp.arange(4.0)
    dims = lax.conv_dimension_numbers(x.shape, w.shape, ("NWC", "WIO", "NWC"))
    how = {
        "window_strides": (1,),
        "padding": ((1, 1),),
        "lhs_dilation": (1,),
        "rhs_dilation": (1,),
        "dimension_numbers": dims,
        "feature_group_count": 2,
        "batch_group_count": 1,
        "precision": None,
        "preferred_element_type": None,
        "out_sharding": None,
    }
    y = primitive.biased_p.bind(x, w, b, implementation=None, view_ops=(), **how)
    bare = lax.conv_general_dilated(
        x, w, (1,), "SAME", dimension_numbers=dims, feature_group_count=2
    )
    assert_same(y, bare + b[None, None])
