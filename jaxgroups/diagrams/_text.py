"""The picture for a terminal, drawn with rich: a table of filters by channels.

A square stands where a filter has a kernel for the channel, so groups show as blocks along the
diagonal, with colours or without.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxgroups import _console as console
from jaxgroups._spec import layer_text
from jaxgroups._spec.spec import ConvSpec
from jaxgroups._spec.ungrouped import ungrouped
from jaxgroups.diagrams import _palette as palette
from jaxgroups.diagrams import _weights as weights
from jaxgroups.diagrams import _words as words
from jaxgroups.diagrams._structure import structure
from jaxgroups.diagrams._view import Gap, GroupView, view

KERNEL, NONE, MORE = "■", "·", "…"
WIDE = 40  # of all columns, beyond which they close up
APART = 6  # columns between two tables


@dataclass(frozen=True)
class TextPicture:
    """What rich prints; ``str()`` of it is the same without colours."""

    spec: ConvSpec
    values: np.ndarray | None = None
    compare: bool = True
    ordinary_values: np.ndarray | None = None
    bias: np.ndarray | None = None

    def __rich_console__(self, printer: Any, options: Any) -> Iterator[Any]:
        from rich.table import Table
        from rich.text import Text

        yield Text(layer_text.constructor(self.spec), style="bold")
        yield Text(words.shapes(self.spec))
        if window := words.window(self.spec):
            yield Text(window)
        yield Text()
        panels = [_panel(self.spec, self.values, self.bias)]
        if self.compare and self.spec.groups > 1:
            panels.insert(0, _panel(ungrouped(self.spec), self.ordinary_values, None))
        free = options.update(max_width=1000)  # a line too long is better than one cut off
        widths = [printer.measure(panel, options=free).maximum for panel in panels]
        if len(panels) == 2 and sum(widths) + APART <= options.max_width:
            grid = Table.grid(padding=(0, APART, 0, 0), pad_edge=False)
            grid.add_row(*panels)
            panels = [grid]
        for number, panel in enumerate(panels, start=1):
            yield from printer.render(panel, free)
            if number < len(panels):
                yield Text()

    def __str__(self) -> str:
        return self.plain(100)

    def plain(self, width: int) -> str:
        """The text without colours, tables side by side where `width` has room for them."""
        return console.plain(self, width)


def _panel(spec: ConvSpec, values: np.ndarray | None, bias: np.ndarray | None) -> Any:
    from rich.console import Group
    from rich.text import Text

    foot = [words.weight(spec), words.formula(spec), words.count(spec)]
    return Group(
        Text(words.kind(spec), style="bold"),
        Text(words.rule(spec)),
        Text(),
        _table(spec, values, bias),
        Text(),
        *(Text(line) for line in foot),
    )


def _table(spec: ConvSpec, values: np.ndarray | None, bias: np.ndarray | None) -> Any:
    """One row a filter, one column a channel of the many that it reads or writes."""
    from rich.table import Table
    from rich.text import Text

    shown = view(structure(spec)).groups
    columns: list[tuple[int, Any]] = []  # group (-1 between groups), channel or gap
    for group in shown:
        many = [group] if isinstance(group, Gap) else _many(spec, group)
        index = -1 if isinstance(group, Gap) else group.group.index
        columns += [(index, channel) for channel in many]
    heads = [MORE if isinstance(c, Gap) else str(c) for _, c in columns]
    close = values is None and sum(len(head) + 1 for head in heads) > WIDE
    side = "output" if spec.transposed else "input"
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, collapse_padding=True)
    if close:
        table.add_column("", no_wrap=True)
        table.add_column(f"{side} channels {heads[0]} to {heads[-1]}", no_wrap=True)
    else:
        table.add_column(f"{side} channel", no_wrap=True)
        for head in heads:
            table.add_column(head, justify="right", no_wrap=True)
    table.add_column("group" if close else "", no_wrap=True)
    if values is not None and not spec.transposed:
        table.add_column(words.sums(spec, bias), justify="right", no_wrap=True)
    for group in shown:
        if isinstance(group, Gap):
            table.add_row(f"{MORE} {words.plural(group.count, 'more group')}")
            continue
        for item in group.filters:
            row = _row(spec, values, bias, group, item, columns)
            if close and len(row) > 1:
                first, *cells, _ = row
                row = [first, Text("").join(cells), str(group.group.index)]
            table.add_row(*row)
    return table


def _many(spec: ConvSpec, group: GroupView) -> tuple:
    return group.outputs if spec.transposed else group.inputs


def _row(
    spec: ConvSpec,
    values: np.ndarray | None,
    bias: np.ndarray | None,
    group: GroupView,
    item: Any,
    columns: list,
) -> list:
    from rich.text import Text

    if isinstance(item, Gap):
        return [f"{MORE} {words.plural(item.count, 'more filter')}"]
    style = palette.style(group.group.index)
    cell = _cells(values, item)
    cells: list[Any] = [f"filter {item}"]
    for index, channel in columns:
        mine = index == group.group.index
        if isinstance(channel, Gap):
            cells.append(Text(MORE if mine else NONE, style=style.fill if mine else "dim"))
        elif not mine:
            cells.append(Text(NONE, style="dim"))
        else:
            first = (group.group.outputs if spec.transposed else group.group.inputs)[0]
            colours = f"{style.text} on {style.fill}" if values is not None else style.fill
            cells.append(Text(cell(channel - first), style=colours))
    label = f"  group {group.group.index}" if spec.groups > 1 else "  "
    if not spec.transposed:
        label += f" → output {item}"
    cells.append(Text(label.rstrip()))
    if values is not None and not spec.transposed:
        cells.append(weights.sums(values, bias)[item])
    return cells


def _cells(values: np.ndarray | None, item: int) -> Callable[[int], str]:
    """The text of a filter's kernel by its position: its values, a line a row."""
    if values is None:
        return lambda position: KERNEL

    def lines(position: int) -> str:
        kernel = values[item, position]
        rows = [[weights.number(v) for v in row] for row in kernel.reshape(-1, kernel.shape[-1])]
        wide = max(len(text) for row in rows for text in row)
        return "\n".join(" ".join(text.rjust(wide) for text in row) for row in rows)

    return lines
