"""The drawn picture: nothing overlaps or is cut off, colours hold, the SVG is the golden one."""

import itertools
import re
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from support.golden_files import GOLDEN, PAGES, assert_golden

from jaxgroups import ConvSpec, cli
from jaxgroups.diagrams import _palette as palette
from jaxgroups.diagrams import draw
from jaxgroups.diagrams._scene import Box, Text

pytest.importorskip("matplotlib", reason="pictures are NOT tested: no matplotlib (extra plot)")

# name: descriptor, weights
PICTURES = {
    "experiment": ("conv2d in=4 out=8 kernel=1 groups=2 bias=False", True),
    "ordinary": ("conv2d in=3 out=4 kernel=3 batch=32 size=224", False),
    "depthwise": ("conv2d in=6 out=12 kernel=3 padding=1 groups=6", False),
    "resnext": ("conv2d in=128 out=128 kernel=3 padding=1 groups=32 bias=False", False),
    "transposed": ("conv_transpose2d in=8 out=12 kernel=4 stride=2 padding=1 groups=4", False),
    "weights": ("conv2d in=4 out=4 kernel=3 groups=2", True),
    "one": ("conv1d in=1 out=1 kernel=5", True),
    "wide": ("conv3d in=4 out=96 kernel=1x3x3 groups=4", False),
    "deep": ("conv3d in=4 out=6 kernel=3 stride=2 padding=1 dilation=2 groups=2", False),
}
MORE = {
    "sixty-four": ("conv2d in=64 out=64 kernel=3 groups=4", False),
    "depthwise-64": ("conv2d in=64 out=64 kernel=3 groups=64", False),
    "thousands": ("conv2d in=2048 out=4096 kernel=1 groups=2 batch=16 size=112", False),
    "depthwise-1280": ("conv2d in=1280 out=1280 kernel=5 groups=1280", False),
    "transposed-512": ("conv_transpose2d in=512 out=256 kernel=4 groups=8", False),
    "transposed-1d": ("conv_transpose1d in=3 out=6 kernel=16 stride=8 groups=3", True),
    "negative": ("conv2d in=2 out=2 kernel=2", -0.123 * np.arange(16).reshape(2, 2, 2, 2)),
    "causal": ("conv1d in=24 out=24 kernel=9 padding=8:0 groups=12 padding_mode=replicate", False),
    "hatched": ("conv2d in=14 out=14 kernel=2 padding=1 groups=14", True),
    "deep-64": ("conv3d in=64 out=64 kernel=5x3x3 dilation=3x2x2 groups=8", False),
    "many-outputs": ("conv2d in=1 out=64 kernel=3", False),
    "many-inputs": ("conv2d in=64 out=1 kernel=3", False),
}


def picture(name):
    spelled, weights = (PICTURES | MORE)[name]
    return draw(spelled, weights=weights)


def extents(figure):
    """(text, left, bottom, right, top) of every text as the renderer places it, in pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    boxes = [t.get_window_extent(renderer) for t in figure.axes[0].texts]
    return [
        (t.get_text(), b.x0, b.y0, b.x1, b.y1)
        for t, b in zip(figure.axes[0].texts, boxes, strict=True)
    ]


def overlap(a, b):
    return a[1] < b[3] and b[1] < a[3] and a[2] < b[4] and b[2] < a[4]


@pytest.mark.parametrize("name", PICTURES | MORE)
def test_no_text_overlaps_another_or_leaves_the_picture(name):
    figure = picture(name).figure()
    texts = extents(figure)
    width, height = figure.bbox.width, figure.bbox.height
    assert len(texts) > 10
    for text, left, bottom, right, top in texts:
        assert left >= 4, text
        assert bottom >= 4, text
        assert right <= width - 4, text
        assert top <= height - 4, text
    assert [(a[0], b[0]) for a, b in itertools.combinations(texts, 2) if overlap(a, b)] == []


@pytest.mark.parametrize("name", PICTURES | MORE)
def test_labels_lie_within_their_boxes_or_beside_them(name):
    shown = picture(name)
    figure = shown.figure()
    height = figure.bbox.height
    boxes = [s for s in shown.scene().shapes if isinstance(s, Box) and s.edge is not None]
    for text, left, bottom, right, top in extents(figure):
        for b in boxes:
            box = (None, b.x, height - b.y - b.height, b.x + b.width, height - b.y)
            if overlap((text, left, bottom, right, top), box):
                assert left >= box[1], text
                assert right <= box[3], text


def test_the_checks_of_places_can_fail():
    from jaxgroups.diagrams import _matplotlib as mpl
    from jaxgroups.diagrams._scene import Scene

    close = [Text(10, 50, "one text", 12), Text(40, 52, "another", 12)]
    texts = extents(mpl.figure(Scene(200, 100, list(close))))
    assert overlap(*texts)
    apart = [Text(10, 50, "one text", 12), Text(120, 52, "another", 12)]
    assert not overlap(*extents(mpl.figure(Scene(200, 100, list(apart)))))


# --- colours --------------------------------------------------------------------------------------

# linear sRGB to XYZ (IEC 61966-2-1), and three kinds of colour blindness after Machado et al. 2009
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
EYES = {
    "usual": np.eye(3),
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def linear(colour):
    srgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def lab(colour, eye="usual"):
    seen = np.clip(np.asarray(EYES[eye]) @ linear(colour), 0, 1)
    x, y, z = XYZ @ seen / XYZ.sum(axis=1)
    f = [np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z)]
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eye", EYES)
def test_colours_differ_for_every_eye(eye):
    for one, other in itertools.combinations(palette.FILLS, 2):
        assert np.linalg.norm(lab(one, eye) - lab(other, eye)) > 12, (one, other)


def test_colours_differ_in_grey():
    lightness = [lab(fill)[0] for fill in palette.FILLS]
    assert min(abs(a - b) for a, b in itertools.combinations(lightness, 2)) > 9
    neighbours = itertools.pairwise(lightness)
    assert min(abs(a - b) for a, b in neighbours) > 25


def test_texts_are_readable_on_their_fills():
    for group in range(24):
        style = palette.style(group)
        assert palette.contrast(style.text, style.fill) >= 4.5
        assert palette.contrast(style.line, palette.PAPER) >= 4.5
        assert palette.contrast(palette.INK, style.tint) >= 7
    styles = {(s.fill, s.hatch) for s in map(palette.style, range(24))}
    assert len(styles) == 24, "colour and hatch together tell 24 groups apart"


def test_every_group_is_named_where_it_is_drawn():
    texts = [s.text for s in picture("depthwise").scene().shapes if isinstance(s, Text)]
    assert [t for t in texts if t.startswith("group ")] == [f"group {g}" for g in range(6)]


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PICTURES)
def test_golden(name):
    folder = PAGES if name in ("experiment", "resnext") else GOLDEN
    assert_golden(picture(name).svg(), folder / f"{name}.svg")


def test_svg_is_the_same_in_another_process_whatever_the_user_set(tmp_path):
    taste = ("font.size: 30", "svg.fonttype: path", "text.usetex: True", "savefig.bbox: tight")
    taste += ("figure.facecolor: black", "figure.constrained_layout.use: True", "font.weight: bold")
    (tmp_path / "matplotlibrc").write_text("\n".join(taste))
    source = (
        f"from jaxgroups.diagrams import draw; draw({PICTURES['depthwise'][0]!r}).save('a.svg')"
    )
    subprocess.run([sys.executable, "-c", source], cwd=tmp_path, check=True)
    assert (tmp_path / "a.svg").read_text(encoding="utf-8") == picture("depthwise").svg()


def test_svg_holds_its_texts_and_no_date():
    svg = picture("experiment").svg()
    texts = re.findall(r">([^<>]+)</text>", svg)
    assert "4 kernels of 1 × 1 each" in texts
    assert {"3", "7", "11", "15", "19", "23", "27", "31"} <= set(texts)
    assert not re.search(r"\d{4}-\d\d-\d\d|matplotlib\.org", svg.split("<g ", 1)[1])
    assert "<dc:date>" not in svg


def test_png_and_pdf(tmp_path):
    shown = picture("experiment")
    scene = shown.scene()
    shown.save(tmp_path / "a.png")
    shown.save(str(tmp_path / "a.PDF"))
    png = (tmp_path / "a.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    size = [int.from_bytes(png[at : at + 4], "big") for at in (16, 20)]
    assert size == [2 * scene.width, 2 * scene.height]
    assert (tmp_path / "a.PDF").read_bytes().startswith(b"%PDF")
    from matplotlib.image import imread

    pixels = imread(BytesIO(png))[..., :3]
    seen = {tuple(p) for p in np.round(pixels.reshape(-1, 3) * 255).astype(int).tolist()}
    for group in (0, 1):
        fill = palette.style(group).fill
        assert tuple(int(fill[i : i + 2], 16) for i in (1, 3, 5)) in seen
    with pytest.raises(ValueError, match="a picture is svg, png, pdf, but got 'jpg'"):
        shown.save(tmp_path / "a.jpg")


@pytest.mark.parametrize("form", ["svg", "png", "pdf"])
def test_command_writes_files(tmp_path, capsys, form):
    path = tmp_path / f"groups.{form}"
    argv = ["diagram", "4", "8", "--groups", "2", "--weights", "--no-bias", "-o", str(path)]
    assert cli.main(argv) == 0
    assert capsys.readouterr() == ("", "")
    if form == "svg":
        assert path.read_text(encoding="utf-8") == picture("experiment").svg()
    assert path.stat().st_size > 5000


def test_command_says_where_it_cannot_write(tmp_path, capsys):
    assert cli.main(["diagram", "4", "8", "-o", str(tmp_path / "no" / "a.svg")]) == 2
    assert "No such file or directory" in capsys.readouterr().err


# --- notebooks ------------------------------------------------------------------------------------


def test_a_notebook_shows_a_spec_as_its_picture():
    spec = ConvSpec.of("conv2d", 4, 8, 1, groups=2)
    bundle = spec._repr_mimebundle_()
    assert bundle["image/svg+xml"] == draw(spec).svg()
    assert bundle["text/plain"] == repr(spec)
    assert draw(spec)._repr_mimebundle_()["text/plain"] == draw(spec).text()


WITHOUT = """
import sys
sys.modules["matplotlib"] = None  # an import of matplotlib raises
from jaxgroups import ConvSpec, cli
from jaxgroups.diagrams import draw
spec = ConvSpec.of("conv2d", 4, 8, 1, groups=2)
assert set(spec._repr_mimebundle_()) == {"text/plain"}, spec._repr_mimebundle_()
assert set(draw(spec)._repr_mimebundle_()) == {"text/plain"}
assert "■ ■ · ·" in draw(spec).text()
assert cli.main(["diagram", "4", "8", "--groups", "2"]) == 0
raise SystemExit(cli.main(["diagram", "4", "8", "-o", "a.svg"]))
"""


def test_without_matplotlib_there_is_text_and_a_remedy(tmp_path):
    command = [sys.executable, "-c", WITHOUT]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "every filter reads 2 of the 4 input channels" in done.stdout
    assert done.stderr.strip() == (
        "jaxgroups diagram: a picture needs matplotlib: pip install 'jaxgroups[plot]'; the text "
        "form does without"
    )
    assert list(tmp_path.iterdir()) == []
