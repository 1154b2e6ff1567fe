"""What a picture shows, as data: kernels, filters, arrows, what is left out, texts, weights."""

from collections import Counter
from math import prod

import jax
import numpy as np
import pytest
from flax import nnx
from support.cases import CASES

import jaxgroups as jg
import jaxgroups.linen as jln
import jaxgroups.nnx as jnn
from jaxgroups import ConvSpec
from jaxgroups.diagrams import draw, structure
from jaxgroups.diagrams._scene import Box, Text, text_width
from jaxgroups.diagrams._view import LIMIT, Gap, items, view
from jaxgroups.diagrams._weights import counting
from jaxgroups.diagrams._window import strip

SPECS = {name: spec for name, spec in CASES.items() if spec.in_channels * spec.out_channels}


def touches(spec):
    """Pairs (input channel, output channel) joined by some weight: the Jacobian of the layer."""
    zeros = np.zeros((1, spec.in_channels, *(3 * k * d for k, d in taps(spec))), "float32")
    weight = np.ones(spec.torch_weight_shape, "float32")
    kw = {"groups": spec.groups, "dilation": spec.dilation}
    jacobian = jax.jacobian(lambda x: getattr(jg, spec.op)(x, weight, **kw).sum(spatial(spec)))
    moved = np.asarray(jacobian(zeros))[0, :, 0]
    return {tuple(pair) for pair in np.argwhere(moved.any(axis=spatial(spec))).tolist()}


def taps(spec):
    return zip(spec.kernel_size, spec.dilation, strict=True)


def spatial(spec):
    return tuple(range(2, spec.rank + 2))


# --- structure ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPECS)
def test_counts_are_those_of_the_weight(name):
    spec = SPECS[name]
    drawn = structure(spec)
    filters, kernels, *kernel = spec.torch_weight_shape
    assert len(drawn.filters) == filters
    assert {len(f.kernels) for f in drawn.filters} == {kernels}
    assert drawn.kernels * prod(kernel) == spec.weights
    assert len(drawn.groups) == spec.groups
    assert [f.index for f in drawn.filters] == list(range(filters))
    for side, channels in (("inputs", spec.in_channels), ("outputs", spec.out_channels)):
        seen = [c for g in drawn.groups for c in getattr(g, side)]
        assert seen == list(range(channels)), "groups split the channels in order, each one once"


def arrows_into(drawn):
    """(input channel, filter)"""
    return [(c, f.index) for f in drawn.filters for c in f.reads]


def arrows_out_of(drawn):
    """(filter, output channel)"""
    return [(f.index, c) for f in drawn.filters for c in f.writes]


@pytest.mark.parametrize("name", SPECS)
def test_arrows_are_what_the_convolution_does(name):
    """An arrow goes through a filter where the output depends on the input, and nowhere else."""
    spec = SPECS[name]
    drawn = structure(spec)
    into, out = arrows_into(drawn), arrows_out_of(drawn)
    assert max(Counter(into).values()) == max(Counter(out).values()) == 1
    paths = {(o, c) for c, f in into for g, o in out if f == g}
    assert paths == touches(spec)


def test_two_groups():
    drawn = structure(ConvSpec.of("conv2d", 4, 8, 1, groups=2))
    assert [list(f.reads) for f in drawn.filters] == [[0, 1]] * 4 + [[2, 3]] * 4
    assert [list(f.writes) for f in drawn.filters] == [[o] for o in range(8)]
    assert [list(f.kernels) for f in drawn.filters] == [[0, 1]] * 4 + [[2, 3]] * 4
    assert [f.group for f in drawn.filters] == [0] * 4 + [1] * 4
    assert len(arrows_into(drawn)) == 16
    assert len(arrows_out_of(drawn)) == 8


def test_depthwise_with_multiplier():
    drawn = structure(ConvSpec.of("conv2d", 6, 12, 3, groups=6))
    assert [list(f.reads) for f in drawn.filters] == [[i // 2] for i in range(12)]
    assert [list(f.kernels) for f in drawn.filters] == [[i // 2] for i in range(12)]


def test_transposed_filters_belong_to_inputs():
    drawn = structure(ConvSpec.of("conv_transpose2d", 8, 12, 4, groups=4))
    assert [list(f.reads) for f in drawn.filters] == [[i] for i in range(8)]
    writes = [list(range(i // 2 * 3, i // 2 * 3 + 3)) for i in range(8)]
    assert [list(f.writes) for f in drawn.filters] == writes
    assert [list(f.kernels) for f in drawn.filters] == writes


# --- what is shown --------------------------------------------------------------------------------


def test_items_leave_out_the_middle_and_count_it():
    assert items(range(5), 5) == (0, 1, 2, 3, 4)
    assert items(range(6), 5) == (0, 1, 2, Gap(2), 5)
    assert items(range(10, 110), 3) == (10, Gap(98), 109)


GRID = [(1, 1, 1), (3, 64, 1), (64, 64, 64), (64, 64, 1), (65, 65, 5), (128, 128, 32)]
GRID += [(128, 128, 1), (3, 512, 1), (1280, 1280, 1280), (512, 2048, 2), (96, 192, 3)]


@pytest.mark.parametrize(("ci", "co", "groups"), GRID)
@pytest.mark.parametrize("op", ["conv2d", "conv_transpose2d"])
def test_what_is_shown_and_what_is_counted_is_everything(op, ci, co, groups):
    spec = ConvSpec.of(op, ci, co, 3, groups=groups)
    drawn = structure(spec)
    seen = view(drawn)
    if max(ci, co) <= LIMIT:
        assert not any(isinstance(g, Gap) for g in (*seen.groups, *seen.stack))
    assert seen.rows <= 80 if max(ci, co) > LIMIT else seen.rows <= 64
    hidden = sum(g.count for g in seen.groups if isinstance(g, Gap))
    shown = [g for g in seen.groups if not isinstance(g, Gap)]
    assert len(shown) + hidden == groups
    for g in shown:
        for side in ("inputs", "filters", "outputs"):
            column, all_ = getattr(g, side), getattr(g.group, side)
            there = [c for c in column if not isinstance(c, Gap)]
            assert len(there) + sum(c.count for c in column if isinstance(c, Gap)) == len(all_)
            assert set(there) <= set(all_)
    kernels = spec.torch_weight_shape[1]
    assert sum(k.count if isinstance(k, Gap) else 1 for k in seen.stack) == kernels


# --- texts and values -----------------------------------------------------------------------------


def texts(picture):
    return [shape.text for shape in picture.scene().shapes if hasattr(shape, "text")]


def test_the_experiment_is_written_into_its_picture():
    picture = draw("conv2d in=4 out=8 kernel=1 groups=2 bias=False", weights=True)
    written = texts(draw(picture.spec, weights=True, compare=False))
    assert "Conv2d(4, 8, kernel_size=1, groups=2, bias=False)" in written
    assert "every filter reads 2 of the 4 input channels" in written
    assert "in / groups × out × k² = 4 / 2 × 8 × 1² = 16" in written
    assert "16 weights, 1/2 of the 32 of groups=1" in written
    assert "weight (8, 2, 1, 1), as a Flax kernel (1, 1, 2, 8)" in written
    numbers = Counter(t for t in written if t.isdigit())
    expected = Counter(map(str, [*range(1, 17), *range(4), *range(8), *range(3, 32, 4)]))
    assert numbers == expected, "weights, input and output channels, and what ones become"
    both = texts(picture)
    assert "groups=1: the ordinary convolution" in both
    assert "32 weights" in both
    assert {"10", "26", "122"} < set(both), "1+2+3+4, 5+6+7+8, 29+30+31+32"


TRANSPOSED = "conv_transpose2d in=8 out=12 kernel=4 stride=2 padding=1 groups=4"


@pytest.mark.parametrize(
    ("spelled", "expected"),
    [
        ("conv2d in=6 out=12 kernel=3 groups=6", "groups=6: depthwise, channel multiplier 2"),
        ("conv2d in=6 out=6 kernel=3 groups=6", "groups=6: depthwise"),
        (
            "conv2d in=6 out=6 kernel=3 groups=6",
            "54 weights, 1/6 of the 324 of groups=1, and 6 biases: 60 parameters",
        ),
        ("conv2d in=3 out=4 kernel=3", "groups=1: the ordinary convolution"),
        ("conv2d in=1 out=4 kernel=3", "every filter reads the one input channel"),
        (TRANSPOSED, "every input channel writes 3 of the 12 output channels"),
        (TRANSPOSED, "ConvTranspose2d(8, 12, kernel_size=4, stride=2, padding=1, groups=4)"),
        (TRANSPOSED, "weight (8, 3, 4, 4), as a Flax kernel (4, 4, 3, 8)"),
        (
            "conv3d in=4 out=4 kernel=3x5x5 groups=2",
            "in / groups × out × k₁ × k₂ × k₃ = 4 / 2 × 4 × 3 × 5 × 5 = 600",
        ),
        ("conv1d in=4 out=4 kernel=7 groups=2", "in / groups × out × k = 4 / 2 × 4 × 7 = 56"),
        ("conv3d in=2 out=2 kernel=3", "in / groups × out × k³ = 2 / 1 × 2 × 3³ = 108"),
        ("conv2d in=128 out=128 kernel=3 groups=32", "… 29 more groups: 116 inputs, 116 outputs …"),
        ("conv2d in=4 out=8 kernel=3 batch=2 size=7x9", "input (2, 4, 7, 9) → output (2, 8, 5, 7)"),
        (
            "conv2d in=4 out=8 kernel=3 data_format=channels_last",
            "input (N, H, W, 4) → output (N, H′, W′, 8)",
        ),
    ],
)
def test_texts(spelled, expected):
    assert expected in texts(draw(spelled, compare=False))


def test_every_number_of_the_formula_is_right():
    for spec in SPECS.values():
        formula = next(t for t in texts(draw(spec)) if t.startswith("in / groups") and (
            spec.groups == 1 or f"/ {spec.groups} " in t))  # fmt: skip
        _, product, total = formula.split(" = ")
        powers = product.replace("²", "**2").replace("³", "**3").replace("×", "*")
        assert eval(powers) == int(total.replace(",", "")) == spec.weights


def test_weights_of_layers_and_arrays():
    layer = jnn.Conv2d(4, 8, 1, groups=2, bias=False, rngs=nnx.Rngs(0))
    weight = np.arange(1, 17, dtype="float32").reshape(8, 2, 1, 1)
    layer.kernel[...] = weight.transpose(2, 3, 1, 0)
    own = draw(layer, weights=True)
    np.testing.assert_array_equal(own.values, weight)
    np.testing.assert_array_equal(
        draw(own.spec, weights=weight.transpose(2, 3, 1, 0)).values, weight
    )
    np.testing.assert_array_equal(
        draw("conv2d in=4 out=8 kernel=1 groups=2", weights=weight).values, weight
    )
    assert "10" not in set(texts(draw(layer, weights=True))) - set(map(str, range(1, 17)))
    assert counting(own.spec).ravel().tolist() == list(range(1, 17))


@pytest.mark.parametrize(
    ("dtype", "written"),
    [("bfloat16", ["1", "0.5", "4.5"]), ("complex64", ["1", "0.5", "4.5"]), ("int8", None)],
)
def test_weights_of_every_dtype(dtype, written):
    if written is None:
        spec = ConvSpec.of("conv2d", 2, 1, 1)
        assert draw(spec, weights=np.array([[[[100]], [[100]]]], dtype)).text().count("200") == 1
        return
    layer = jnn.Conv2d(2, 1, 1, param_dtype=dtype, rngs=nnx.Rngs(0))
    layer.kernel[...] = jax.numpy.array([1, 0.5], dtype).reshape(1, 1, 2, 1)
    layer.bias[...] = jax.numpy.array([3], dtype)  # part of what ones give
    assert set(written) <= set(texts(draw(layer, weights=True)))


def test_an_abstract_layer_has_no_weights_to_write():
    layer = nnx.eval_shape(lambda: jnn.Conv2d(4, 8, 1, groups=2, rngs=nnx.Rngs(0)))
    assert draw(layer).spec.groups == 2
    with pytest.raises(ValueError, match="this layer is abstract and holds no weights"):
        draw(layer, weights=True)


def test_transposed_weights_stand_in_their_filters():
    spec = ConvSpec.of("conv_transpose1d", 2, 4, 3, groups=2, bias=False)
    picture = draw(spec, weights=True, compare=False)
    assert picture.values.shape == (2, 2, 3)
    assert not any("ones give" in t for t in texts(picture)), "true of plain convolutions only"
    assert [t for t in texts(picture) if t.isdigit() and int(t) > 3] == [
        str(n) for n in range(4, 13)
    ]


def test_layers_are_drawn():
    rngs = nnx.Rngs(0)
    spec = draw(jnn.ConvTranspose2d(8, 12, 4, 2, groups=4, rngs=rngs)).spec
    assert (spec.transposed, spec.groups, spec.in_channels) == (True, 4, 8)
    assert draw(jln.Conv2d(8, 1, groups=2, in_channels=4)).spec.in_channels == 4
    with pytest.raises(ValueError, match=r"use layer\.spec_for\(in_channels\)"):
        draw(jln.Conv2d(8, 1, groups=2))
    with pytest.raises(TypeError, match="draw takes a ConvSpec, its descriptor or a layer"):
        draw(nnx.Linear(2, 3, rngs=rngs))


@pytest.mark.parametrize(
    ("spelled", "weights", "sentence"),
    [
        ("conv2d in=65 out=1 kernel=1", True, "no room for the weights"),
        ("conv2d in=4 out=1 kernel=6", True, "no room for the weights"),
        ("conv3d in=1 out=1 kernel=1", True, "no room for the weights"),
        ("conv2d in=41 out=1 kernel=1", True, "no room for the weights"),
        (
            "conv2d in=4 out=8 kernel=1",
            np.zeros((8, 2, 1, 1)),
            r"weights must have the shape \(8, 4, 1, 1\)",
        ),
    ],
)
def test_weights_that_are_refused(spelled, weights, sentence):
    with pytest.raises(ValueError, match=sentence):
        draw(spelled, weights=weights)


def test_the_ordinary_convolution_goes_without_values_where_they_do_not_fit():
    picture = draw("conv2d in=64 out=64 kernel=1 groups=64", weights=True)
    assert "64" in texts(picture)
    assert "65" not in texts(picture)


# --- text form ------------------------------------------------------------------------------------


def cells(text):
    """Rows of squares of a text picture without its ordinary part."""
    return [line for line in text.splitlines() if line.startswith("filter ")]


def test_text_form_shows_the_blocks():
    rows = cells(draw("conv2d in=4 out=8 kernel=1 groups=2", compare=False).text())
    assert [row.split()[2:6] for row in rows] == [list("■■··")] * 4 + [list("··■■")] * 4
    assert [row.split()[-1] for row in rows] == [str(n) for n in range(8)]


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize(
    "spelled",
    ["conv2d in=64 out=64 kernel=3 groups=16", "conv_transpose2d in=64 out=32 kernel=3 groups=4"],
)
def test_text_form_loses_nothing_at_any_width(spelled, width):
    spec = ConvSpec.parse(spelled)
    text = draw(spec, compare=False).text(width)
    rows = cells(text)
    assert len(rows) == spec.torch_weight_shape[0]
    assert sum(row.count("■") for row in rows) == structure(spec).kernels
    assert sum(row.count("·") + row.count("■") for row in rows) == len(rows) * (
        spec.out_channels if spec.transposed else spec.in_channels
    )


def test_text_form_with_weights_and_sums():
    text = draw("conv2d in=4 out=8 kernel=1 groups=2 bias=False", weights=True).text(140)
    beside = [line for line in text.splitlines() if line.startswith("filter 5")]
    expected = "filter 5 21 22 23 24 → output 5 90 filter 5 · · 11 12 group 1 → output 5 23"
    assert " ".join(beside[0].split()) == expected
    kernels = draw("conv2d in=2 out=2 kernel=2 groups=2", weights=True, compare=False).text()
    assert ["3", "4"] in [line.split() for line in kernels.splitlines()]


def test_text_form_counts_what_it_leaves_out():
    text = draw("conv2d in=256 out=256 kernel=3 groups=64").text()
    assert "more groups" in text
    assert "more filters" in text


def test_colours_in_a_terminal():
    from io import StringIO

    from rich.console import Console

    out = StringIO()
    console = Console(file=out, force_terminal=True, color_system="truecolor", width=100)
    console.print(draw("conv2d in=4 out=8 kernel=1 groups=2"))
    assert "\x1b[38;2;47;106;168m■" in out.getvalue()
    assert "\x1b[38;2;242;177;52m■" in out.getvalue()


# --- the window, the bias, deep kernels -----------------------------------------------------------


WINDOWS = {
    "conv2d in=2 out=2 kernel=3": "",
    "conv2d in=2 out=2 kernel=3 stride=2 padding=1": (
        "windows start 2 apart; input padded by 1 with zeros"
    ),
    "conv1d in=2 out=2 kernel=3 padding=4:0 dilation=2 padding_mode=reflect": (
        "input padded by 4:0 with its own values (reflect); kernel elements 2 apart, over 5"
    ),
    "conv3d in=2 out=2 kernel=3x3x5 stride=1x2x3 dilation=1x1x2": (
        "windows start 1 × 2 × 3 apart; kernel elements 1 × 1 × 2 apart, over 3 × 3 × 9"
    ),
    "conv_transpose2d in=2 out=2 kernel=4 stride=3 padding=1 output_padding=2x1": (
        "inputs are written 3 apart; 1 cropped off the output; 2 × 1 more at the end of the output"
    ),
}


@pytest.mark.parametrize("spelled", WINDOWS)
def test_the_window_is_told_in_both_forms(spelled):
    shown = draw(spelled, compare=False)
    assert (WINDOWS[spelled] in texts(shown)) == (WINDOWS[spelled] != "")
    assert shown.text(200).splitlines()[2] == WINDOWS[spelled]


@pytest.mark.parametrize(
    ("spelled", "labels"),
    [
        ("conv2d in=2 out=2 kernel=3x4 stride=1x3 padding=0x2 dilation=2", "input along W"),
        ("conv1d in=2 out=2 kernel=3 stride=2 padding=1", "input"),
        ("conv_transpose1d in=2 out=2 kernel=5 stride=2 padding=2", "output"),
        ("conv2d in=2 out=2 kernel=5x1 stride=2x1", "input along H"),
    ],
)
def test_the_strip_shows_what_two_neighbours_touch(spelled, labels):
    """Its filled cells are the positions that PyTorch's formula gives, padding included."""
    spec = ConvSpec.parse(spelled)
    scene = strip(spec)
    axis = {"H": 0, "W": 1}.get(labels[-1], 0)
    kernel, stride = spec.kernel_size[axis], spec.stride[axis]
    dilation, pad = spec.dilation[axis], spec.padding[axis][0]
    rows = {}
    for box in (s for s in scene.shapes if isinstance(s, Box)):
        rows.setdefault(box.y, []).append(box)
    line, first, second = (rows[y] for y in sorted(rows))
    left = line[0].x
    places = [[round((b.x - left) / b.width) for b in row] for row in (first, second)]
    assert places[0] == [tap * dilation for tap in range(kernel)]
    assert places[1] == [stride + tap * dilation for tap in range(kernel)]
    assert len(line) == max(places[1]) + 1
    white = line[0].fill if pad else None
    assert [b.fill for b in line].count(white) == pad
    assert labels in [s.text for s in scene.shapes if isinstance(s, Text)]


def test_a_window_without_room_is_told_in_words_alone():
    scene = strip(ConvSpec.parse("conv1d in=1 out=2 kernel=80 stride=4"))
    assert [s.text for s in scene.shapes] == ["windows start 4 apart"]


def test_a_deep_kernel_has_slices():
    """As many as it is deep, up to 4, one behind the other."""
    for depth, slices in ((1, 1), (3, 3), (9, 4)):
        shown = draw(f"conv3d in=2 out=2 kernel={depth}x3x3 groups=2", compare=False)
        edged = [s for s in shown.scene().shapes if isinstance(s, Box) and s.edge is not None]
        assert len(edged) == 2 + 2 + 2 * slices, depth


def test_the_bias_in_what_ones_give():
    """A layer's bias is added; that of a spec has no value, so it is named."""
    layer = jnn.Conv2d(2, 2, 1, groups=2, rngs=nnx.Rngs(0))
    layer.kernel[...] = jax.numpy.array([5.0, 7.0], "float32").reshape(1, 1, 1, 2)
    layer.bias[...] = jax.numpy.array([100.0, 200.0], "float32")
    shown = draw(layer, weights=True, compare=False)
    assert {"105", "207", "ones give"} <= set(texts(shown))
    assert cells(shown.text())[1].split()[-1] == "207"
    for spelled, head in (("", "ones give, + bias"), (" bias=False", "ones give")):
        spec = f"conv2d in=2 out=2 kernel=1 groups=2{spelled}"
        shown = draw(spec, weights=True, compare=False)
        assert head in texts(shown)
        assert head in shown.text()
        assert ("+ bias" in shown.text()) == ("+ bias" in head)


def test_no_hatch_under_digits():
    """Of a seventh group: values stand on a plain kernel, a channel's number on a plain plate."""
    shapes = draw("conv2d in=8 out=8 kernel=2 groups=8", weights=True).scene().shapes
    hatched = [(i, s) for i, s in enumerate(shapes) if isinstance(s, Box) and s.hatch]
    assert len(hatched) == 4  # two channels on each side, no kernel
    for number, text in enumerate(shapes):
        if not isinstance(text, Text):
            continue
        for before, box in hatched:
            inside = box.x < text.x < box.x + box.width and box.y < text.y < box.y + box.height
            if before < number and inside:
                plate = shapes[number - 1]
                assert isinstance(plate, Box)
                assert (plate.hatch, plate.fill) == ("", box.fill)
                assert plate.width >= text_width(text.text, text.size) + 4
                assert plate.height >= text.size + 6
