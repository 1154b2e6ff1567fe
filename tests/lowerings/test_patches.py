"""Windows of whole strides, and the transposed convolutions of them, as matrix products.

The judge is the definition in NumPy loops, for the results and for both gradients.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import reference
from support.helpers import assert_same, run, whole

from jaxgroups import ConvSpec
from jaxgroups._lowerings import matmul, phases_to_channels, stride_to_channels
from jaxgroups._lowerings.views import Forward, WeightGradient, view_of
from jaxgroups._op import equations
from jaxgroups._problem.problem import problem_of

# sizes that leave a rest, channels of a group that differ, and equal ones that hide a wrong order
PATCHES = {
    "1-D": "conv1d in=6 out=8 kernel=4 stride=4 groups=2 batch=2 size=19",
    "1-D, equal sizes": "conv1d in=4 out=4 kernel=4 stride=4 batch=4 size=16",
    "2-D": "conv2d in=6 out=4 kernel=2x3 stride=2x3 groups=2 batch=3 size=9x10",
    "2-D, few outputs": "conv2d in=3 out=5 kernel=4x4 stride=4x4 batch=2 size=9x13",
    "2-D, equal sizes": "conv2d in=2 out=2 kernel=2x2 stride=2x2 batch=2 size=4x4",
    "2-D, padded": "conv2d in=4 out=6 kernel=3x2 stride=3x2 padding=1x1 groups=2 batch=2 size=7x6",
    "3-D": "conv3d in=4 out=6 kernel=2x1x3 stride=2x1x3 padding=1x0x1 groups=2 batch=2 size=4x3x7",
    "depthwise x2": "conv2d in=3 out=6 kernel=2x2 stride=2x2 groups=3 batch=2 size=5x7",
}
OVERLAPPING = {
    "1-D": "conv1d in=6 out=8 kernel=8 stride=4 padding=3 groups=2 batch=2 size=19",
    "1-D, long": "conv1d in=2 out=6 kernel=12 stride=3 groups=2 batch=2 size=31",
    "2-D": "conv2d in=6 out=4 kernel=4x2 stride=2x2 padding=1x0 groups=2 batch=2 size=9x8",
    "2-D, one axis": (
        "conv2d in=6 out=4 kernel=4x3 stride=2x1 dilation=1x2 padding=1x2 groups=2 batch=2 size=9x8"
    ),
    "3-D": "conv3d in=4 out=2 kernel=2x4x2 stride=2x2x2 groups=2 batch=2 size=4x7x6",
}
TRANSPOSED = {
    "1-D": "conv_transpose1d in=6 out=8 kernel=4 stride=4 groups=2 batch=2 size=5",
    "1-D, longer": (
        "conv_transpose1d in=6 out=8 kernel=4 stride=4 output_padding=3 groups=2 batch=2 size=5"
    ),
    "2-D": "conv_transpose2d in=6 out=4 kernel=2x3 stride=2x3 groups=2 batch=3 size=3x4",
    "2-D, cropped": "conv_transpose2d in=4 out=6 kernel=3x3 stride=3x3 padding=1 batch=2 size=3x4",
    "3-D": "conv_transpose3d in=4 out=6 kernel=2x1x3 stride=2x1x3 groups=2 batch=2 size=2x3x2",
}
ALL = {
    f"{kind}: {name}": ConvSpec.parse(text)
    for kind, of in (
        ("patches", PATCHES),
        ("overlapping", OVERLAPPING),
        ("transposed", TRANSPOSED),
    )
    for name, text in of.items()
}
DTYPES = ("float64", "float32", "bfloat16", "float16", "complex64")


def by_product(spec):
    return lambda x, w: run(spec, x, w, implementation="matmul")


def data(rng, spec, dtype="float64"):
    """x, weight and a cotangent: whole numbers, so that every sum is exact."""
    output = (*spec.batch, spec.out_channels, *spec.output_size)
    shapes = ((*spec.batch, spec.in_channels, *spec.size), spec.torch_weight_shape, output)
    kind = "complex128" if dtype == "complex64" else "float64"
    return tuple(whole(rng, shape, kind, bound=2) for shape in shapes)


def views(spec):
    """The views of a convolution and of its two gradients."""
    shapes = ((*spec.batch, spec.in_channels, *spec.size), spec.torch_weight_shape)
    operands = [jax.ShapeDtypeStruct(shape, "float32") for shape in shapes]

    def gradients(x, w):
        y, back = jax.vjp(lambda x, w: run(spec, x, w), x, w)
        return back(y)

    jaxpr = jax.make_jaxpr(gradients)(*operands).jaxpr
    return [view_of(equations.problem_in(eqn)) for eqn in equations.convolutions(jaxpr)]


@pytest.mark.parametrize("case", ALL)
def test_values_and_gradients_by_one_product(rng, case):
    spec = ALL[case]
    x, w, ct = data(rng, spec)
    expected = reference.of_spec(spec, x, w, None)
    function = jax.jit(by_product(spec))
    assert "jaxgroups.matmul" in function.lower(x, w).as_text(debug_info=True)
    assert_same(function(x, w), expected)
    found = jax.jit(lambda x, w, ct: jax.vjp(by_product(spec), x, w)[1](ct))(x, w, ct)
    for gradient, of in zip(found, reference.gradients_of_spec(spec, x, w, ct), strict=True):
        assert_same(gradient, of)


@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize(
    "case", ["patches: 2-D", "patches: 3-D", "overlapping: 1-D", "transposed: 2-D"]
)
def test_dtypes(rng, case, dtype):
    """Sums of small whole numbers are exact in float32, and rounded once to the 16-bit floats."""
    spec = replace(ALL[case], dtype=dtype)
    x, w, ct = data(rng, spec, dtype)
    expected = (
        reference.of_spec(spec, x, w, None),
        *reference.gradients_of_spec(spec, x, w, ct),
    )

    def all_three(x, w, ct):
        y, back = jax.vjp(by_product(spec), x, w)
        return y, *back(ct)

    found = jax.jit(all_three)(*(jnp.asarray(array).astype(dtype) for array in (x, w, ct)))
    for array, of in zip(found, expected, strict=True):
        assert_same(array, np.asarray(jnp.asarray(of).astype(dtype)))


@pytest.mark.parametrize("case", ["patches: 2-D", "overlapping: 1-D", "transposed: 2-D"])
def test_transforms(rng, case):
    spec = ALL[case]
    examples = [data(rng, spec)[:2] for _ in range(3)]
    x, w = (np.stack(arrays) for arrays in zip(*examples, strict=True))
    y = [reference.of_spec(spec, *example, None) for example in examples]
    function = by_product(spec)
    assert_same(jax.vmap(function)(x, w), np.stack(y))
    shared = [reference.of_spec(spec, one, w[0], None) for one in x]
    assert_same(jax.vmap(function, (0, None))(x, w[0]), np.stack(shared))
    value, tangent = jax.jvp(function, (x[0], w[0]), (x[1], w[2]))
    assert_same(value, y[0])
    first = reference.of_spec(spec, x[1], w[0], None)
    assert_same(tangent, first + reference.of_spec(spec, x[0], w[2], None))


@pytest.mark.parametrize("case", [c for c in ALL if c.startswith("patches")])
def test_patches_and_both_gradients_are_plain_products(case):
    """Also with more taps than outputs, which without groups could be the other form."""
    forward, *gradients = views(ALL[case])
    assert isinstance(forward, Forward)
    assert {type(view) for view in gradients} == {Forward, WeightGradient}
    for view in (forward, *gradients):
        if view.phases == 1 or not any(map(any, ALL[case].padding)):
            assert matmul.plain_view(view).taps == 1


@pytest.mark.parametrize("case", [c for c in ALL if c.startswith("overlapping")])
def test_overlapping_windows_have_a_tap_for_each_stride(case):
    spec = ALL[case]
    view = view_of(problem_of(spec))
    assert stride_to_channels.convertible(view)
    taps = [k // s for k, s in zip(spec.kernel_size, spec.stride, strict=True)]
    assert stride_to_channels.plain(view).kernel == tuple(taps)


@pytest.mark.parametrize(
    "text",
    [
        "conv1d in=4 out=4 kernel=5 stride=4 batch=2 size=16",
        "conv1d in=4 out=4 kernel=4 stride=4 dilation=2 batch=2 size=64",
        "conv2d in=4 out=4 kernel=4x3 stride=4x2 batch=2 size=16",
        "conv2d in=4 out=4 kernel=3 batch=2 size=16",
        "conv2d in=4 out=4 kernel=1 stride=2 batch=2 size=16",
    ],
)
def test_other_windows_stay_as_they_are(text):
    """A kernel that is padded to whole strides would multiply zeros by what lies behind it."""
    view = view_of(problem_of(ConvSpec.parse(text)))
    assert not stride_to_channels.convertible(view)
    assert matmul.plain_view(view) is None


@pytest.mark.parametrize("case", ["patches: 2-D", "overlapping: 1-D"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_not_finite_stays_in_its_windows(rng, case, value):
    spec = ALL[case]
    x, w, _ = data(rng, spec)
    x[0, 1, *(3 for _ in spec.size)] = value
    with np.errstate(invalid="ignore"):
        expected = np.isfinite(reference.of_spec(spec, x, w, None))
    assert not expected.all()
    np.testing.assert_array_equal(np.isfinite(jax.jit(by_product(spec))(x, w)), expected)


def test_outputs_behind_the_last_patch_are_not_computed():
    """The input of 230 has 16 patches of 14 and a rest of 6, of which the gradient is zero."""
    spec = ConvSpec.parse("conv2d in=3 out=1024 kernel=14 stride=14 batch=1 size=230")
    dilated = next(view for view in views(spec) if view.phases > 1)
    assert dilated.out == (230, 230)
    assert phases_to_channels.plain(dilated).out == (16, 16)
