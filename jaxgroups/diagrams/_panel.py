"""One convolution drawn: input channels, arrows, filters as stacks of kernels, output channels."""

from collections.abc import Iterable

import numpy as np

from jaxgroups.diagrams import _palette as palette
from jaxgroups.diagrams import _weights as weights
from jaxgroups.diagrams import _words as words
from jaxgroups.diagrams._measure import DIGIT, Measure, measure
from jaxgroups.diagrams._palette import Style
from jaxgroups.diagrams._scene import Box, Lines, Point, Scene, Segment, Text, centred, text_width
from jaxgroups.diagrams._structure import Structure
from jaxgroups.diagrams._view import Gap, GroupView, Items, View

LABEL = 62  # room for "group 31" at the left
MANY = 84  # width of a zone of arrows where each side has several
ONE = 46  # and where arrows go from one to one
DIRECT = 40  # arrows of a group that are drawn one by one; more share a bus
HEAD = 92  # height of titles and column headings
HATCHED = 20  # side of the least box that a hatch is seen in
SMALL = 11


class Panel:
    """Shapes of one structure, from its top left corner; `scene` is the result."""

    def __init__(
        self,
        structure: Structure,
        view: View,
        pitch: float,
        values: np.ndarray | None,
        bias: np.ndarray | None = None,
    ) -> None:
        self.structure, self.view, self.values = structure, view, values
        self.spec = structure.spec
        self.m: Measure = measure(self.spec, view, pitch, values)
        self.scene = Scene()
        self.gap = 8 if len(view.groups) <= 8 else 2  # between groups
        sums = values is not None and not self.spec.transposed
        self.sums = weights.sums(values, bias) if sums and values is not None else []
        self.sums_head = words.sums(self.spec, bias)
        self._columns()
        y = self._titles()
        for group in view.groups:
            y = self._gap(group, y) if isinstance(group, Gap) else self._group(group, y)
        self.bottom = y

    def add(self, *shapes: Box | Lines | Text) -> None:
        self.scene.shapes += shapes

    def _columns(self) -> None:
        """Places of the columns from left to right, wide enough for their headings."""
        m, spec, grouped = self.m, self.spec, self.spec.groups > 1
        filters = words.plural(len(self.structure.filters), "filter")
        self.headings = (
            ("input", words.plural(spec.in_channels, "channel")),
            (filters, words.stack(spec)),
            ("output", words.plural(spec.out_channels, "channel")),
        )
        wide = [max(text_width(b, SMALL), text_width(a, SMALL + 1, True)) for a, b in self.headings]
        into, out = (ONE, MANY) if spec.transposed else (MANY, ONE)
        if m.pitch < 20:
            into, out = into * 1.25, out * 1.25
        across = m.across(self.view)
        middle = max(across, wide[1] - ONE)
        self.x_in = max(LABEL + m.box / 2 + 14 if grouped else 0, wide[0] / 2)
        self.x_middle = self.x_in + m.box / 2 + into + middle / 2
        self.x_middle = max(self.x_middle, self.x_in + (wide[0] + wide[1]) / 2 + 8)
        self.x_stack, self.stack_end = self.x_middle - across / 2, self.x_middle + across / 2
        self.x_out = self.x_middle + middle / 2 + out + m.box / 2
        self.x_out = max(self.x_out, self.x_middle + (wide[1] + wide[2]) / 2 + 8)
        beside = text_width(self.sums_head, SMALL - 1) + 10 if self.sums else 8
        self.right = self.x_out + max(m.box / 2 + beside, wide[2] / 2)

    # --- texts --------------------------------------------------------------------------------

    def _titles(self) -> float:
        self._line(14, words.kind(self.spec), 14, bold=True)
        self._line(34, words.rule(self.spec), 12, colour=palette.MUTED)
        places = (self.x_in, self.x_middle, self.x_out)
        for x, (first, second) in zip(places, self.headings, strict=True):
            self.add(Text(x, 60, first, SMALL + 1, "middle", True))
            self.add(Text(x, 76, second, SMALL, "middle", colour=palette.MUTED))
        if self.sums:
            x = self.x_out + self.m.box / 2 + 8
            self.add(Text(x, HEAD - 2, self.sums_head, SMALL - 1, colour=palette.MUTED))
        return HEAD

    def _line(self, y: float, text: str, size: float, *, bold: bool = False, colour="#222222"):
        self.add(Text(0, y, text, size, "start", bold, colour))
        self.right = max(self.right, text_width(text, size, bold))

    def foot(self, y: float) -> None:
        """What the layer holds, below the drawing; ends the panel."""
        y += 18
        for text in (words.weight(self.spec), words.formula(self.spec), words.count(self.spec)):
            self._line(y, text, 11)
            y += 17
        self.scene.width, self.scene.height = self.right, y - 8

    # --- groups -------------------------------------------------------------------------------

    def _gap(self, gap: Gap, y: float) -> float:
        spec = self.spec
        inputs, outputs = (
            gap.count * n // spec.groups for n in (spec.in_channels, spec.out_channels)
        )
        text = (
            f"… {words.plural(gap.count, 'more group')}: {words.plural(inputs, 'input')}, "
            f"{words.plural(outputs, 'output')} …"
        )
        height = max(self.m.pitch, 20)
        self.add(centred(self.x_middle, y + height / 2, text, 11, palette.MUTED))
        return y + height + self.gap

    def _group(self, shown: GroupView, y: float) -> float:
        style, m = palette.style(shown.group.index), self.m
        height = shown.rows * m.pitch + 4
        if self.spec.groups > 1:
            half = m.box / 2 + 8
            self.add(
                Box(self.x_in - half, y, self.x_out - self.x_in + 2 * half, height, style.tint)
            )
            label = f"group {shown.group.index}"
            self.add(Text(self.x_in - half - 6, y + height / 2 + 4, label, 11, "end"))
        inputs, filters, outputs = (
            self._places(column, y, height)
            for column in (shown.inputs, shown.filters, shown.outputs)
        )
        start, end = self.x_in + m.box / 2 + 2, self.x_out - m.box / 2 - 4
        self._arrows(start, self.x_stack - 4, inputs, filters, style, self.spec.transposed)
        self._arrows(self.stack_end + 2, end, filters, outputs, style, not self.spec.transposed)
        for item, at in zip(shown.inputs, self._all(shown.inputs, y, height), strict=True):
            self._channel(self.x_in, at, item, style)
        for item, at in zip(shown.filters, self._all(shown.filters, y, height), strict=True):
            self._filter(at, item, style)
        for item, at in zip(shown.outputs, self._all(shown.outputs, y, height), strict=True):
            self._channel(self.x_out, at, item, style)
            if self.sums and isinstance(item, int):
                x = self.x_out + m.box / 2 + 14
                self.add(Text(x, at + 4, self.sums[item], 12, bold=True))
        return y + height + self.gap

    def _all(self, column: Items, y: float, height: float) -> list[float]:
        top = y + (height - len(column) * self.m.pitch) / 2
        return [top + (i + 0.5) * self.m.pitch for i in range(len(column))]

    def _places(self, column: Items, y: float, height: float) -> list[float]:
        """Heights of the channels or filters of a column that are there, gaps left out."""
        places = zip(column, self._all(column, y, height), strict=True)
        return [at for item, at in places if isinstance(item, int)]

    def _arrows(
        self,
        x0: float,
        x1: float,
        left: list[float],
        right: list[float],
        style: Style,
        one_to_one: bool,
    ) -> None:
        if one_to_one:
            pairs = zip(left, right, strict=True)
        elif len(left) * len(right) <= DIRECT:
            pairs = ((a, b) for a in left for b in right)
        else:
            self._bus(x0, x1, left, right, style)
            return
        segments = tuple(((x0, a), (x1, b)) for a, b in pairs)
        self.add(Lines(segments, style.line, 0.9, heads=True))

    def _bus(
        self, x0: float, x1: float, left: list[float], right: list[float], style: Style
    ) -> None:
        """Every one on the left with every one on the right, by one vertical line."""
        x = (x0 + x1) / 2
        trunk: Segment = ((x, min(*left, *right)), (x, max(*left, *right)))
        self.add(Lines((trunk,), style.line, 2.2))
        self.add(Lines(tuple(((x0, a), (x, a)) for a in left), style.line, 0.9))
        self.add(Lines(tuple(((x, b), (x1, b)) for b in right), style.line, 0.9, heads=True))

    # --- boxes --------------------------------------------------------------------------------

    def _tile(
        self, x: float, y: float, width: float, height: float, style: Style, written: bool = False
    ) -> None:
        """A box of a group; without its hatch if it is `written` all over."""
        hatch = style.hatch if self.m.box >= HATCHED and not written else ""
        self.add(Box(x, y, width, height, style.fill, palette.INK, hatch, style.text))

    def _channel(self, x: float, y: float, item: int | Gap, style: Style) -> None:
        if isinstance(item, Gap):
            self.add(centred(x, y, f"+{item.count}", 10, palette.INK))
            return
        side = self.m.box
        self._tile(x - side / 2, y - side / 2, side, side, style)
        text = str(item)
        self._label(x, y, text, min(12, side * 0.62, (side - 2) / text_width(text, 1)), style)

    def _label(self, x: float, y: float, text: str, size: float, style: Style) -> None:
        if style.hatch and self.m.box >= HATCHED:  # the digits stand on a plain plate
            side = self.m.box
            size = min(size, 10)
            width = min(max(text_width(text, size) + 4, 0.64 * side), side - 2)
            height = 0.64 * side
            self.add(Box(x - width / 2, y - height / 2, width, height, style.fill))
        self.add(centred(x, y, text, size, style.text))

    def _filter(self, y: float, item: int | Gap, style: Style) -> None:
        if isinstance(item, Gap):
            text = f"+{words.plural(item.count, 'filter')}"
            self.add(centred(self.x_middle, y, text, 10, palette.INK))
            return
        m = self.m
        x, top = self.x_stack, y - m.card[1] / 2 + m.card[1] - m.face[1]
        if m.overlap:
            before = self.stack_end - m.card[0] - x
            self._solid(x, top, before + m.face[0], m.face[1], style)
            edges = [x + i * m.step for i in range(1, len(self.view.stack))]
            self.add(Lines(tuple(((e, top), (e, top + m.face[1])) for e in edges), style.text, 0.5))
            self._grid(x + before, top, style)
            return
        for position, kernel in enumerate(self.view.stack):
            left = x + position * m.step
            if isinstance(kernel, Gap):
                self.add(centred(left + m.face[0] / 2, y, f"+{kernel.count}", 9, palette.INK))
                continue
            self._solid(left, top, *m.face, style)
            self._grid(left, top, style)
            if self.values is not None:
                self._values(left, top, self.values[item, kernel], style)

    def _solid(self, x: float, y: float, width: float, height: float, style: Style) -> None:
        """The front of a kernel, with the slices of its depth behind it."""
        for behind in reversed(range(self.m.slices)):
            away = behind * self.m.shift
            written = self.values is not None
            self._tile(x + away, y - away, width, height, style, written)

    def _grid(self, x: float, y: float, style: Style) -> None:
        """The elements of one kernel, of three axes those of its front."""
        (width, height), cell = self.m.face, self.m.cell
        if min(cell) < 3.5:
            return
        down = _between(x, width, cell[0])
        across = _between(y, height, cell[1])
        segments = [((a, y), (a, y + height)) for a in down]
        segments += [((x, b), (x + width, b)) for b in across]
        if segments:
            self.add(Lines(tuple(segments), style.text, 0.5))

    def _values(self, x: float, y: float, kernel: np.ndarray, style: Style) -> None:
        width, height = self.m.cell
        for row, line in enumerate(kernel.reshape(-1, kernel.shape[-1])):
            for column, value in enumerate(line):
                at: Point = (x + (column + 0.5) * width, y + (row + 0.5) * height)
                self.add(centred(*at, weights.number(value), DIGIT, style.text))


def _between(start: float, length: float, step: float) -> Iterable[float]:
    return (start + i * step for i in range(1, round(length / step)))
