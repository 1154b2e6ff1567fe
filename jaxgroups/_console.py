"""Results for people: rich renderables as plain text, text as HTML for a notebook."""

from html import escape
from io import StringIO
from typing import Any


def plain(renderable: Any, width: int) -> str:
    """What rich prints, without colours and without spaces at the ends of the lines."""
    from rich.console import Console

    out = StringIO()
    console = Console(file=out, width=width, color_system=None, legacy_windows=False)
    console.print(renderable, crop=False)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def html(text: str) -> str:
    """The text as HTML, escaped, with its columns kept."""
    return f'<pre style="white-space: pre; overflow-x: auto">{escape(text)}</pre>'
