"""Rearrangements as steps: against NumPy, and in the programs of gradients."""

import math
import random
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from support.helpers import assert_same, whole

import jaxgroups as jg
from jaxgroups import ConvSpec
from jaxgroups import _native as native
from jaxgroups._op import primitive
from jaxgroups._problem import view_ops
from jaxgroups._problem.problem import problem_of
from jaxgroups._problem.strides import Strides

NATIVE = pytest.mark.skipif(
    native.status().missing is not None, reason=f"NO KERNELS to call: {native.status().missing}"
)


def elements(strides):
    """The numbers of the elements, by loops over the factors of every axis."""
    numbers = np.array(strides.offset)
    for axis in strides.axes:
        along = np.zeros((), int)
        for size, step in axis:
            along = along[..., None] + step * np.arange(size)
        numbers = numbers[..., None] + along.reshape(-1)
    return numbers


def factorized(dice, total):
    """A shape of so many elements."""
    shape = []
    while total > 1:
        n = dice.choice([d for d in range(1, total + 1) if total % d == 0])
        shape.append(n)
        total //= n
    return tuple(shape)


@pytest.mark.parametrize("seed", range(60))
def test_moves_are_those_of_numpy(seed):
    dice = random.Random(seed)
    shape = factorized(dice, dice.choice([24, 30, 36, 64]))
    strides, array = Strides.of(shape), np.arange(math.prod(shape)).reshape(shape)
    for _ in range(8):
        axes = range(array.ndim)
        kind = dice.choice(["transpose", "reverse", "reshape"])
        if kind == "transpose":
            order = dice.sample(axes, array.ndim)
            strides, array = strides.transpose(order), array.transpose(order)
        elif kind == "reverse":
            some = [axis for axis in axes if dice.random() < 0.5]
            strides, array = strides.reverse(some), np.flip(array, some)
        else:
            to = factorized(dice, array.size)
            reshaped = strides.reshape(to)
            if reshaped is None:
                assert array.size != 64  # powers of two can always be cut
                continue
            strides, array = reshaped, array.reshape(to)
        assert strides.shape == array.shape
        assert_same(elements(strides), array)
        numbers = strides.strides()
        if numbers is not None:
            at = [
                strides.offset + sum(map(math.prod, zip(i, numbers, strict=True)))
                for i in np.ndindex(*array.shape)
            ]
            assert at == array.ravel().tolist()


def test_an_axis_that_needs_part_of_a_factor_is_refused():
    turned = Strides.of((4, 6)).transpose((1, 0))
    assert turned.reshape((8, 3)) is None  # 4 and 6 have no common factor to cut at
    assert turned.reshape((3, 2, 2, 2)).strides() == (2, 1, 12, 6)
    assert turned.reshape((3, 8)).strides() is None  # 2, 4: two strides
    assert turned.reshape((24,)).strides() is None


def test_a_reshape_joins_what_belongs_together():
    assert Strides.of((2, 3, 4)).reshape((6, 2, 2)).axes == (((6, 4),), ((2, 2),), ((2, 1),))
    assert Strides.of((6, 4)).reverse((0,)).reshape((2, 3, 4)).strides() == (-12, -4, 1)
    assert Strides.of((6, 4)).reverse((0, 1)).reshape((24,)).strides() == (-1,)
    assert Strides.of((2, 1, 3)).reshape((1, 6)).strides() == (0, 1)
    assert Strides.of(()).reshape((1, 1)).strides() == (0, 0)


@pytest.mark.parametrize("seed", range(20))
def test_moves_of_a_program_are_found_and_done(seed):
    """Random moves, traced: the types, the array and the steps are those of the program."""
    dice = random.Random(seed)
    shape = factorized(dice, dice.choice([24, 36, 64]))

    def program(x):
        for _ in range(5):
            to = factorized(dice, x.size)
            order = dice.sample(range(len(to)), len(to))
            x = lax.rev(lax.transpose(lax.reshape(x, to), order), order[::2])
            x = lax.reshape(x, to, dice.sample(range(len(to)), len(to)))  # that transposes first
        return x

    jaxpr = jax.make_jaxpr(program)(jnp.zeros(shape)).jaxpr
    found = tuple(map(view_ops.view_op_of, jaxpr.eqns))
    assert None not in found
    array = np.arange(math.prod(shape)).reshape(shape)
    right = jax.core.eval_jaxpr(jaxpr, [], array)[0]
    assert_same(view_ops.apply_views(array, found), right)
    aval = view_ops.apply_views_to_aval(jaxpr.invars[0].aval, found)
    assert (aval.shape, aval.dtype) == (right.shape, jnp.zeros(()).dtype)
    strides = view_ops.strides_of(shape, found)
    if strides is None:
        assert array.size != 64
    else:
        assert_same(elements(strides), right)


def test_what_is_more_than_a_move_is_none():
    program = lambda x: (-x, x.T + 1, x[:2], lax.reshape(x, (9,)))  # noqa: E731
    eqns = jax.make_jaxpr(program)(jnp.zeros((3, 3))).jaxpr.eqns
    names = [eqn.primitive.name for eqn in eqns if view_ops.view_op_of(eqn)]
    assert (names, len(eqns)) == (["transpose", "reshape"], 5)


# --- the weights of programs ----------------------------------------------------------------------

FORMS = {
    "1d": ((2, 9, 6), (3, 2, 9), "NWC", "WIO", {"groups": 3}),
    "2d": ((2, 6, 7, 8), (3, 2, 4, 6), "NHWC", "HWIO", {"groups": 2, "stride": (2, 1)}),
    "torch's layout": ((2, 8, 6, 7), (6, 4, 3, 2), "NCHW", "OIHW", {"groups": 2}),
    "odd layout": ((8, 6, 2, 7), (2, 6, 4, 3), "CHNW", "WOIH", {"groups": 2}),
    "depthwise": ((2, 6, 7, 5), (3, 3, 1, 10), "NHWC", "HWIO", {"groups": 5}),
    "dense": ((2, 6, 7, 4), (3, 3, 4, 9), "NHWC", "HWIO", {"groups": 1}),
    "3d": (
        (1, 4, 3, 5, 6),
        (2, 1, 3, 3, 4),
        "NDHWC",
        "DHWIO",
        {"groups": 2, "dilation": (2, 1, 1)},
    ),
    "wide": ((1, 5, 4, 48), (2, 2, 24, 70), "NHWC", "HWIO", {"groups": 2}),
}


def convolution(form, implementation):
    """The form as a function of x and w, and operands."""
    x, w, data, kernel, kw = FORMS[form]
    rank = len(x) - 2
    how = {
        "window_strides": kw.get("stride", (1,) * rank),
        "padding": ((1, 1),) * rank,
        "rhs_dilation": kw.get("dilation", (1,) * rank),
        "feature_group_count": kw["groups"],
        "dimension_numbers": (data, kernel, data),
    }
    if implementation == "lax":
        function = lambda x, w: lax.conv_general_dilated(x, w, **how)  # noqa: E731
    else:
        function = lambda x, w: primitive.bind(x, w, implementation, **how)  # noqa: E731
    rng = np.random.default_rng(0)
    return function, whole(rng, x), whole(rng, w)


def input_gradient(function):
    return lambda x, w, ct: jax.vjp(lambda x: function(x, w), x)[1](ct)[0]


def assert_read_in_place(function, weights, *operands):
    """Of the compiled function's program: its kernels read `weights`, which nothing moves."""
    text = jax.jit(function).lower(*operands).as_text()
    kind = re.escape(f"tensor<{'x'.join(map(str, weights))}x") + r"f\d+>"
    assert re.search(rf"custom_call @jaxgroups_forward.* : \(tensor<\w+>, {kind}\) ->", text)
    assert not re.search(rf"stablehlo\.(reverse|transpose|reshape).* : (\({kind}\)|{kind}$)", text)
    assert "reverse" not in text


@NATIVE
@pytest.mark.parametrize("form", FORMS)
def test_gradients_read_the_weights_where_they_are(form):
    results = []
    for implementation in ("lax", "native"):
        function, x, w = convolution(form, implementation)
        gradient, ct = input_gradient(function), np.asarray(function(x, w))
        results.append(jax.jit(gradient)(x, w, ct))
    assert_same(results[1], results[0])
    assert_read_in_place(gradient, w.shape, x, w, ct)


@NATIVE
@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_transposed_convolutions_read_the_weights_where_they_are(data_format):
    """Forward, and the input gradient, whose moves undo those of the forward."""
    rng = np.random.default_rng(0)
    first = data_format == "channels_first"
    x = whole(rng, (2, 12, 6, 7) if first else (2, 6, 7, 12))
    w = whole(rng, (12, 5, 3, 2) if first else (3, 2, 5, 12))

    def call(x, w, implementation="native"):
        how = {"stride": 2, "groups": 3, "data_format": data_format}
        return jg.conv_transpose2d(x, w, None, implementation=implementation, **how)

    ct = np.asarray(call(x, w, "xla"))
    assert_same(call(x, w), ct)
    assert_read_in_place(call, w.shape, x, w)
    gradients = [
        jax.jit(input_gradient(partial(call, implementation=i))) for i in ("xla", "native")
    ]
    assert_same(*(gradient(x, w, ct) for gradient in gradients))
    assert_read_in_place(gradients[1], w.shape, x, w, ct)


@NATIVE
@pytest.mark.parametrize("axes", [(0, 0), (None, 0), (1, 2)])
def test_moves_under_vmap(axes):
    """Of the input gradient: a batch of weights becomes groups, which moves them again."""
    results = []
    for implementation in ("lax", "native"):
        function, x, w = convolution("2d", implementation)
        ct = np.asarray(function(x, w))
        batches = [
            np.stack([a, 2 * a + 1, 3 * a], axis) if axis is not None else a
            for a, axis in zip((ct, w), axes, strict=True)
        ]
        called = jax.vmap(lambda ct, w, f=function: input_gradient(f)(x, w, ct), axes)  # noqa: B023
        results.append(jax.jit(called)(*batches))
    assert_same(*results)


@NATIVE
@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_second_derivatives_move_moved_weights(data_format, rng):
    """The gradient of a gradient: moves of what was moved, in all their transposes."""
    first = data_format == "channels_first"
    x = whole(rng, (2, 12, 6, 5) if first else (2, 6, 5, 12))
    w = whole(rng, (12, 5, 3, 2) if first else (3, 2, 5, 12))
    weights = np.stack([w, 2 * w - 1, w[::-1]])

    def transposed(x, w):
        how = {"stride": 2, "groups": 3, "padding": 1, "data_format": data_format}
        return jg.conv_transpose2d(x, w, implementation="native", **how)

    def adjoint(x, w):
        """Of lax's convolution with the same weight, which is what a transposed one is."""
        names = ("NCHW", "OIHW", "NCHW") if first else ("NHWC", "HWIO", "NHWC")
        how = {"dimension_numbers": names, "feature_group_count": 3}
        conv = lambda u: lax.conv_general_dilated(u, w, (2, 2), [(1, 1)] * 2, **how)  # noqa: E731
        u = jnp.zeros((2, 15, 11, 8) if first else (2, 11, 8, 15))
        return jax.linear_transpose(conv, u)(x)[0]

    def derivatives(of):
        def penalty(x, w):
            return jnp.sum(jax.grad(lambda x: jnp.sum(of(x, w) ** 2))(x) ** 2)

        both = jax.grad(penalty, (0, 1))
        return *jax.jit(both)(x, w), jax.jit(jax.vmap(both, (None, 0)))(x, weights)[1]

    for ours, theirs in zip(derivatives(transposed), derivatives(adjoint), strict=True):
        assert_same(ours, theirs)


@NATIVE
def test_moves_that_have_no_steps_are_done_by_xla(rng):
    """A kernel of two axes that do not follow each other has no single step."""
    problem = problem_of(ConvSpec.parse("conv1d in=6 out=9 kernel=3 groups=3 batch=2 size=9"))
    function = partial(primitive.compute, problem, kernel=split)
    x, w = whole(rng, (2, 6, 9)), whole(rng, (3, 6, 3))
    ours, theirs = (jax.jit(partial(function, implementation=i)) for i in ("native", "xla"))
    assert_same(ours(x, w), theirs(x, w))
    assert "jaxgroups.native" in ours.lower(x, w).as_text(debug_info=True)


def split(w):
    return lax.reshape(lax.transpose(lax.reshape(w, (3, 2, 3, 3)), (3, 0, 2, 1)), (9, 2, 3))


@NATIVE
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_weights_of_other_dtypes_are_read_where_they_are(dtype):
    function, x, w = convolution("2d", "native")
    plain, *_ = convolution("2d", "lax")
    x, w = jnp.asarray(x, dtype), jnp.asarray(w, dtype)
    ct = plain(x, w)
    got = jax.jit(input_gradient(function))(x, w, ct)
    exact = input_gradient(plain)(*(a.astype("float64") for a in (x, w, ct)))
    assert got.dtype == dtype
    assert_same(got.astype("float64"), exact.astype(dtype).astype("float64"))
