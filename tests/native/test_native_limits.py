"""Sizes too large for the handlers: other implementations compute these convolutions."""

import numpy as np
import pytest
from support.helpers import distinct

import jaxgroups as jg
from jaxgroups import _native as native
from jaxgroups._lowerings.native import LOWERING
from jaxgroups._lowerings.views import view_of
from jaxgroups._problem.problem import problem_of

MISSING = native.status().missing
needs_kernels = pytest.mark.skipif(MISSING is not None, reason=f"NO KERNELS to call: {MISSING}")
LARGE = "the kernels take no value above 268435456"
REFUSED = {
    "conv1d in=6 out=6 kernel=1 stride=268435457 groups=6 batch=1 size=2": LARGE,
    "conv1d in=6 out=6 kernel=1 dilation=268435457 groups=6 batch=1 size=2": LARGE,
    "conv1d in=6 out=6 kernel=1 padding=268435457 groups=6 batch=1 size=2": LARGE,
    "conv1d in=6 out=6 kernel=1 groups=6 batch=1 size=268435457": LARGE,
    "conv1d in=6 out=6 kernel=1 groups=6 batch=268435457 size=2": LARGE,
    "conv_transpose1d in=6 out=6 kernel=1 stride=4097 groups=6 batch=1 size=2": (
        "the kernels take dilations of the input up to 4096"
    ),
}


@pytest.mark.usefixtures("with_kernels")
@pytest.mark.parametrize("text", REFUSED)
def test_what_the_handlers_refuse_is_not_given_to_them(text):
    problem = problem_of(jg.ConvSpec.parse(text))
    assert LOWERING.unsupported_reason(problem, view_of(problem), "cpu") == REFUSED[text]


@pytest.mark.parametrize("name", ["stride", "dilation"])
def test_a_huge_number_is_computed_all_the_same(rng, name):
    x, weight = distinct(rng, (1, 6, 2), "float32"), distinct(rng, (6, 1, 1), "float32")
    y = jg.conv1d(x, weight, groups=6, **{name: 2**28 + 1})
    np.testing.assert_array_equal(y[..., 0], (x * weight[:, 0])[..., 0])


@needs_kernels
def test_the_largest_dilation_of_the_input_is_computed(rng):
    x, weight = distinct(rng, (1, 6, 2), "float32"), distinct(rng, (6, 1, 2), "float32")
    y = jg.conv_transpose1d(x, weight, groups=6, stride=4096, implementation="native")
    expected = np.zeros((1, 6, 4098), "float32")
    for i in (0, 1):
        expected[..., 4096 * i : 4096 * i + 2] = x[..., i : i + 1] * weight[:, 0]
    np.testing.assert_array_equal(y, expected)
