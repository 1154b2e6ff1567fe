"""Resizing: torch's samples, neighbours, filters, NaN, gradients, layouts and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import opinfo, transformed
from support.helpers import to_last
from support.messages import error_test
from support.torch_bridge import to_numpy, to_torch, torch

import jaxgroups as jg
from jaxgroups import nnx as jnn
from jaxgroups._functional.resample import Taps, of_pairs, resample
from jaxgroups._functional.resize_taps import taps_of

MODES = ["nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear", "area"]
EVERY = {"float64": 5, "float32": 9, "float16": 13, "bfloat16": 13}  # of 18 to 24 samples


@pytest.mark.parametrize("dtype", EVERY)
@pytest.mark.parametrize("mode", MODES)
def test_samples(mode, dtype):
    for sample in opinfo.samples("interpolate", dtype, mode, every=EVERY[dtype]):
        opinfo.assert_equal_to_torch(jg.interpolate, "interpolate", sample, dtype, mode)


@pytest.mark.filterwarnings("ignore:.nn.functional.upsample_:UserWarning")  # torch's own names
@pytest.mark.parametrize("name", ["upsample_nearest", "upsample_bilinear"])
def test_samples_of_the_old_names(name):
    if name == "upsample_nearest":
        layer, every = jnn.UpsamplingNearest2d, 3
    else:
        layer, every = jnn.UpsamplingBilinear2d, 2

    def function(x, size=None, scale_factor=None):
        if x.ndim != 4:
            return jg.interpolate(x, size, scale_factor)
        return jnp.moveaxis(layer(size, scale_factor)(jnp.moveaxis(x, 1, -1)), -1, 1)

    for sample in opinfo.samples(name, "float64", every=every):
        opinfo.assert_equal_to_torch(function, name, sample, "float64")


def test_uint8_takes_the_nearest():
    x = np.arange(2 * 3 * 5 * 4, dtype="uint8").reshape(2, 3, 5, 4)
    expected = torch.nn.functional.interpolate(torch.from_numpy(x), (7, 9))
    np.testing.assert_array_equal(jg.interpolate(x, (7, 9)), to_numpy(expected))


# --- one axis: the matrix of weights against torch's, for many sizes and factors -----------------

SIZES = (1, 2, 3, 5, 10, 13, 56)
RESULTS = [(n, None) for n in (1, 2, 3, 4, 5, 7, 11, 20, 33, 78, 112)]
RESULTS += [(None, s) for s in (0.3, 0.6, 0.75, 1.05, 1.1, 1.4, 2.0, 2.3, 3.0, 1 / 3, 4 / 3, 3.7)]
ONE_AXIS = ["nearest", "nearest-exact", "linear", "bicubic", "area"]
ONE_AXIS += [f"antialias {mode}" for mode in ("bilinear", "bicubic", "lanczos")]


def matrix(taps, size):
    """Outputs by inputs."""
    if taps is None:
        return np.eye(size)
    found = np.zeros((taps.outputs, size))
    weight = np.ones(taps.index.shape) if taps.weight is None else taps.weight
    if taps.empty is not None:
        weight = weight * ~taps.empty
    for index, row in zip(taps.index, weight, strict=True):
        np.add.at(found, (np.arange(taps.outputs), index), row)
    return found


def matrix_of_torch(mode, antialias, size, outputs, scale, align, dtype):
    """What torch makes of each unit vector."""
    flat = mode not in ("bicubic", "bilinear", "lanczos")
    x = torch.eye(size, dtype=getattr(torch, dtype)).reshape(size, 1, *(() if flat else (1,)), size)
    first = () if flat else (1,)
    y = torch.nn.functional.interpolate(
        x,
        None if outputs is None else (*first, outputs),
        None if scale is None else (*map(float, first), scale),
        mode=mode,
        antialias=antialias,
        align_corners=align if mode in ("linear", "bilinear", "bicubic") else None,
    )
    return y.reshape(size, -1).numpy().T


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mode", ONE_AXIS)
def test_weights(mode, dtype, align):
    antialias, mode = mode.startswith("antialias"), mode.split()[-1]
    if align and mode not in ("linear", "bilinear", "bicubic"):
        pytest.skip("the mode has no corners")
    compared = 0
    for size in SIZES:
        for outputs, scale in RESULTS:
            if scale is not None and (mode == "area" or int(size * scale) == 0):
                continue
            true = matrix_of_torch(mode, antialias, size, outputs, scale, align, dtype)
            taps = taps_of(mode, size, len(true), scale, align, antialias, dtype == "float64")
            found = matrix(taps, size)
            # a place of up to `size` is rounded to size * eps; cubic terms of up to 6 cancel
            eps = 0 if mode.startswith("nearest") else (32 + size) * np.finfo(dtype).eps
            np.testing.assert_allclose(found, true, rtol=0, atol=eps, err_msg=f"{size} {outputs}")
            if taps is not None:
                back = matrix(taps.transposed, taps.outputs)
                np.testing.assert_allclose(back.T, found, rtol=0, atol=1e-15)
                assert taps.transposed.transposed is taps
            compared += 1
    assert compared > 70


@pytest.mark.parametrize(
    ("mode", "size", "how"),
    [
        ("bilinear", (9, 4), {}),
        ("bilinear", (5, 12), {"align_corners": True}),
        ("bicubic", (3, 11), {"align_corners": True}),
        ("bilinear", (2, 3), {"antialias": True}),
        ("bilinear", (5, 3), {"antialias": True}),
        ("bicubic", (7, 3), {"antialias": True}),
        ("lanczos", (7, 3), {"antialias": True}),
        ("nearest", (3, 12), {}),
        ("area", (2, 9), {}),
    ],
)
def test_values_and_gradient_of_two_axes(rng, mode, size, how):
    x = rng.integers(-50, 50, (2, 3, 5, 6)).astype("float64")
    tensor = to_torch(x).requires_grad_()
    expected = torch.nn.functional.interpolate(tensor, size, mode=mode, **how)
    cotangent = rng.integers(1, 9, tuple(expected.shape)).astype("float64")
    expected.backward(to_torch(cotangent))
    for data_format in ("channels_first", "channels_last"):
        last = data_format == "channels_last"

        def resized(x, data_format=data_format):
            return jg.interpolate(x, size, mode=mode, data_format=data_format, **how)

        got, pullback = jax.vjp(resized, jnp.asarray(to_last(x, 2) if last else x))
        (gradient,) = pullback(jnp.asarray(to_last(cotangent, 2) if last else cotangent))
        true, true_gradient = to_numpy(expected), to_numpy(tensor.grad)
        if last:
            true, true_gradient = to_last(true, 2), to_last(true_gradient, 2)
        np.testing.assert_allclose(got, true, rtol=0, atol=1e-12)
        np.testing.assert_allclose(gradient, true_gradient, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("mode", "size", "how"),
    [
        ("nearest", (12, 3), {}),
        ("bilinear", (10, 12), {}),
        ("bilinear", (5, 12), {}),
        ("bilinear", (5, 6), {}),
        ("bilinear", (9, 11), {"align_corners": True}),
        ("bicubic", (10, 4), {}),
        ("bicubic", (5, 6), {}),
        ("area", (2, 4), {}),
        ("bilinear", (5, 4), {"antialias": True}),
        ("bicubic", (2, 4), {"antialias": True}),
    ],
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_reaches_what_reads_it(rng, mode, size, how, value):
    for place in ((0, 0), (0, 3), (2, 2), (4, 5)):
        x = rng.integers(1, 50, (1, 1, 5, 6)).astype("float64")
        x[0, 0, place[0], place[1]] = value
        expected = torch.nn.functional.interpolate(to_torch(x), size, mode=mode, **how)
        got = jg.interpolate(x, size, mode=mode, **how)
        np.testing.assert_allclose(got, to_numpy(expected), rtol=1e-13, atol=1e-12)


def test_an_infinite_gradient_stays_where_it_belongs():
    _, pullback = jax.vjp(lambda x: jg.interpolate(x, 3, mode="nearest"), jnp.ones((1, 1, 8)))
    (gradient,) = pullback(jnp.asarray([[[1.0, jnp.inf, jnp.nan]]]))
    np.testing.assert_array_equal(gradient[0, 0], [1, 0, np.inf, 0, 0, np.nan, 0, 0])


@pytest.mark.parametrize("mode", ["area", "nearest"])
def test_long_equal_bins(rng, mode):
    """Ten inputs an output; for the nearest neighbours ten outputs an input, in the gradient."""
    x = rng.integers(1, 50, (2, 3, 30 if mode == "area" else 3)).astype("float64")
    size = 33 - x.shape[2]
    tensor = to_torch(x).requires_grad_()
    expected = torch.nn.functional.interpolate(tensor, size, mode=mode)
    cotangent = rng.integers(1, 9, tuple(expected.shape)).astype("float64")
    expected.backward(to_torch(cotangent))
    got, pullback = jax.vjp(lambda x: jg.interpolate(x, size, mode=mode), jnp.asarray(x))
    np.testing.assert_allclose(got, to_numpy(expected), rtol=1e-14)
    np.testing.assert_allclose(pullback(cotangent)[0], to_numpy(tensor.grad), rtol=1e-14)


@pytest.mark.parametrize("taps", [3, 16, 20])
def test_resample_is_its_matrix(rng, taps):
    """Rows of unequal length, an empty one, few taps and many."""
    size, outputs = 23, 6
    pairs = [
        [(int(i), float(rng.integers(1, 9))) for i in rng.permutation(size)[: 1 + (o * 7) % taps]]
        for o in range(outputs)
    ]
    pairs[2] = []
    table = of_pairs(size, pairs)
    dense = np.zeros((outputs, size))
    for output, found in enumerate(pairs):
        for place, weight in found:
            dense[output, place] += weight
    x = rng.integers(1, 50, (2, size, 3)).astype("float64")
    got, pullback = jax.vjp(lambda x: resample(x, 1, table), jnp.asarray(x))
    np.testing.assert_allclose(got, np.einsum("os,nsc->noc", dense, x), rtol=1e-14)
    back = rng.integers(1, 50, got.shape).astype("float64")
    (gradient,) = pullback(jnp.asarray(back))
    np.testing.assert_allclose(gradient, np.einsum("os,noc->nsc", dense, back), rtol=1e-14)
    assert table == of_pairs(size, pairs) != Taps(size, table.index, None)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_no_gradient_is_a_scatter(mode):
    def loss(x):
        return jg.interpolate(x, scale_factor=1.4, mode=mode).sum()

    text = jax.jit(jax.grad(loss)).lower(jnp.ones((1, 2, 10, 15))).as_text()
    assert "scatter" not in text
    assert "gather" in text


@pytest.mark.parametrize("kind", transformed.KINDS)
@pytest.mark.parametrize("mode", ["bicubic", "nearest"])
def test_transformations(rng, mode, kind):
    x = jnp.asarray(rng.integers(1, 50, (1, 2, 4, 3)).astype("float64"))

    def ours(x):
        return jg.interpolate(x, (3, 7), mode=mode)

    def theirs(x):
        return torch.nn.functional.interpolate(x, (3, 7), mode=mode)

    transformed.assert_transforms(rng, kind, ours, theirs, x, axis=2)


@pytest.mark.parametrize(
    ("theirs", "ours", "rank"),
    [
        (torch.nn.Upsample(9, mode="linear"), jnn.Upsample(9, mode="linear"), 1),
        (
            torch.nn.Upsample(scale_factor=(1.7, 2), mode="nearest"),
            jnn.Upsample(scale_factor=(1.7, 2), mode="nearest"),
            2,
        ),
        (
            torch.nn.Upsample(None, 1.3, "bicubic", True, True),
            jnn.Upsample(None, 1.3, "bicubic", True, True),
            2,
        ),
        (torch.nn.Upsample((4, 3, 5), mode="area"), jnn.Upsample((4, 3, 5), mode="area"), 3),
        (torch.nn.UpsamplingNearest2d(scale_factor=2), jnn.UpsamplingNearest2d(scale_factor=2), 2),
        (torch.nn.UpsamplingBilinear2d((3, 4)), jnn.UpsamplingBilinear2d((3, 4)), 2),
    ],
    ids=str,
)
def test_layers_are_channels_last_with_any_batch(rng, theirs, ours, rank):
    x = rng.integers(1, 50, (10, 3, 6, 5, 7)[: rank + 2]).astype("float64")
    expected = to_last(to_numpy(theirs(to_torch(x))), rank)
    last = jnp.asarray(to_last(x, rank))
    got = ours(last.reshape(2, 5, *last.shape[1:]))
    assert got.shape == (2, 5, *expected.shape[1:])
    np.testing.assert_allclose(got.reshape(expected.shape), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours(last[0]), expected[0], rtol=0, atol=1e-12)
    assert type(ours).__name__ == type(theirs).__name__
    assert repr(ours).startswith(f"{type(ours).__name__}(")
    assert f"mode='{theirs.mode}'" in repr(ours)


X = np.ones((2, 3, 4, 5), "float32")
ERRORS = [
    (
        lambda: jg.interpolate(X),
        ValueError,
        "either size or scale_factor should be defined: got size=None, scale_factor=None",
    ),
    (
        lambda: jg.interpolate(X, 2, 2.0),
        ValueError,
        "only one of size or scale_factor should be defined: got size=2, scale_factor=2.0",
    ),
    (
        lambda: jg.interpolate(X, 2, align_corners=True),
        ValueError,
        "align_corners option can only be set with the interpolating modes: linear | bilinear | "
        "bicubic | trilinear: got align_corners=True, mode='nearest'",
    ),
    (
        lambda: jg.interpolate(X, (2, 3, 4)),
        ValueError,
        "Input and output must have the same number of spatial dimensions, but got input with "
        "spatial dimensions of [4, 5] and output size of (2, 3, 4). Please provide one int, or one "
        "for each spatial dimension",
    ),
    (
        lambda: jg.interpolate(X, scale_factor=(2.0,)),
        ValueError,
        "Input and scale_factor must have the same number of spatial dimensions, but got input "
        "with spatial dimensions of [4, 5] and scale_factor of shape (2.0,). Please provide one "
        "number, or one for each spatial dimension",
    ),
    (
        lambda: jg.interpolate(X, (2, 2.5)),
        TypeError,
        "interpolate(): argument 'size' must be tuple of ints, but found element of type float at "
        "pos 1: got size=(2, 2.5)",
    ),
    (
        lambda: jg.interpolate(X, 2.5),
        TypeError,
        "interpolate(): argument 'size' must be int, not float: got size=2.5, give a whole number",
    ),
    (
        lambda: jg.interpolate(X, scale_factor="2x"),
        TypeError,
        "interpolate(): argument 'scale_factor' must be a number or a tuple of numbers: got "
        "scale_factor='2x'",
    ),
    (
        lambda: jg.interpolate(X, 3, recompute_scale_factor=True),
        ValueError,
        "recompute_scale_factor is not meaningful with an explicit size: got size=3, "
        "scale_factor=None",
    ),
    (
        lambda: jg.interpolate(X, 3, antialias=True),
        ValueError,
        "Anti-alias option is restricted to bilinear, bicubic, and lanczos modes and requires a "
        "4-D tensor as input: got mode='nearest' and shape [2, 3, 4, 5]",
    ),
    (
        lambda: jg.interpolate(X, 3, mode="lanczos"),
        ValueError,
        "Lanczos mode requires antialias=True",
    ),
    (
        lambda: jg.interpolate(X, 3, mode="lanczos", antialias=True, align_corners=True),
        ValueError,
        "Lanczos mode does not support align_corners=True",
    ),
    (
        lambda: jg.interpolate(X, 3, mode="trilinear"),
        NotImplementedError,
        "Got 4D input, but trilinear mode needs 5D input: got shape [2, 3, 4, 5]",
    ),
    (
        lambda: jg.interpolate(X, 3, mode="cubic"),
        NotImplementedError,
        "Input Error: Only 3D, 4D and 5D input Tensors supported (got 4D) for the modes: nearest | "
        "linear | bilinear | bicubic | trilinear | lanczos | area | nearest-exact (got cubic): got "
        "shape [2, 3, 4, 5]",
    ),
    (
        lambda: jg.interpolate(X, scale_factor=0.2),
        ValueError,
        "Input and output sizes should be greater than 0, but got input (H: 4, W: 5) output "
        "(H: 0, W: 1)",
    ),
    (
        lambda: jg.interpolate(X[0], scale_factor=0.1),
        ValueError,
        "Input and output sizes should be greater than 0, but got input (W: 5) and output (W: 0)",
    ),
    (
        lambda: jg.interpolate(X[:, :0], 3),
        ValueError,
        "Non-empty 4D data tensor expected but got a tensor with sizes [2, 0, 4, 5]",
    ),
    (
        lambda: jg.interpolate(X.astype("uint8"), 3, mode="bilinear"),
        TypeError,
        "\"interpolate\" not implemented for uint8 with mode='bilinear': convert the input to a "
        "floating point dtype, and round the result",
    ),
    (
        lambda: jg.interpolate("x", 3),
        TypeError,
        "interpolate(): argument 'input' must be an array, not str",
    ),
    (
        lambda: jg.interpolate(X, 2, data_format="NHWC"),
        ValueError,
        "interpolate(): data_format must be 'channels_first' or 'channels_last', got 'NHWC'",
    ),
]


test_errors = error_test(ERRORS)
