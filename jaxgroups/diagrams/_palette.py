"""Colours of groups: told apart in colour, in grey and by colour-blind eyes.

Six fills whose lightness differs by at least 10 (of 100) from each other and by at least 25 from
the next group's; from the seventh group on a hatch comes with the same fills. The number of the
group stands beside every block, so no reader needs the colour.
"""

from dataclasses import dataclass

FILLS = ("#2f6aa8", "#f2b134", "#4a1f4f", "#d97fa8", "#eef0a6", "#2a8f7f")
HATCHES = ("", "////", "----", "xxxx")
INK = "#222222"
PAPER = "#ffffff"
MUTED = "#5a5a5a"
TINT = "#dde6f0"  # of an axis that belongs to no group


@dataclass(frozen=True)
class Style:
    """How one group is drawn: `text` is readable on `fill`, `line` on paper."""

    fill: str
    hatch: str
    text: str
    line: str
    tint: str


def mix(colour: str, other: str, share: float) -> str:
    """`colour` with a share of another colour in it."""
    pairs = ((int(colour[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def luminance(colour: str) -> float:
    """Relative luminance of sRGB, 0 to 1, as contrast ratios use it."""
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1 to 21; 4.5 is readable text."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def style(group: int) -> Style:
    """The style of a group by its number."""
    fill = FILLS[group % len(FILLS)]
    text = max((PAPER, "#000000"), key=lambda colour: contrast(colour, fill))
    line = fill
    while contrast(line, PAPER) < 4.5:
        line = mix(line, "#000000", 0.1)
    hatch = HATCHES[group // len(FILLS) % len(HATCHES)]
    return Style(fill, hatch, text, line, mix(fill, PAPER, 0.86))
