"""A table that fits a width: columns are left out and names shortened, and a line says so."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jaxgroups._printable import printable

APART = 2  # spaces between two columns
NAME = 16  # letters of a name in the first column that are always shown


@dataclass(frozen=True)
class Column:
    """A heading; columns of the greatest `need` come first where room is short, None always."""

    name: str
    justify: str
    need: int | None = None


@dataclass(frozen=True)
class Report:
    """A table, its last row in bold, and the lines below it, for rich.

    Where the width is too small, columns are left out. Then the first column, of names, keeps the
    ends of its names. It is never cut otherwise.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[str, ...]

    def __rich_console__(self, printer: Any, options: Any) -> Iterator[Any]:
        from rich.table import Table
        from rich.text import Text

        shown, room = self._fitting(options.max_width)
        table = Table(box=None, pad_edge=False, padding=(0, APART, 0, 0), header_style="bold")
        for number in shown:
            column = self.columns[number]
            table.add_column(column.name, justify=column.justify, no_wrap=True)  # type: ignore
        for row in self.rows:
            cells = [_ending(row[0], room), *(row[number] for number in shown[1:])]
            # plain text: rich would read ``[red]`` in a name as a colour
            texts = [Text(cell) for cell in cells]
            table.add_row(*texts, style="bold" if row is self.rows[-1] else None)
        yield from printer.render(table, options.update(max_width=1000))
        yield Text()
        for line in (*self.lines, *self._left_out(shown, options.max_width)):
            yield Text(printable(line))

    def _cells(self) -> list[list[str]]:
        """The cells of each column, all rows of the same length."""
        padded = (row + ("",) * (len(self.columns) - len(row)) for row in self.rows)
        return [list(cells) for cells in zip(*padded, strict=True)]

    def _fitting(self, width: int) -> tuple[list[int], int]:
        """The numbers of the columns that are shown, and the letters of a name."""
        from rich.cells import cell_len

        widths = [
            max(cell_len(printable(text)) for text in (column.name, *cells))
            for column, cells in zip(self.columns, self._cells(), strict=True)
        ]
        names = min(widths[0], NAME)
        needs = [column.need for column in self.columns]
        shown = [number for number, need in enumerate(needs) if need is None]
        used = names + sum(widths[number] + APART for number in shown[1:])
        optional = [number for number, need in enumerate(needs) if need is not None]
        for number in sorted(optional, key=lambda number: -(needs[number] or 0)):
            if used + APART + widths[number] <= width:
                used += APART + widths[number]
                shown.append(number)
        return sorted(shown), max(names, names + width - used)

    def _left_out(self, shown: list[int], width: int) -> list[str]:
        names = [c.name for number, c in enumerate(self.columns) if number not in shown]
        return [f"left out at a width of {width}: {', '.join(names)}"] if names else []


def _ending(name: str, room: int) -> str:
    """A name, or as much of its end as there is room for.

    >>> _ending("encoder.layers.3.conv", 12)
    '…yers.3.conv'
    """
    name = printable(name)
    return name if len(name) <= room else "…" + name[len(name) - room + 1 :]
