"""Results as text for people and as HTML for notebooks."""

from collections.abc import Iterable, Sequence
from html import escape

from jaxgroups._printable import printable, printable_lines

Row = Sequence[str]


def counted(number: int, noun: str) -> str:
    """``1 tensor``, ``2 tensors``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def text_table(rows: Sequence[Row]) -> list[str]:
    """The lines of a table whose columns are aligned on the left; each cell is one line."""
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
