"""Pools, resizes, norms and the like: a row each, with counts that loops and torch's words give."""

import json
from itertools import product
from math import ceil, floor, prod

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from jax import lax
from support.command import run
from support.explained_models import Features, by_path
from support.schema_checks import validated

import jaxgroups as jg
from jaxgroups import _functional
from jaxgroups import nnx as jnn
from jaxgroups._explain.feature_costs import Use, operations_of

MODEL = "support.explained_models:Features"
OF_PRODUCTS = {"Bilinear", "bilinear", "GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNCell"}


def row_of(layer, *shapes, **call):
    """The only row of a model that is one layer."""
    [row] = jg.explain(layer, tuple(jnp.zeros(s, "float32") for s in shapes), call=call).layers
    return row


def taps_read(sizes, kernel, stride, padding, ceil_mode=False):
    """Reads of a pool of one channel, by loops over outputs and taps; padding counts."""
    outs = []
    for n, k, s, p in zip(sizes, kernel, stride, padding, strict=True):
        out = (ceil if ceil_mode else floor)((n + 2 * p - k) / s) + 1
        outs.append(out - (ceil_mode and (out - 1) * s >= n + p))
    return sum(1 for _ in product(*map(range, outs)) for _ in product(*map(range, kernel)))


def bins_read(sizes, outs):
    """Reads of an adaptive pool of one channel: every bin from floor to ceil."""
    return sum(
        prod(
            ceil((o + 1) * n / out) - floor(o * n / out)
            for o, n, out in zip(at, sizes, outs, strict=True)
        )
        for at in product(*map(range, outs))
    )


# --- operations -----------------------------------------------------------------------------------

POOLS = {
    "max": (jnn.MaxPool2d((3, 2), (2, 3), (1, 0)), (7, 8), ((3, 2), (2, 3), (1, 0)), 1),
    "ceil": (
        jnn.MaxPool2d(3, 2, 1, ceil_mode=True),
        (8, 7),
        ((3, 3), (2, 2), (1, 1), True),
        1,
    ),
    "average": (jnn.AvgPool1d(4), (9,), ((4,), (4,), (0,)), 1),
    "power": (jnn.LPPool3d(2, 2), (4, 5, 6), ((2, 2, 2), (2, 2, 2), (0, 0, 0)), 2),
}


@pytest.mark.parametrize("name", POOLS)
def test_a_pool_counts_its_taps(name):
    layer, sizes, window, each = POOLS[name]
    row = row_of(layer, (3, *sizes, 5))
    assert row.operations == each * 3 * 5 * taps_read(sizes, *window)
    assert row.kernel_size == window[0]
    assert (row.parameters, row.macs, row.in_channels, row.out_channels) == (0, 0, 5, 5)
    assert row.bytes_moved == 4 * (3 * prod(sizes) * 5 + prod(row.output_shape))


@pytest.mark.parametrize("layer", [jnn.AdaptiveAvgPool2d((3, 5)), jnn.AdaptiveMaxPool2d((3, 5))])
def test_an_adaptive_pool_counts_its_bins(layer):
    row = row_of(layer, (2, 7, 9, 4))
    assert row.operations == 2 * 4 * bins_read((7, 9), (3, 5))
    assert row.output_shape == (2, 3, 5, 4)


@pytest.mark.parametrize(
    ("how", "each"),
    [
        ({"scale_factor": 2.0}, 0),
        ({"size": (7, 9), "mode": "nearest-exact"}, 0),
        ({"scale_factor": 2.0, "mode": "bilinear"}, 4),
        ({"size": (7, 9), "mode": "bicubic", "align_corners": True}, 16),
    ],
)
def test_a_resize_counts_its_taps(how, each):
    row = row_of(jnn.Upsample(**how), (3, 5, 4, 2))
    assert row.operations == 2 * each * prod(row.output_shape)
    assert row.output_shape == ((3, 10, 8, 2) if "scale_factor" in how else (3, 7, 9, 2))


def test_a_resize_by_area_or_with_a_filter_counts_what_it_reads():
    row = row_of(jnn.Upsample(size=(3, 2), mode="area"), (3, 5, 4, 2))
    assert row.operations == 3 * 2 * bins_read((5, 4), (3, 2))

    class Halved(nnx.Module):
        def __call__(self, x):
            return jg.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True)

    # 8 -> 4: triangles of 4 inputs, cut at both edges; 6 -> 3 as well
    rows, columns = 3 + 4 + 4 + 3, 3 + 4 + 3
    assert row_of(Halved(), (2, 5, 8, 6)).operations == 2 * 2 * 5 * rows * columns


NORMS = {
    "batch": (jnn.BatchNorm2d(6), {}, 6, 12, 2 * 12),
    "batch-evaluation": (jnn.BatchNorm2d(6), {"use_running_average": True}, 2, 12, 12),
    "batch-without-statistics": (
        jnn.BatchNorm2d(6, affine=False, track_running_stats=False),
        {"use_running_average": True},
        6,
        0,
        0,
    ),
    "instance": (jnn.InstanceNorm2d(6, affine=True), {}, 6, 12, 0),
    "group": (jnn.GroupNorm(2, 6), {}, 6, 12, 0),
    "layer": (jnn.LayerNorm((4, 6)), {}, 8, 48, 0),
    "layer-without-bias": (jnn.LayerNorm(6, bias=False), {}, 7, 6, 0),
    "root-mean-square": (jnn.RMSNorm(6), {}, 4, 6, 0),
    "neighbours": (jnn.LocalResponseNorm(3), {}, 7, 0, 0),
    "prelu": (jnn.PReLU(6), {}, 2, 6, 0),
}


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_counts_each_value(name):
    layer, call, each, parameters, statistics = NORMS[name]
    row = row_of(layer, (3, 5, 4, 6), **call)
    assert row.operations == each * 3 * 5 * 4 * 6
    assert row.parameters == parameters
    assert row.bytes_moved == 4 * (2 * 3 * 5 * 4 * 6 + parameters + statistics)
    assert row.output_shape == (3, 5, 4, 6)


REARRANGED = {
    "pad": (jnn.ReflectionPad2d((1, 2, 0, 1)), (2, 4, 6, 8), (2, 5, 9, 8)),
    "nothing": (jnn.ZeroPad2d(0), (2, 4, 6, 8), (2, 4, 6, 8)),
    "shuffle": (jnn.PixelShuffle(2), (2, 4, 6, 8), (2, 8, 12, 2)),
    "unshuffle": (jnn.PixelUnshuffle(2), (2, 4, 6, 8), (2, 2, 3, 32)),
    "channels": (jnn.ChannelShuffle(4), (2, 4, 6, 8), (2, 4, 6, 8)),
    "unfold": (jnn.Unfold(2), (2, 4, 6, 8), (2, 15, 32)),
    "flatten": (jnn.Flatten(), (2, 4, 6, 8), (2, 192)),
    "unflatten": (jnn.Unflatten(1, (2, 2, 2)), (2, 8), (2, 2, 2, 2)),
}


@pytest.mark.parametrize("name", REARRANGED)
def test_what_only_moves_has_bytes_alone(name):
    layer, before, after = REARRANGED[name]
    row = row_of(layer, before)
    assert (row.operations, row.macs, row.calls, row.output_shape) == (0, 0, 1, after)
    assert (row.in_channels, row.out_channels) == (before[-1], after[-1])
    assert row.bytes_moved == 4 * (prod(before) + prod(after))


def test_fold_adds_up_every_value():
    assert row_of(jnn.Fold((4, 6), 2), (2, 15, 32)).operations == 2 * 15 * 32


def test_indices_are_bytes_too():
    class Pair(nnx.Module):
        def __init__(self):
            self.pool = jnn.MaxPool2d(2, return_indices=True)
            self.back = jnn.MaxUnpool2d(2)

        def __call__(self, x):
            return self.back(*self.pool(x))

    rows = by_path(jg.explain(Pair(), (2, 4, 6, 3)))
    index = jnp.arange(1).dtype.itemsize
    assert rows["pool"].bytes_moved == 4 * 2 * 24 * 3 + (4 + index) * 2 * 6 * 3
    assert rows["back"].bytes_moved == rows["pool"].bytes_moved
    assert rows["back"].operations == 0


# --- functions ------------------------------------------------------------------------------------

CALLS = {
    "max_pool2d": (lambda x: jg.max_pool2d(x, 3, 2), 9 * 2 * 6 * 2 * 2, (6, 6)),
    "pixel_shuffle": (lambda x: jg.pixel_shuffle(x[0, :4], 2), 0, (4, 1)),
    "unfold": (lambda x: jg.unfold(x[0], 2), 0, (6, 24)),
    "fold": (lambda x: jg.fold(x[0, :4, 0], (3, 4), 2), 4 * 6, (4, 1)),
    "batch_norm": (
        lambda x: jg.batch_norm(x, None, None, training=True),
        6 * 2 * 6 * 5 * 6,
        (6, 6),
    ),
    "group_norm": (lambda x: jg.group_norm(x, 3), 6 * 2 * 6 * 5 * 6, (6, 6)),
    "vector_norm": (jg.vector_norm, 2 * 2 * 6 * 5 * 6, (6, 1)),
    "std": (jg.std, 4 * 2 * 6 * 5 * 6, (6, 1)),
    "layer_norm": (lambda x: jg.layer_norm(x, 6), 6 * 2 * 6 * 5 * 6, (6, 6)),
    "grid_sample": (
        lambda x: jg.grid_sample(x, jnp.zeros((2, 3, 4, 2), x.dtype), align_corners=True),
        2 * 4 * 2 * 6 * 3 * 4,
        (6, 6),
    ),
    "affine_grid": (
        lambda x: jg.affine_grid(x[:, :2, 0, :3], (2, 1, 3, 4), align_corners=True),
        2 * 2 * 2 * 3 * 4 * 2,
        (3, 2),
    ),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("library", ["nnx", "linen"])
def test_a_function_outside_of_layers_has_a_row(library, name):
    function, operations, channels = CALLS[name]

    class Model(nnx.Module if library == "nnx" else nn.Module):
        def __call__(self, x):
            return function(x)

    [row] = jg.explain(Model(), (2, 6, 5, 6)).layers
    assert (row.path, row.layer) == (f"({name})", name)
    assert row.operations == operations
    assert (row.in_channels, row.out_channels) == channels
    assert row.parameters == 0


def test_every_function_and_every_layer_is_in_the_table():
    functions = [n for n in vars(_functional) if n in jg.__all__ and n != "pad"] + ["pad"]
    assert len(functions) >= 30
    layers = [n for n in jnn.__all__ if n != "Layer" and not n.startswith("Conv")]
    without = {"Sequential", *(n for n in layers if "Dropout" in n)}  # its items have rows
    for name in {*functions, *layers} - OF_PRODUCTS - without:
        bases = [c.__name__.lstrip("_") for c in getattr(jnn, name, int).__mro__]
        settings = {"kernel_size": 1, "mode": "nearest", "size": 1}
        use = Use(name, settings, (2, 3, 4, 5, 6), (2, 3, 4, 5, 6), True)
        assert operations_of(use, tuple(bases)) is not None, name


def test_nothing_is_watched_afterwards():
    from jaxgroups._functional import observed

    seen = []
    with observed.watched_by(lambda function, args, kwargs: seen.append(function.__name__)):
        jg.max_pool2d(np.ones((1, 1, 2, 2), "float32"), 2)
        jg.pad(np.ones(3), (1, 1))
    assert seen == ["max_pool2d", "pad"]
    assert jg.pad(np.ones(3), (1, 1)).shape == (5,)
    assert len(seen) == 2


# --- models ---------------------------------------------------------------------------------------


def test_a_model_of_all_kinds():
    answer = jg.explain(Features(nnx.Rngs(0)), (2, 16, 12, 3))
    rows, t = by_path(answer), answer.totals
    paths = ["conv", "norm", "act", "pool", "up", "(avg_pool2d)", "mean", "flat", "head"]
    assert list(rows) == paths
    assert rows["conv"].operations == 2 * rows["conv"].macs
    assert rows["head"].operations == 2 * rows["head"].macs
    assert rows["head"].output_shape == (2, 5)
    assert t.flops == 2 * (rows["conv"].macs + rows["head"].macs), "torch's flop counter"
    assert t.operations == sum(row.operations for row in answer.layers) > t.flops
    assert t.parameters == t.parameters_listed == sum(row.parameters for row in answer.layers)
    again = jg.explain(Features(nnx.Rngs(0)), (2, 16, 12, 3), call={"train": False})
    assert by_path(again)["norm"].operations == rows["norm"].operations // 3
    costs = [row.operations for row in answer.sorted() if row.macs == 0]
    assert costs == sorted(costs, reverse=True)


def test_repeated_calls_share_a_row_and_a_scan_counts_each_time():
    class Twice(nnx.Module):
        def __init__(self):
            self.pool = jnn.MaxPool1d(3, 1, 1)

        def __call__(self, x):
            x = self.pool(self.pool(x))
            return lax.scan(lambda c, _: (self.pool(c), None), x, length=5)[0]

    [row] = jg.explain(Twice(), (2, 6, 4)).layers
    assert (row.calls, row.operations) == (7, 7 * 3 * 2 * 6 * 4)


def test_a_layer_of_products_counts_them():
    """A layer that the table does not have: what its program multiplies."""

    class Cells(jnn._base.FeatureLayer):
        def __init__(self):
            self.weight = nnx.Param(jnp.ones((4, 4), "float32"))

        def __call__(self, x):
            step = lambda c, row: (row @ self.weight.get_value() + c, None)  # noqa: E731
            return lax.scan(step, jnp.zeros_like(x[0]), x)[0]

    answer = jg.explain(Cells(), (5, 2, 4))
    [row] = answer.layers
    assert (row.macs, row.operations, row.parameters) == (5 * 2 * 16, 2 * 5 * 2 * 16, 16)
    assert answer.others == ()


# --- the command ----------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 140])
def test_the_command(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    status, out, err = run(capsys, "explain", MODEL, "--example", "2,16,12,3")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert max(map(len, lines)) <= columns
    pool = next(line.split() for line in lines if line.startswith("pool "))
    assert "6.91" in pool, "9 comparisons for each of 2 x 8 x 6 x 8 outputs"
    total = next(line for line in lines if line.startswith("total "))
    assert "227 k" in total
    status, out, err = run(capsys, "explain", MODEL, "--example", "2,16,12,3", "--json")
    data = validated(out, "explain")
    assert (status, err) == (0, "")
    rows = {row["path"]: row for row in data["layers"]}
    assert rows["pool"]["operations"] == 9 * 2 * 8 * 6 * 8
    assert rows["pool"]["output_shape"] == [2, 8, 6, 8]
    assert data == json.loads(
        json.dumps(jg.explain(Features(nnx.Rngs(0)), (2, 16, 12, 3)).as_dict())
    )
