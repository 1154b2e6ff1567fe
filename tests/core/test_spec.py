"""ConvSpec: descriptor, shapes and counts, against counting and over random specs."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import reference
from support.cases import CASES, TRANSPOSED_GRID
from support.helpers import arguments, run, to_first, to_last, weight_to_last, whole

import jaxgroups as jg
from jaxgroups import ConvSpec
from jaxgroups._spec import arithmetic

EVERY = [*CASES.values(), *TRANSPOSED_GRID]


@st.composite
def specs(draw, small=False):
    """Random specs whose input is known; `small` ones are cheap enough to compute."""
    rank = draw(st.integers(1, 2 if small else 3))
    transposed = draw(st.booleans())
    groups = draw(st.integers(1, 3))

    def axes(low, high):
        return st.tuples(*[st.integers(low, high)] * rank)

    kernel, stride, dilation = draw(axes(1, 3)), draw(axes(1, 3)), draw(axes(1, 3))
    padding = tuple((p, p) for p in draw(axes(0, 3)))
    mode = "zeros" if transposed else draw(st.sampled_from(["zeros", "replicate"]))
    output_padding = (0,) * rank
    if transposed:
        output_padding = tuple(
            draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
        )
    least = [
        max(1, arithmetic.dilated(k, d) - 2 * p[0]) if not transposed else 1 + 2 * p[0]
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    ]
    size = tuple(n + draw(st.integers(0, 3)) for n in least)
    return ConvSpec(
        in_channels=groups * draw(st.integers(1, 3)),
        out_channels=groups * draw(st.integers(1, 3)),
        kernel_size=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        output_padding=output_padding,
        groups=groups,
        transposed=transposed,
        padding_mode=mode,
        bias=draw(st.booleans()),
        batch=draw(st.sampled_from([(), (0,), (2,)])),
        size=size,
        dtype="float64" if small else draw(st.sampled_from(["float32", "bfloat16", "complex64"])),
        data_format="channels_first"
        if small
        else draw(st.sampled_from(["channels_first", "channels_last"])),
    )


@given(specs())
def test_descriptor_parses_back(spec):
    assert ConvSpec.parse(str(spec)) == spec
    layer = replace(spec, batch=None, size=None)
    assert ConvSpec.parse(str(layer)) == layer
    assert hash(ConvSpec.parse(str(spec))) == hash(spec)


@given(specs())
def test_output_shape_is_what_jax_computes(spec):
    shapes = [jax.ShapeDtypeStruct(s, spec.dtype) for s in (spec.input_shape, spec.weight_shape)]

    def f(x, w):
        return run(spec, x, w, data_format=spec.data_format)

    assert jax.eval_shape(f, *shapes).shape == spec.output_shape


@given(
    st.integers(1, 12), st.integers(1, 4), st.integers(1, 4), st.integers(0, 4), st.integers(1, 3)
)
def test_sizes_by_counting(length, k, s, p, d):
    """Count the window positions that fit, instead of the formula."""
    positions = [i for i in range(0, length + 2 * p, s) if i + d * (k - 1) < length + 2 * p]
    if arithmetic.dilated(k, d) <= length + 2 * p:
        assert arithmetic.conv_size(length, k, s, (p, p), d) == len(positions)
    reached = {i * s + j * d for i in range(length) for j in range(k)}
    full = max(reached) + 1
    assert arithmetic.conv_transpose_size(length, k, s, (p, p), d, 0) == full - 2 * p


@settings(max_examples=25)
@given(specs(small=True), st.integers(0, 2**32 - 1))
def test_layouts_agree_and_are_the_definition(spec, seed):
    rng = np.random.default_rng(seed)
    x, w = whole(rng, spec.input_shape), whole(rng, spec.weight_shape)
    first = run(spec, x, w)
    last = run(spec, to_last(x, spec.rank), weight_to_last(w), data_format="channels_last")
    np.testing.assert_array_equal(first, to_first(last, spec.rank))
    batched = x if spec.batch else x[None]
    np.testing.assert_array_equal(
        first, reference.of_spec(spec, batched, w, None).reshape(first.shape)
    )


@pytest.mark.parametrize("spec", EVERY, ids=str)
def test_counts(spec):
    """Parameters by counting the weight, multiply-adds by counting uses of every weight."""
    assert spec.weights == np.zeros(spec.torch_weight_shape).size
    assert spec.parameters == spec.weights + (spec.out_channels if spec.bias else 0)
    pixels = spec.size if spec.transposed else spec.output_size
    assert spec.flops == 2 * spec.weights * int(np.prod(pixels)) * int(np.prod(spec.batch))
    assert spec.depthwise == (spec.groups == spec.in_channels and spec.groups > 1)


@pytest.mark.parametrize("spec", EVERY, ids=str)
def test_built_from_torch_arguments(spec):
    """The canonical record is the same from ints, tuples, lists, numpy ints and generators."""
    uneven = any(lo != hi for lo, hi in spec.padding)
    if uneven and not all(hi - lo in (0, 1) for lo, hi in spec.padding):
        pytest.skip("no torch arguments say this padding")
    kw = arguments(spec) | {"bias": spec.bias}
    forms = [tuple, list, lambda v: (i for i in v), lambda v: [np.int64(i) for i in v]]
    for form in forms:
        these = {k: form(v) if isinstance(v, tuple) else v for k, v in kw.items()}
        built = ConvSpec.of(
            spec.op, spec.in_channels, spec.out_channels, form(spec.kernel_size), **these
        )
        shape = spec.input_shape
        assert built.with_input(shape) == spec


def test_an_int_fills_all_axes():
    spec = ConvSpec.of("conv3d", 4, 6, 3, stride=2, padding=1, dilation=2, groups=2)
    assert spec.kernel_size == (3, 3, 3)
    assert (spec.stride, spec.dilation, spec.padding) == ((2, 2, 2), (2, 2, 2), ((1, 1),) * 3)


def test_same_puts_the_odd_element_right():
    spec = ConvSpec.of("conv2d", 4, 6, (4, 3), padding="same", dilation=(1, 2))
    assert spec.padding == ((1, 2), (2, 2))
    assert spec.with_input((4, 9, 9)).output_size == (9, 9)


def test_the_record_is_frozen_and_checked_on_replace():
    spec = CASES["two-groups"]
    with pytest.raises(AttributeError):
        spec.groups = 1  # type: ignore[misc]
    with pytest.raises(ValueError, match="in_channels must be divisible by groups"):
        replace(spec, groups=3)


def test_explain_says_which_and_why():
    answer = jg.explain("conv2d in=4 out=8 kernel=1 groups=2 bias=False batch=1 size=1")
    assert (answer.parameters, answer.parameters_groups1, answer.flops) == (16, 32, 32)
    assert answer.output_shape == (1, 8, 1, 1)
    assert answer.implementation in str(answer)
    layer = jg.explain(ConvSpec.of("conv2d", 4, 8, 1, groups=2))
    assert layer.implementation is None
    assert "size=" in str(layer)
