"""Sums of a batch for each channel: values, every transformation, and where the kernel computes."""

import os
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify, jet
from support.command import python

from jaxgroups import _native as native
from jaxgroups._op import channel_sums

MISSING = native.status().missing
needs_kernels = pytest.mark.skipif(MISSING is not None, reason=f"NO KERNELS to call: {MISSING}")
KERNEL = "jaxgroups_channel_"
# instances, rows and channels: above and below FEW, with rows in one part and in several (32768
# numbers), fewer and more channels than a vector has lanes, none of these a multiple of another
SHAPES = [(2, 5, 3), (1, 4099, 1), (3, 700, 33), (2, 49, 131), (1, 3, 40001), (5, 823, 8)]
# of the sums: of the numbers' size, for the float32 sums of XLA
CLOSE = {"float32": 3e-6, "float64": 1e-13}


def arrays(rng, shape, dtype, mean=0.0):
    """a, b, shift, u, v of the shapes that the operations take."""
    whole, vector = shape, (shape[0], shape[2])
    draw = lambda of, centre: (rng.normal(size=of) + centre).astype(dtype)  # noqa: E731
    return draw(whole, 0), draw(whole, mean), *(draw(vector, n) for n in (mean, 0, 0))


def in_float64(x):
    return np.asarray(x, "float64")


def assert_close(got, expected, dtype, scale=1.0):
    np.testing.assert_allclose(in_float64(got), expected, rtol=0, atol=CLOSE[dtype] * scale)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mean", [0.0, 2e3])
def test_values(rng, shape, dtype, mean):
    a, b, shift, u, v = arrays(rng, shape, dtype, mean)
    rows = shape[1]
    for call in (lambda f: f, jax.jit):
        first, second = call(channel_sums.sums)(a, b, shift)
        assert first.dtype == second.dtype == dtype
        assert_close(first, in_float64(a).sum(1), dtype, rows)
        differences = in_float64(b) - in_float64(shift)[:, None]
        assert_close(second, (in_float64(a) * differences).sum(1), dtype, 4 * rows)
        centre, var = call(channel_sums.moments)(b)
        assert_close(centre, in_float64(b).mean(1), dtype, 1 + mean)
        assert_close(var, in_float64(b).var(1), dtype, 8)
        y = call(channel_sums.affine)(u, v, b, shift)
        assert_close(y, in_float64(u)[:, None] + in_float64(v)[:, None] * differences, dtype, 32)


def test_a_constant_channel_has_no_variance():
    x = jnp.full((1, 5000, 3), np.float32(0.1))
    mean, var = channel_sums.moments(x)
    np.testing.assert_array_equal(mean, np.full((1, 3), np.float32(0.1)))
    np.testing.assert_array_equal(var, np.zeros((1, 3)))


@pytest.mark.parametrize("row", [0, 1, 2600])
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_special_numbers_stay_in_their_channel(rng, special, row):
    x = rng.normal(size=(2, 2601, 5)).astype("float32")
    x[1, row, 3] = special
    mean, var = map(np.asarray, channel_sums.moments(x))
    np.testing.assert_array_equal(mean[1, 3], special)
    assert np.isnan(var[1, 3])
    others = np.ones((2, 5), bool)
    others[1, 3] = False
    np.testing.assert_allclose(mean[others], x.mean(1, dtype="float64")[others], atol=1e-6)
    assert np.isfinite(var[others]).all()


@pytest.mark.parametrize("row", [0, 2600])
def test_large_numbers_do_not_overflow_on_the_way(row):
    """Their squares are above the largest float32, their variance is not."""
    x = np.ones((1, 2601, 2), "float32")
    x[0, row, 1] = 1e19
    mean, var = map(in_float64, channel_sums.moments(x))
    exact = x.astype("float64")
    np.testing.assert_allclose(mean, exact.mean(1), rtol=1e-6)
    np.testing.assert_allclose(var, exact.var(1), rtol=1e-6)


# --- transformations, against the same in plain operations of JAX, float64 -----------------------


def plain_moments(x):
    mean = jnp.mean(x, 1, keepdims=True)
    return mean[:, 0], jnp.mean((x - mean) ** 2, 1)


def plain_sums(a, b, shift):
    return jnp.sum(a, 1), jnp.sum(a * (b - shift[:, None]), 1)


def plain_affine(u, v, b, shift):
    return u[:, None] + v[:, None] * (b - shift[:, None])


def case(rng, name, shape=(2, 700, 5)):
    a, b, shift, u, v = map(jnp.asarray, arrays(rng, shape, "float64"))
    return {
        "moments": (channel_sums.moments, plain_moments, (b,)),
        "sums": (channel_sums.sums, plain_sums, (a, b, shift)),
        "affine": (channel_sums.affine, plain_affine, (u, v, b, shift)),
    }[name]


def assert_same_trees(got, expected):
    got, expected = jax.tree.leaves(got), jax.tree.leaves(expected)
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)


def subsets(count):
    return [[i for i in range(count) if chosen >> i & 1] for chosen in range(1, 2**count)]


@pytest.mark.parametrize("name", ["moments", "sums", "affine"])
def test_derivatives_in_every_choice_of_operands(rng, name):
    """Forward, backward, and forward over backward."""
    ours, plain, operands = case(rng, name)
    for chosen in subsets(len(operands)):
        tangents = [jnp.cos(7 * operands[i]) for i in chosen]

        def derivatives(function, chosen=chosen, tangents=tangents):
            def of_chosen(*some):
                given = list(operands)
                for i, x in zip(chosen, some, strict=True):
                    given[i] = x
                return function(*given)

            some = [operands[i] for i in chosen]

            def gradient(*some):
                loss = lambda *x: sum(jnp.sum(jnp.sin(y)) for y in jax.tree.leaves(of_chosen(*x)))  # noqa: E731
                return jax.grad(loss, tuple(range(len(chosen))))(*some)

            forward = jax.jvp(of_chosen, some, tangents)
            return forward, gradient(*some), jax.jvp(gradient, some, tangents)

        assert_same_trees(jax.jit(derivatives, static_argnums=0)(ours), derivatives(plain))


@pytest.mark.parametrize("name", ["moments", "sums", "affine"])
def test_vmap_over_every_choice_of_operands(rng, name):
    ours, plain, operands = case(rng, name, (2, 300, 5))
    for chosen in subsets(len(operands)):
        axes, given = [None] * len(operands), list(operands)
        for i in chosen:
            axes[i] = i % given[i].ndim
            given[i] = jnp.stack([given[i], 2 * given[i], given[i] - 1], axes[i])
        got, expected = (jax.jit(jax.vmap(f, tuple(axes)))(*given) for f in (ours, plain))
        assert_same_trees(got, expected)


@pytest.mark.parametrize("name", ["moments", "sums", "affine"])
def test_other_interpreters_of_jax(rng, name):
    ours, plain, operands = case(rng, name)
    with jax.disable_jit():
        assert_same_trees(ours(*operands), plain(*operands))
    checked = checkify.checkify(ours, errors=checkify.float_checks)
    assert checked(*operands)[0].get() is None
    spoilt = [x.at[(0,) * x.ndim].set(jnp.nan) for x in operands]
    assert "nan generated by primitive: jaxgroups_channel" in checked(*spoilt)[0].get()
    series = [[jnp.sin(x)] for x in operands]
    assert_same_trees(jet.jet(ours, operands, series), jet.jet(plain, operands, series))


# --- where the kernel computes --------------------------------------------------------------------


@needs_kernels
def test_the_kernel_computes_programs_of_one_device():
    x, few = jnp.ones((1, 4096, 3)), jnp.ones((1, 1000, 3))
    for array, kernel in ((x, True), (few, False)):
        program = jax.jit(channel_sums.moments).lower(array).as_text()
        assert (KERNEL in program) is kernel
    exported = jax.export.export(jax.jit(channel_sums.moments))(x)
    assert KERNEL not in str(exported.mlir_module())
    assert_same_trees(exported.call(x), plain_moments(x))


@needs_kernels
def test_several_devices_get_operations_of_xla():
    """Which XLA splits; inside a shard_map too, where the types tell of the devices."""
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = python("-P", "-c", textwrap.dedent(DEVICES), env=env)
    assert done.returncode == 0, done.stderr[-3000:]


DEVICES = """
    import jax, jax.numpy as jnp, numpy as np
    from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
    import jaxgroups as jg

    mesh = jax.make_mesh((4,), ("x",), axis_types=(AxisType.Auto,))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 20, 20, 6)), "float32")

    def batch_norm(x):
        return jg.batch_norm(x, None, None, training=True, data_format="channels_last")

    def gradient(x):
        return jax.grad(lambda x: jnp.sum(batch_norm(x) ** 3))(x)

    compiled = jax.jit(gradient)
    placed = jax.device_put(x, NamedSharding(mesh, P("x")))
    assert "jaxgroups_channel_" in compiled.lower(x).as_text()
    assert "jaxgroups_channel_" not in compiled.lower(placed).as_text()
    np.testing.assert_allclose(compiled(placed), compiled(x), atol=2e-4)
    each = jax.jit(jax.shard_map(gradient, mesh=mesh, in_specs=P("x"), out_specs=P("x")))
    parts = jnp.concatenate([compiled(part) for part in jnp.split(x, 4)])
    np.testing.assert_allclose(each(placed), parts, atol=2e-4)

    explicit = jax.make_mesh((4,), ("x",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(explicit):
        typed = jax.device_put(x, NamedSharding(explicit, P("x")))
        np.testing.assert_allclose(compiled(typed), compiled(x), atol=2e-4)
"""
