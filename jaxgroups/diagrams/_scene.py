"""A drawing as a list of simple shapes at absolute places, between layout and renderer.

Lengths are pixels, y grows downwards, text stands on its baseline. What overlaps whom can be
computed from here, and no renderer decides anything.
"""

from dataclasses import dataclass, field

Point = tuple[float, float]
Segment = tuple[Point, ...]


@dataclass(frozen=True)
class Box:
    """A filled rectangle from its top left corner."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    edge: str | None = None
    hatch: str = ""
    hatch_colour: str = ""


@dataclass(frozen=True)
class Lines:
    """Open polylines of one colour; with `heads` each ends in an arrow head."""

    segments: tuple[Segment, ...]
    colour: str
    width: float = 0.8
    heads: bool = False


@dataclass(frozen=True)
class Text:
    """One line of text; `anchor` is start, middle or end."""

    x: float
    y: float
    text: str
    size: float = 12
    anchor: str = "start"
    bold: bool = False
    colour: str = "#222222"


Shape = Box | Lines | Text


@dataclass
class Scene:
    """Shapes in the order of painting."""

    width: float = 0
    height: float = 0
    shapes: list[Shape] = field(default_factory=list)


def text_width(text: str, size: float, bold: bool = False) -> float:
    """Upper estimate of a text's width, so that layout needs no font."""
    return len(text) * size * (0.7 if bold else 0.62)


def centred(x: float, y: float, text: str, size: float, colour: str, bold: bool = False) -> Text:
    """Text in the middle of a box whose middle is (x, y)."""
    return Text(x, y + 0.36 * size, text, size, "middle", bold, colour)
