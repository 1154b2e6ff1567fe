"""Sampling on a grid: torch's samples, points that are not finite, borders, layouts and errors."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import opinfo
from support.helpers import to_last
from support.messages import error_test
from support.torch_bridge import to_numpy, to_torch, torch

import jaxgroups as jg

PADDINGS = ("zeros", "border", "reflection")
# of 30 samples: all modes and paddings; for halves one of each rank
EVERY = {"float64": 5, "float16": 17, "bfloat16": 17}


@pytest.mark.parametrize("dtype", EVERY)
def test_samples(dtype):
    found = opinfo.samples("grid_sample", dtype, every=EVERY[dtype])
    assert len(found) == (6 if dtype == "float64" else 2)
    for sample in found:
        opinfo.assert_equal_to_torch(
            jg.grid_sample, "grid_sample", sample, dtype, gradients=dtype == "float64"
        )


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(
    ("mode", "rank"), [("bilinear", 2), ("nearest", 2), ("bicubic", 2), ("bilinear", 3)]
)
def test_borders_and_points_that_are_not_finite(rng, mode, rank, padding, align):
    """Unequal sizes, points on the outermost elements, far outside, NaN and infinite."""
    x = rng.integers(1, 50, (2, 3, 4, 5, 6)[: rank + 2]).astype("float64")
    special = [-1.0, 1.0, 0.0, 7.3, -9.1, np.nan, np.inf, -np.inf, 0.37]
    grid = rng.uniform(-1.5, 1.5, (2, *(1,) * (rank - 1), 9 * rank, rank))
    for axis in range(rank):
        part = slice(9 * axis, 9 * (axis + 1))
        grid[..., part, axis] = special
    expected = torch.nn.functional.grid_sample(
        to_torch(x), to_torch(grid), mode, padding, align_corners=align
    )

    @jax.jit
    def both(x, grid):
        first = jg.grid_sample(x, grid, mode, padding, align)
        last = jnp.moveaxis(x, 1, -1)
        return first, jg.grid_sample(last, grid, mode, padding, align, data_format="channels_last")

    got, last = both(x, grid)
    np.testing.assert_allclose(got, to_numpy(expected), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(last, to_last(np.asarray(got), rank))


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("padding", PADDINGS)
def test_gradients_at_the_border(rng, padding, align):
    """torch counts the outermost coordinates as outside: the grid has no gradient there."""
    x = rng.integers(1, 50, (1, 2, 4, 7)).astype("float64")
    ends = [-1.0, 1.0] if align else [-0.75, 0.75, -6 / 7, 6 / 7, -1.2, 0.3]
    grid = np.array([[[(a, b) for a in ends] for b in ends]])
    tensor, points = to_torch(x).requires_grad_(), to_torch(grid).requires_grad_()
    expected = torch.nn.functional.grid_sample(tensor, points, "bilinear", padding, align)
    cotangent = rng.integers(1, 9, tuple(expected.shape)).astype("float64")
    expected.backward(to_torch(cotangent))

    def sampled(x, grid):
        return jg.grid_sample(x, grid, "bilinear", padding, align)

    @jax.jit
    def with_gradients(x, grid):
        got, pullback = jax.vjp(sampled, x, grid)
        return got, pullback(jnp.asarray(cotangent))

    got, gradients = with_gradients(x, grid)
    np.testing.assert_allclose(got, to_numpy(expected), rtol=1e-12, atol=1e-12)
    for found, true in zip(gradients, (tensor, points), strict=True):
        np.testing.assert_allclose(found, to_numpy(true.grad), rtol=1e-12, atol=1e-11)


def test_what_is_not_finite_reaches_what_reads_it():
    x = np.ones((1, 1, 3, 4))
    x[0, 0, 1, 2] = np.nan
    grid = np.stack(np.meshgrid(np.linspace(-0.9, 0.9, 9), np.linspace(-0.9, 0.9, 7)), -1)[None]
    for mode in ("bilinear", "nearest", "bicubic"):
        expected = torch.nn.functional.grid_sample(
            to_torch(x), to_torch(grid), mode, align_corners=False
        )
        got = jax.jit(partial(jg.grid_sample, mode=mode, align_corners=False))(x, grid)
        assert 0 < np.isnan(np.asarray(got)).sum() < got.size
        np.testing.assert_allclose(got, to_numpy(expected), rtol=1e-12)


@pytest.mark.filterwarnings("ignore:Since version 1.3.0:UserWarning")  # torch, of one row
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 3, 1, 5), (2, 3, 4, 5, 6)])
def test_affine_grid(rng, size, align):
    rank = len(size) - 2
    theta = rng.normal(size=(2, rank, rank + 1))
    tensor = to_torch(theta).requires_grad_()
    expected = torch.nn.functional.affine_grid(tensor, size, align_corners=align)
    cotangent = rng.integers(1, 9, tuple(expected.shape)).astype("float64")
    expected.backward(to_torch(cotangent))
    got, pullback = jax.vjp(lambda t: jg.affine_grid(t, size, align), jnp.asarray(theta))
    np.testing.assert_allclose(got, to_numpy(expected), rtol=1e-13, atol=1e-13)
    (gradient,) = pullback(jnp.asarray(cotangent))
    np.testing.assert_allclose(gradient, to_numpy(tensor.grad), rtol=1e-12, atol=1e-12)


def test_missing_align_corners_warns():
    text = "Default grid_sample and affine_grid behavior has changed to align_corners=False"
    theta = np.asarray([[[1.0, 0, 0], [0, 1, 0]]])
    with pytest.warns(UserWarning, match=text) as caught:
        grid = jg.affine_grid(theta, (1, 1, 3, 4))
    with pytest.warns(UserWarning, match=text) as of_samples:
        same = jg.grid_sample(np.arange(12.0).reshape(1, 1, 3, 4), grid)
    np.testing.assert_allclose(same[0, 0], np.arange(12.0).reshape(3, 4), atol=1e-14)
    assert caught[0].filename == of_samples[0].filename == __file__


X, G = np.ones((2, 3, 4, 5)), np.zeros((2, 6, 7, 2))
T = np.zeros((2, 2, 3))
ERRORS = [
    (
        lambda: jg.grid_sample(X, G, "cubic"),
        ValueError,
        "nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but "
        "got: 'cubic'",
    ),
    (
        lambda: jg.grid_sample(X, G, padding_mode="edge"),
        ValueError,
        "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or "
        "'reflection', but got: 'edge'",
    ),
    (
        lambda: jg.grid_sample(X, G[0]),
        ValueError,
        "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got "
        "input with sizes [2, 3, 4, 5] and grid with sizes [6, 7, 2]",
    ),
    (
        lambda: jg.grid_sample(X, G[:1]),
        ValueError,
        "grid_sampler(): expected grid and input to have same batch size, but got input with sizes "
        "[2, 3, 4, 5] and grid with sizes [1, 6, 7, 2]",
    ),
    (
        lambda: jg.grid_sample(X, G[..., :1]),
        ValueError,
        "grid_sampler(): expected grid to have size 2 in last dimension, but got input with sizes "
        "[2, 3, 4, 5] and grid with sizes [2, 6, 7, 1]",
    ),
    (
        lambda: jg.grid_sample(X[:, :, :0], G),
        ValueError,
        "grid_sampler(): expected input to have non-empty spatial dimensions, but input has sizes "
        "[2, 3, 0, 5] with dimension 2 being empty",
    ),
    (
        lambda: jg.grid_sample(X[..., None], np.zeros((2, 1, 6, 7, 3)), "bicubic"),
        ValueError,
        "grid_sampler(): bicubic interpolation only supports 4D input: got input with sizes "
        "[2, 3, 4, 5, 1] and grid with sizes [2, 1, 6, 7, 3]",
    ),
    (
        lambda: jg.grid_sample(X, G.astype("float32")),
        TypeError,
        "expected scalar type float64 but found float32: grid_sample() needs input and grid of one "
        "dtype",
    ),
    (
        lambda: jg.grid_sample(X.astype(int), G.astype(int)),
        TypeError,
        '"grid_sample" not implemented for int64',
    ),
    (
        lambda: jg.grid_sample(X, G, data_format="NHWC"),
        ValueError,
        "grid_sample(): data_format must be 'channels_first' or 'channels_last', got 'NHWC'",
    ),
    (
        lambda: jg.affine_grid(T, (2, 1, 4, 5, 6), False),
        ValueError,
        "Expected a batch of 3D affine matrices of shape Nx3x4 for size (2, 1, 4, 5, 6). Got "
        "[2, 2, 3].",
    ),
    (
        lambda: jg.affine_grid(T.astype(int), (2, 1, 4, 5), False),
        ValueError,
        "Expected theta to have floating point type, but got int64",
    ),
    (
        lambda: jg.affine_grid(T, (2, 1, 4), False),
        NotImplementedError,
        "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, respectively. "
        "Got size (2, 1, 4).",
    ),
    (
        lambda: jg.affine_grid(T, (2, 1, 0, 5), False),
        ValueError,
        "Expected non-zero, positive output size. Got (2, 1, 0, 5)",
    ),
    (
        lambda: jg.affine_grid(T, (3, 1, 4, 5), False),
        ValueError,
        "affine_grid(): expected one matrix for each of 3 in size (3, 1, 4, 5), but theta has "
        "shape [2, 2, 3]",
    ),
]


test_errors = error_test(ERRORS)
