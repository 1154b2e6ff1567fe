"""Formats results as text and as HTML."""

from collections.abc import Iterable, Sequence
from html import escape

from jaxgroups._printable import printable, printable_lines

Row = Sequence[str]


def counted(number: int, noun: str) -> str:
    """``1 tensor``, ``2 tensors``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def first_and_more(names: Sequence[str]) -> str:
    """The first name, and how many there are besides: ``conv1 and 3 more``."""
    more = len(names) - 1
    return f"{names[0]} and {more} more" if more else names[0]


def text_table(rows: Sequence[Row]) -> list[str]:
    """The lines of a table with left-aligned columns; each cell is one line."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def html_table(title: str, header: Row, rows: Iterable[Row], notes: Iterable[str] = ()) -> str:
    """A table with a title above and notes below it; every text is escaped."""
    head = "".join(f"<th>{_html(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{_html(cell)}</td>' for cell in row)}</tr>" for row in rows)
    below = "".join(f"<p>{escape(printable_lines(note))}</p>" for note in notes)
    return (
        f"<p><b>{_html(title)}</b></p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"
    )


def _html(text: str) -> str:
    return escape(printable(text))
