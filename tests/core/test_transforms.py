"""Every JAX transformation of a grouped convolution, judged by the oracle or by plain algebra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from support import reference
from support.cases import CASES, TRANSPOSED_GRID
from support.helpers import arguments, arrays, assert_same, from_same, run, whole

import jaxgroups as jg
from jaxgroups import ConvSpec

TORCHLIKE = {name: spec for name, spec in CASES.items() if from_same(spec)}
SOME = [
    "two-groups",
    "stride-2",
    "depthwise-x2",
    "circular",
    "1d",
    "T-two-groups",
    "T-depthwise-x2",
]
ZEROS = [
    pytest.param(spec, id=name)
    for name, spec in TORCHLIKE.items()
    if spec.padding_mode == "zeros" and not spec.transposed and 0 not in spec.batch
]


@pytest.mark.parametrize("spec", ZEROS)
def test_transposed_is_the_adjoint(rng, spec):
    """<conv(x), y> == <x, conv_transpose(y)> with the same weight, in whole numbers, exactly."""
    if any(lo != hi for lo, hi in spec.padding):
        pytest.skip("a transposed convolution has no 'same' padding")
    x, w, _ = arrays(rng, spec)
    y = whole(rng, spec.output_shape)
    kw = {name: getattr(spec, name) for name in ("stride", "dilation", "groups")}
    kw["padding"] = tuple(lo for lo, _ in spec.padding)
    forward = getattr(jg, spec.op)(x, w, **kw)
    transpose = getattr(jg, spec.op.replace("conv", "conv_transpose"))
    back = transpose(y, w, output_size=spec.size, **kw)
    left = np.vdot(np.asarray(forward).astype(np.int64), y.astype(np.int64))
    right = np.vdot(x.astype(np.int64), np.asarray(back).astype(np.int64))
    assert left == right
    assert left != 0


def _loss_oracle(spec, x, w, b, cotangent):
    """Gradients of sum(y * cotangent) from the definition, by linearity, one basis vector each."""

    def loss(x, w, b):
        y = reference.of_spec(spec, x if spec.batch else x[None], w, b)
        return float(np.sum(y.reshape(cotangent.shape) * cotangent))

    zero_b = None if b is None else np.zeros_like(b)

    def gradient(array, at):
        out = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            basis = np.zeros_like(array)
            basis[index] = 1
            out[index] = at(basis)
        return out

    return (
        gradient(x, lambda e: loss(e, w, zero_b)),
        gradient(w, lambda e: loss(x, e, zero_b)),
        None if b is None else gradient(b, lambda e: loss(np.zeros_like(x), w, e)),
    )


_2D = "in=4 out=6 kernel=2x1 groups=2 batch=1"
_1D = "in=4 out=6 kernel=3 groups=2 batch=1"
SMALL = {
    "conv": f"conv2d {_2D} stride=1x2 padding=1 dilation=2x1 size=3x4",
    "depthwise": "conv1d in=3 out=6 kernel=3 padding=1 groups=3 batch=2 size=4",
    "reflect": f"conv1d {_1D} padding=2 padding_mode=reflect size=4",
    "circular": f"conv1d {_1D} padding=3 padding_mode=circular size=3",
    "transposed": f"conv_transpose2d {_2D} stride=2x1 padding=1x0 output_padding=1x0 size=2x3",
}


@pytest.mark.parametrize("name", SMALL)
def test_gradients_are_those_of_the_definition(rng, name):
    spec = ConvSpec.parse(SMALL[name])
    x, w, b = arrays(rng, spec)
    cotangent = whole(rng, spec.output_shape)
    _, vjp = jax.vjp(lambda x, w, b: run(spec, x, w, b), x, w, b)
    for ours, theirs in zip(vjp(cotangent), _loss_oracle(spec, x, w, b, cotangent), strict=True):
        assert_same(ours, theirs)


@pytest.mark.parametrize("name", SMALL)
def test_second_order_in_both_modes(rng, name):
    spec = ConvSpec.parse(SMALL[name])
    x, w, b = (jnp.asarray(a) / 10 for a in arrays(rng, spec))
    check_grads(lambda *a: run(spec, *a), (x, w, b), order=2, modes=("fwd", "rev"), rtol=1e-6)


@pytest.mark.parametrize("name", SOME)
def test_jit_equals_eager(rng, name):
    spec = CASES[name]
    a = arrays(rng, spec)
    assert_same(jax.jit(lambda *a: run(spec, *a))(*a), run(spec, *a))


@pytest.mark.parametrize("size", [0, 3])
@pytest.mark.parametrize("over", ["x", "weight", "both", "bias"])
@pytest.mark.parametrize("name", SOME)
def test_vmap_is_a_stack(rng, name, over, size):
    spec = CASES[name]
    x, w, b = arrays(rng, spec)
    axes = {"x": (1, None, None), "weight": (None, 2, None), "both": (1, 0, None)}
    axes["bias"] = (None, None, 1)
    stacked = [
        a
        if axis is None
        else np.stack([whole(rng, a.shape) for _ in range(3)], axis)[
            (slice(None),) * axis + (slice(0, size),)
        ]
        for a, axis in zip((x, w, b), axes[over], strict=True)
    ]
    y = jax.vmap(lambda *a: run(spec, *a), axes[over])(*stacked)
    assert y.shape == (size, *spec.output_shape)
    for i in range(size):
        one = [
            a if axis is None else np.take(a, i, axis)
            for a, axis in zip(stacked, axes[over], strict=True)
        ]
        assert_same(y[i], run(spec, *one))


@pytest.mark.parametrize("name", ["two-groups", "depthwise-x2", "T-two-groups"])
def test_per_example_gradients(rng, name):
    """vmap of grad over examples: each row is the gradient of its example alone."""
    spec = CASES[name]
    x, w, b = arrays(rng, spec)
    cotangent = whole(rng, spec.output_shape)

    def loss(w, x, c):
        return jnp.sum(run(spec, x[None], w, b)[0] * c)

    rows = jax.vmap(jax.grad(loss), (None, 0, 0))(w, x, cotangent)
    assert_same(rows, np.stack([jax.grad(loss)(w, x[i], cotangent[i]) for i in range(len(x))]))
    # and together they are the gradient of the batch, which the definition judges elsewhere
    _, vjp = jax.vjp(lambda w: run(spec, x, w, b), w)
    assert_same(rows.sum(0), vjp(cotangent)[0])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["two-groups", "depthwise-x2", "T-two-groups"])
def test_low_precision_gradients_keep_their_dtype(rng, name, dtype):
    spec = CASES[name]
    x, w, b = (jnp.asarray(a, dtype) for a in arrays(rng, spec, make=_tiny))
    for wanted in (None, jnp.float32):
        y, vjp = jax.vjp(lambda *a, p=wanted: run(spec, *a, preferred_element_type=p), x, w, b)
        assert y.dtype == (wanted or dtype)
        cotangent = jnp.asarray(_tiny(rng, y.shape), y.dtype)
        grads = vjp(cotangent)
        assert [g.dtype.name for g in grads] == [dtype] * 3
        exact = jax.vjp(lambda *a: run(spec, *a), *(a.astype(jnp.float64) for a in (x, w, b)))[1](
            cotangent.astype(jnp.float64)
        )
        for g, e in zip(grads, exact, strict=True):
            assert_same(g, e.astype(dtype), atol=_rounding(dtype, e))


def _tiny(rng, shape, dtype="float64"):
    return whole(rng, shape, dtype, bound=3)


def _rounding(dtype, exact):
    """A gradient may be summed in float32 and rounded once or twice."""
    return 2 * float(jnp.finfo(dtype).eps) * max(float(jnp.abs(exact).max()), 1.0)


@pytest.mark.parametrize("name", ["two-groups", "depthwise-x2", "T-two-groups", "1d"])
def test_export_to_every_platform_from_this_machine(rng, name):
    """Forward and gradient of a grouped convolution lower for cpu, cuda and tpu."""
    spec = CASES[name]
    shapes = [
        jax.ShapeDtypeStruct(shape, jnp.float32)
        for shape in (spec.input_shape, spec.weight_shape, (spec.out_channels,))
    ]

    def value_and_gradients(x, w, b):
        y, vjp = jax.vjp(lambda *a: run(spec, *a), x, w, b)
        return y, vjp(y)

    exported = jax.export.export(jax.jit(value_and_gradients), platforms=("cpu", "cuda", "tpu"))(
        *shapes
    )
    assert exported.platforms == ("cpu", "cuda", "tpu")
    x, w, b = (jnp.asarray(a, jnp.float32) for a in arrays(rng, spec))
    for ours, theirs in zip(
        jax.tree.leaves(exported.call(x, w, b)),
        jax.tree.leaves(value_and_gradients(x, w, b)),
        strict=True,
    ):
        assert_same(ours, theirs)


def test_scan_and_remat(rng):
    """A layer used in a loop, its activations recomputed: gradients do not change."""
    spec = ConvSpec.parse("conv2d in=4 out=4 kernel=3 padding=1 groups=2 batch=1 size=4x5")
    x, w, b = arrays(rng, spec, make=_tiny)

    def looped(w):
        step = jax.checkpoint(lambda carry, _: (run(spec, carry, w, b) % 5, None))
        return jax.lax.scan(step, x, None, length=3)[0].sum()

    def unrolled(w):
        y = x
        for _ in range(3):
            y = run(spec, y, w, b) % 5
        return y.sum()

    assert_same(jax.grad(looped)(w), jax.grad(unrolled)(w))


def test_the_grid_is_what_the_usual_corpora_miss():
    """1 < groups < in, in/groups > 1, out/groups > 1, in != out, in every rank."""
    assert {spec.rank for spec in TRANSPOSED_GRID} == {1, 2, 3}
    for spec in TRANSPOSED_GRID:
        assert 1 < spec.groups < spec.in_channels != spec.out_channels
        assert spec.in_channels // spec.groups > 1
        assert spec.out_channels // spec.groups > 1
        assert arguments(spec)["output_padding"] == spec.output_padding
