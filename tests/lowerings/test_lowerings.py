"""One body of tests over all lowerings: values and both gradients of every case, exact.

The judge of the forward is the NumPy definition; of the gradients lax's own convolution, which
`test_transforms.py` and the torch suites judge in their turn.
"""

from dataclasses import replace
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import reference
from support.cases import CASES, TRANSPOSED_GRID
from support.helpers import (
    assert_same,
    distinct,
    unsupported_reason,
    weight_to_last,
    whole,
)

from jaxgroups import ConvSpec, explain
from jaxgroups import _native as native
from jaxgroups._lowerings import LOWERINGS, dispatch, matmul, shift
from jaxgroups._lowerings.views import Forward, WeightGradient, view_of
from jaxgroups._op import equations, primitive
from jaxgroups._op.functional import TransposedKernel
from jaxgroups._problem.problem import problem_of

BY_NAME = {lowering.name: lowering for lowering in LOWERINGS}
FAST = [name for name in BY_NAME if name != "xla"]
ZEROS = {n: s for n, s in CASES.items() if s.padding_mode == "zeros" and 0 not in s.batch}
GRID = {str(spec): spec for spec in TRANSPOSED_GRID[::16]}
LAYOUTS = ("channels_first", "channels_last")


def unbatched_as_one(spec):
    return replace(spec, batch=spec.batch or (1,))


def ran(function, name, *operands):
    """Result of the compiled function, and that it holds operations of the lowering `name`."""
    lowered = jax.jit(function).lower(*operands)
    assert f"jaxgroups.{name}" in lowered.as_text(debug_info=True)
    return lowered.compile()(*operands)


def gradients_of(function, lhs, rhs):
    """The two transposes of a bilinear function, each of the cotangent and the other operand."""
    return (
        lambda ct: jax.linear_transpose(lambda lhs: function(lhs, rhs), lhs)(ct)[0],
        lambda ct: jax.linear_transpose(lambda rhs: function(lhs, rhs), rhs)(ct)[0],
    )


def gradient_problems(problem, lhs, rhs, ct, kernel=None):
    """The problems that lax's transposes of a problem are."""
    plain = lambda lhs, rhs: primitive.compute(problem, lhs, rhs, None, kernel)  # noqa: E731
    for gradient in gradients_of(plain, lhs, rhs):
        (eqn,) = equations.convolutions(jax.make_jaxpr(gradient)(ct).jaxpr)
        yield equations.problem_in(eqn)


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("case", [*ZEROS, *GRID])
def test_values_and_gradients_are_exact(rng, case, name):
    spec = unbatched_as_one((ZEROS | GRID)[case])
    # each layout sees half of the cases, which half differs between the lowerings
    layout = LAYOUTS[(list(ZEROS | GRID).index(case) + FAST.index(name)) % 2]
    spec = replace(spec, data_format=layout)
    problem = problem_of(spec)
    if unsupported_reason(BY_NAME[name], problem):
        with pytest.raises(ValueError, match=f"implementation='{name}' does not take this"):
            dispatch.choose(problem, name, "cpu")
        return
    x = whole(rng, (*spec.batch, spec.in_channels, *spec.size))
    w = whole(rng, spec.torch_weight_shape)
    expected = reference.of_spec(replace(spec, data_format="channels_first"), x, w, None)
    lhs, rhs = x, w
    if layout == "channels_last":
        lhs, rhs, expected = np.moveaxis(x, 1, -1), weight_to_last(w), np.moveaxis(expected, 1, -1)
    kernel = TransposedKernel(spec) if spec.transposed else None
    lhs, rhs = jnp.asarray(lhs), jnp.asarray(rhs)

    def forced(lhs, rhs):
        return primitive.compute(problem, lhs, rhs, name, kernel)

    assert_same(ran(forced, name, lhs, rhs), expected)
    ct = whole(rng, expected.shape)
    plain = gradients_of(lambda *a: primitive.compute(problem, *a, "xla", kernel), lhs, rhs)
    derived = gradient_problems(problem, lhs, rhs, ct, kernel)
    for ours, lax, of in zip(gradients_of(forced, lhs, rhs), plain, derived, strict=True):
        takes = unsupported_reason(BY_NAME[name], of) is None
        assert_same(ran(ours, name if takes else "", ct), lax(ct))


SHAPES = {
    "depthwise": "conv2d in=48 out=48 kernel=3 padding=1 groups=48 batch=2 size=13x14",
    "small": "conv2d in=64 out=64 kernel=3 padding=1 groups=16 batch=2 size=13x14",
    "wide": "conv2d in=64 out=96 kernel=3 stride=2 padding=1 groups=2 batch=2 size=13x14",
    "1x1": "conv2d in=48 out=32 kernel=1 batch=2 size=13x14",
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "complex64"])
@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("shape", SHAPES)
def test_error_is_no_larger_than_that_of_lax(rng, shape, name, dtype):
    """Against float64 truth, at most twice lax's own error (plus one rounding of the result)."""
    spec = replace(ConvSpec.parse(SHAPES[shape]), data_format="channels_last", dtype=dtype)
    accumulate = "float32" if dtype in ("float16", "bfloat16") else None
    problem = problem_of(spec, preferred_element_type=accumulate)
    if unsupported_reason(BY_NAME[name], problem):
        assert (shape, name) in {("wide", "shift"), ("1x1", "shift"), ("depthwise", "matmul")} or (
            name == "native" and (dtype == "complex64" or native.status().missing)
        )
        return
    lhs, rhs = (
        jnp.asarray(rng.standard_normal(s)).astype(dtype)
        for s in (problem.lhs_shape, problem.rhs_shape)
    )
    exact = problem_of(replace(spec, dtype="complex128" if dtype == "complex64" else "float64"))
    truth = primitive.compute(exact, lhs.astype(exact.dtype), rhs.astype(exact.dtype), "xla")
    ours, lax = (
        primitive.compute(problem, lhs, rhs, by).astype(exact.dtype) for by in (name, "xla")
    )
    size = float(jnp.abs(truth).max())
    error = lambda y: float(jnp.abs(y - truth).max())  # noqa: E731
    assert error(ours) <= 2 * error(lax) + float(jnp.finfo("float32").eps) * size


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64"])
def test_integers_are_exact(rng, dtype):
    spec = replace(ZEROS["depthwise-x2"], data_format="channels_last", dtype=dtype)
    problem = problem_of(spec)
    lhs = jnp.asarray(whole(rng, problem.lhs_shape, dtype, bound=3))
    rhs = jnp.asarray(whole(rng, problem.rhs_shape, dtype, bound=3))
    y = ran(lambda *a: primitive.compute(problem, *a, "shift"), "shift", lhs, rhs)
    assert_same(y, primitive.compute(problem, lhs, rhs, "xla"))


def test_a_weight_gradient_of_a_transposed_convolution_exchanges_its_operands(rng):
    spec = replace(CASES["T-two-groups"], data_format="channels_last")
    problem = problem_of(spec)
    lhs, rhs = distinct(rng, problem.lhs_shape), distinct(rng, problem.rhs_shape)
    ct = distinct(rng, primitive.compute(problem, lhs, rhs, "xla").shape)
    left, right = gradient_problems(problem, lhs, rhs, ct)
    assert isinstance(view_of(left), Forward)
    assert isinstance(view_of(right), WeightGradient)
    assert view_of(right).exchanged


def test_the_form_without_a_view_is_refused():
    spec = replace(CASES["T-two-groups"], data_format="channels_last")
    problem = replace(
        problem_of(spec),
        batch_group_count=2,
        feature_group_count=1,
        lhs_shape=(4, 3, 4, 2),
        rhs_shape=(3, 2, 2, 6),
        rhs_dilation=(2, 2),
    )
    assert view_of(problem) is None
    assert unsupported_reason(BY_NAME["matmul"], problem) == "both operands are dilated"


REFUSALS = {
    ("shift", "1x1-strided"): None,
    ("shift", "wide-groups"): "more than 8 channels in a group",
    ("shift", "ordinary"): "groups=1",
    ("matmul", "depthwise"): "one channel in a group, no matrix",
    ("matmul", "zero-batch"): "an operand is empty",
}


@pytest.mark.parametrize(("name", "case"), REFUSALS)
def test_refusals_are_told_in_words(name, case):
    assert unsupported_reason(BY_NAME[name], problem_of(CASES[case])) == REFUSALS[name, case]


def test_phases_are_bounded():
    spec = ConvSpec.parse("conv_transpose2d in=8 out=8 kernel=3 stride=20 groups=4 batch=1 size=5")
    told = {
        name: unsupported_reason(BY_NAME[name], problem_of(spec)) for name in ("shift", "matmul")
    }
    assert told == {
        "shift": "400 output phases, more than 160, to unroll",
        "matmul": "400 output phases, more than 64, one by one",
    }


def test_unrolled_terms_are_bounded():
    spec = ConvSpec.parse("conv2d in=8 out=8 kernel=13 groups=8 batch=1 size=20")
    reason = unsupported_reason(BY_NAME["shift"], problem_of(spec))
    assert reason == f"169 terms, more than {shift.MOST_TERMS}, to unroll"


@pytest.mark.parametrize("case", ["T-many-taps-1d", "T-many-taps-2d"])
def test_phases_as_channels_leave_few_taps(case):
    view = view_of(problem_of(CASES[case]))
    plain = matmul.plain_view(view)
    assert plain.taps < view.taps / 4
    assert products(plain) < 2 * products(view) / prod(view.lhs_dilation)
    assert matmul.plain_view(view_of(problem_of(CASES["T-two-groups"]))) is None


def products(view):
    """Products of a view, those with zeros of padding or dilation included."""
    return view.batch * prod(view.out) * view.taps * view.groups * view.c * view.o


CHOSEN = {
    "conv2d in=128 out=128 kernel=3 padding=1 groups=128 batch=1 size=56": "shift",
    "conv2d in=128 out=128 kernel=3 padding=1 groups=32 batch=1 size=56": "shift",
    "conv2d in=256 out=256 kernel=3 padding=1 groups=32 batch=4 size=28": "shift",
    "conv2d in=512 out=512 kernel=3 padding=1 groups=32 batch=1 size=14": "matmul",
    "conv2d in=48 out=48 kernel=3 padding=1 groups=2 batch=1 size=56": "matmul",
    "conv2d in=48 out=48 kernel=3 padding=1 groups=2 batch=4 size=56": "xla",
    "conv2d in=16 out=16 kernel=3 padding=1 groups=2 batch=1 size=56": "matmul",
    "conv2d in=240 out=480 kernel=1 groups=3 batch=1 size=7": "matmul",
    "conv2d in=64 out=128 kernel=3 padding=1 batch=1 size=56": "xla",
    "conv2d in=64 out=2 kernel=3 padding=1 batch=1 size=56": "xla",
    "conv_transpose1d in=514 out=1 kernel=512 stride=128 batch=1 size=40": "matmul",
    "conv2d in=1024 out=2048 kernel=1 batch=1 size=7": "matmul",
    "conv2d in=512 out=1024 kernel=1 batch=1 size=14": "matmul",
}
NOT_NATIVE = {
    "conv2d in=1024 out=2048 kernel=1 batch=1 size=7",
    "conv_transpose1d in=514 out=1 kernel=512 stride=128 batch=1 size=40",
}


def check_choice(text, expected):
    best = explain(text, platform="cpu")
    assert best.implementation == expected
    before = dispatch.names()[: dispatch.names().index(expected)]
    assert tuple(best.refused) == before
    assert all(best.refused.values())
    for platform in ("gpu", "tpu"):
        elsewhere = explain(text, platform=platform)
        assert elsewhere.implementation == "xla"
        assert list(elsewhere.refused) == FAST


@pytest.mark.usefixtures("without_kernels")
@pytest.mark.parametrize("text", CHOSEN)
def test_the_choice_without_kernels(text):
    check_choice(text, CHOSEN[text])


@pytest.mark.usefixtures("with_kernels")
@pytest.mark.parametrize("text", CHOSEN)
def test_the_choice_with_kernels(text):
    check_choice(text, CHOSEN[text] if text in NOT_NATIVE else "native")
