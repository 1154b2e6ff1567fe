"""The whole picture: a title, then one panel or the ordinary convolution beside the grouped one."""

from dataclasses import replace
from math import ceil

import numpy as np

from jaxgroups._spec import layer_text
from jaxgroups._spec.spec import ConvSpec
from jaxgroups._spec.ungrouped import ungrouped
from jaxgroups.diagrams import _palette as palette
from jaxgroups.diagrams import _words as words
from jaxgroups.diagrams._measure import row_pitch
from jaxgroups.diagrams._panel import Panel
from jaxgroups.diagrams._scene import Box, Lines, Scene, Shape, Text, text_width
from jaxgroups.diagrams._structure import structure
from jaxgroups.diagrams._view import view
from jaxgroups.diagrams._window import strip

MARGIN = 18
TITLE = 66  # height of the picture's own title
BETWEEN = 48  # from panel to panel


def layout(
    spec: ConvSpec,
    values: np.ndarray | None = None,
    compare: bool = True,
    ordinary_values: np.ndarray | None = None,
    bias: np.ndarray | None = None,
) -> Scene:
    """The scene of a spec, with weights where `values` are given, and their `bias` if known."""
    drawn = [(spec, values)]
    if compare and spec.groups > 1:
        drawn.insert(0, (ungrouped(spec), ordinary_values))
    parts = [(structure(s), v) for s, v in drawn]
    views = [view(s) for s, _ in parts]
    pitch = max(row_pitch(s.spec, w, v) for (s, v), w in zip(parts, views, strict=True))
    biases = [bias if s.spec is spec else None for s, _ in parts]
    drawings = [Panel(s, w, pitch, v, b) for (s, v), w, b in zip(parts, views, biases, strict=True)]
    for drawing in drawings:
        drawing.foot(max(d.bottom for d in drawings))
    panels = [drawing.scene for drawing in drawings]

    scene = Scene()
    title = [Text(MARGIN, 34, layer_text.constructor(spec), 16, bold=True)]
    title += [Text(MARGIN, 54, words.shapes(spec), 12, colour=palette.MUTED)]
    window = strip(spec)
    above = TITLE + window.height
    x = MARGIN
    for number, panel in enumerate(panels):
        if number:
            middle = x - BETWEEN / 2
            bottom = above + max(p.height for p in panels) + MARGIN
            rule = (((middle, above + MARGIN), (middle, bottom)),)
            scene.shapes.append(Lines(rule, "#bbbbbb", 0.8))
        scene.shapes += [moved(shape, x, above + MARGIN) for shape in panel.shapes]
        x += panel.width + BETWEEN
    wide = max(text_width(t.text, t.size, t.bold) for t in title) + MARGIN
    scene.shapes += [moved(shape, MARGIN, TITLE - 4) for shape in window.shapes]
    wide = max(wide, window.width + MARGIN)
    scene.width = ceil(max(x - BETWEEN, wide) + MARGIN)
    scene.height = ceil(above + max(p.height for p in panels) + 2 * MARGIN)
    paper = Box(0, 0, scene.width, scene.height, palette.PAPER)
    scene.shapes = [paper, *title, *scene.shapes]
    return scene


def moved(shape: Shape, x: float, y: float) -> Shape:
    """The shape at another place."""
    if isinstance(shape, Lines):
        segments = tuple(tuple((a + x, b + y) for a, b in s) for s in shape.segments)
        return replace(shape, segments=segments)
    return replace(shape, x=shape.x + x, y=shape.y + y)
