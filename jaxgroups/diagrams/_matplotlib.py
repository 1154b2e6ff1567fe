"""A scene as a matplotlib figure; the only module that knows matplotlib, loaded when it draws.

An SVG of the same scene has the same bytes wherever it is made: no date, no random names, text
kept as text, so that a reader can search it and a test can compare it.
"""

from io import BytesIO
from math import hypot
from typing import Any

from jaxgroups.diagrams._scene import Box, Lines, Scene, Text

DPI = 100  # scene pixels an inch
FORMATS = ("svg", "png", "pdf")
_STYLE: Any = {
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "Helvetica"],
    "font.style": "normal",
    "font.stretch": "normal",
    "font.variant": "normal",
    "figure.autolayout": False,
    "figure.constrained_layout.use": False,
    "hatch.linewidth": 0.8,
    "path.sketch": None,
    "path.effects": [],
    "path.simplify": False,
    "patch.antialiased": True,
    "lines.antialiased": True,
    "pdf.fonttype": 42,
    "savefig.bbox": None,
    "savefig.facecolor": "auto",
    "savefig.transparent": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "jaxgroups",
    "text.parse_math": False,
    "text.usetex": False,
}
_METADATA = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def available() -> bool:
    """Whether matplotlib can be imported."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def require() -> None:
    """Refuse with the remedy where matplotlib is missing."""
    if not available():
        raise ImportError(
            "a picture needs matplotlib: pip install 'jaxgroups[plot]'; the text form does without"
        )


def figure(scene: Scene) -> Any:
    """The scene as a ``matplotlib.figure.Figure``."""
    require()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        size = (scene.width / DPI, scene.height / DPI)
        drawn = Figure(size, DPI, facecolor="white", edgecolor="white", linewidth=0)
        axes = drawn.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set(xlim=(0, scene.width), ylim=(scene.height, 0))
        for order, shape in enumerate(scene.shapes):
            _draw(axes, shape, order)
    return drawn


def render(scene: Scene, form: str, scale: float = 2) -> bytes:
    """The scene as a file's content; `scale` enlarges a PNG.

    Raises:
      ValueError: a format other than svg, png, pdf.
      ImportError: matplotlib is not installed.
    """
    if form not in FORMATS:
        raise ValueError(f"a picture is {', '.join(FORMATS)}, but got {form!r}")
    drawn = figure(scene)
    import matplotlib as mpl

    out = BytesIO()
    with mpl.rc_context(_STYLE):
        dpi = DPI * scale if form == "png" else DPI
        drawn.savefig(out, format=form, dpi=dpi, metadata=_METADATA[form])
    return out.getvalue()


def _draw(axes: Any, shape: Any, order: int) -> None:
    if isinstance(shape, Box):
        _box(axes, shape, order)
    elif isinstance(shape, Lines):
        _lines(axes, shape, order)
    else:
        _text(axes, shape, order)


def _points(width: float) -> float:
    return width * 72 / DPI


def _box(axes: Any, box: Box, order: int) -> None:
    from matplotlib.patches import Rectangle

    corner = (box.x, box.y)
    edge = box.edge or "none"
    if box.hatch:  # a hatch takes the colour of its patch's edge, so the edge comes after
        axes.add_patch(
            Rectangle(
                corner,
                box.width,
                box.height,
                facecolor=box.fill,
                edgecolor=box.hatch_colour,
                hatch=box.hatch,
                linewidth=0,
                zorder=order,
                clip_on=False,
            )
        )
    axes.add_patch(
        Rectangle(
            corner,
            box.width,
            box.height,
            facecolor="none" if box.hatch else box.fill,
            edgecolor=edge,
            linewidth=_points(0.9) if box.edge else 0,
            zorder=order,
            clip_on=False,
        )
    )


def _lines(axes: Any, lines: Lines, order: int) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    points, codes, heads = [], [], []
    for segment in lines.segments:
        points += segment
        codes += [Path.MOVETO] + [Path.LINETO] * (len(segment) - 1)
        heads += _head(*segment[-2:]) if lines.heads else []
    axes.add_patch(
        PathPatch(
            Path(points, codes),
            facecolor="none",
            edgecolor=lines.colour,
            linewidth=_points(lines.width),
            capstyle="butt",
            zorder=order,
            clip_on=False,
        )
    )
    if heads:
        codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(lines.segments)
        head = PathPatch(
            Path(heads, codes),
            facecolor=lines.colour,
            edgecolor="none",
            linewidth=0,
            zorder=order,
            clip_on=False,
        )
        axes.add_patch(head)


def _head(start: tuple[float, float], end: tuple[float, float]) -> list[tuple[float, float]]:
    """A triangle whose tip is the end of the arrow."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = hypot(dx, dy) or 1.0
    dx, dy = dx / length, dy / length
    x, y = end[0] - 6 * dx, end[1] - 6 * dy
    return [end, (x - 2.6 * dy, y + 2.6 * dx), (x + 2.6 * dy, y - 2.6 * dx), end]


def _text(axes: Any, text: Text, order: int) -> None:
    axes.text(
        text.x,
        text.y,
        text.text,
        fontsize=_points(text.size),
        fontweight="bold" if text.bold else "normal",
        color=text.colour,
        ha={"start": "left", "middle": "center", "end": "right"}[text.anchor],
        va="baseline",
        zorder=order,
    )
