"""Values against the NumPy oracle: every case, both layouts, exact."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from support import reference
from support.cases import CASES, TRANSPOSED_GRID
from support.helpers import (
    arguments,
    arrays,
    assert_same,
    distinct,
    from_same,
    run,
    to_last,
    weight_to_last,
)

import jaxgroups as jg
from jaxgroups._op import functional

GRID = [pytest.param(spec, id=str(spec)) for spec in TRANSPOSED_GRID]
ALL = [pytest.param(spec, id=name) for name, spec in CASES.items()] + GRID


def expected(spec, x, w, b):
    unbatched = not spec.batch and x.ndim == spec.rank + 1
    y = reference.of_spec(spec, x[None] if unbatched else x, w, b)
    return y[0] if unbatched else y


@pytest.mark.parametrize("spec", ALL)
def test_channels_first_is_the_definition(rng, spec):
    x, w, b = arrays(rng, spec)
    if from_same(spec):
        y = run(spec, x, w, b)
    else:  # a padding that torch's arguments cannot say
        y = functional.apply(spec.with_input(x.shape, "float64"), x, w, b)
    assert y.shape == spec.output_shape
    assert_same(y, expected(spec, x, w, b))


@pytest.mark.parametrize("spec", ALL)
def test_channels_last_is_the_definition(rng, spec):
    if not from_same(spec):
        pytest.skip("no torch arguments say this padding; channels_first covers it")
    x, w, b = arrays(rng, spec)
    y = run(spec, to_last(x, spec.rank), weight_to_last(w), b, data_format="channels_last")
    assert_same(y, to_last(expected(spec, x, w, b), spec.rank))


@pytest.mark.parametrize("name", ["two-groups", "T-two-groups", "depthwise-x2", "1d"])
def test_distinct_values(rng, name):
    """All entries different, so that no swap of channels or taps can cancel."""
    spec = CASES[name]
    x, w, b = arrays(rng, spec, make=distinct)
    assert_same(run(spec, x, w, b), expected(spec, x, w, b))


def test_experiment():
    """The tutorial: weights 1..16 on ones give 3, 7, ..., 31."""
    w = np.arange(1, 17, dtype=np.float32).reshape(8, 2, 1, 1)
    y = jax.jit(lambda x, w: jg.conv2d(x, w, groups=2))(np.ones((1, 4, 1, 1), np.float32), w)
    assert y.shape == (1, 8, 1, 1)
    assert y.ravel().tolist() == [3, 7, 11, 15, 19, 23, 27, 31]


@pytest.mark.parametrize("batch", [(), (0,), (2, 3), (2, 1, 3)])
@pytest.mark.parametrize("name", ["two-groups", "T-two-groups", "circular"])
def test_any_batch_axes_channels_last(rng, name, batch):
    spec = CASES[name]
    _, w, b = arrays(rng, spec)
    x = np.asarray(arrays(rng, spec)[0][:1]).repeat(int(np.prod(batch)), 0)
    x = x + np.arange(len(x)).reshape(-1, 1, 1, 1)  # every example differs
    flat = expected(CASES[name], x, w, b)
    xs = np.asarray(to_last(x, 2)).reshape(*batch, *spec.size, spec.in_channels)
    y = run(spec, xs, weight_to_last(w), b, data_format="channels_last")
    last = np.asarray(to_last(flat, 2))
    assert_same(np.asarray(y), last.reshape(*batch, *last.shape[1:]))


@pytest.mark.parametrize("name", ["T-two-groups", "T-1d", "T-3d", "T-depthwise-x2", "T-unbatched"])
def test_output_size_chooses_what_the_stride_leaves_open(rng, name):
    spec = CASES[name]
    x, w, b = arrays(rng, spec)
    smallest = replace(spec, output_padding=(0,) * spec.rank).output_size
    for extra in range(min(spec.stride)):
        wanted = tuple(n + extra for n in smallest)
        kw = arguments(spec) | {"output_padding": 0, "output_size": wanted}
        y = getattr(jg, spec.op)(x, w, b, **kw)
        assert y.shape[-spec.rank :] == wanted
        padded = replace(spec, output_padding=(extra,) * spec.rank)
        assert_same(y, expected(padded, x, w, b))
        whole = (*y.shape[: -spec.rank], *wanted)
        y_whole = getattr(jg, spec.op)(x, w, b, **(kw | {"output_size": whole}))
        assert_same(y_whole, y)


def test_wav2vec2_positional_convolution(rng):
    """Conv1d(768, 768, 128, groups=16, padding=64): long grouped kernels went wrong elsewhere."""
    spec = jg.ConvSpec.parse("conv1d in=768 out=768 kernel=128 padding=64 groups=16 batch=1 size=9")
    x, w, b = arrays(rng, spec, make=lambda r, s, d: r.integers(-4, 5, s).astype(d))
    padded = np.pad(x[0], [(0, 0), (64, 64)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 128, axis=1).reshape(16, 48, 10, 128)
    y = np.einsum("gcpt,goct->gop", windows, w.reshape(16, 48, 48, 128)).reshape(1, 768, 10)
    assert_same(run(spec, x, w, b), y + b[None, :, None])
