"""Results for people: rich renderables as plain text, text as HTML, output in any encoding."""

import codecs
import os
import sys
import textwrap
from html import escape
from io import StringIO, TextIOWrapper
from typing import Any

# what is printed for the signs of tables and pictures where an encoding lacks them
_SUBSTITUTES = {
    "→": "->",
    "×": "x",
    "…": "+",  # as in "+ 3 more groups"
    "■": "#",
    "·": ".",
    "′": "'",
    "¹": "^1",
    "²": "^2",
    "³": "^3",
    "₁": "1",
    "₂": "2",
    "₃": "3",
}


def plain(renderable: Any, width: int) -> str:
    """What rich prints, without colours and without spaces at the ends of the lines."""
    from rich.console import Console

    out = StringIO()
    # in a notebook rich would display the text instead of writing it
    console = Console(
        file=out, width=width, color_system=None, legacy_windows=False, force_jupyter=False
    )
    console.print(renderable, crop=False)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def terminal_width(otherwise: int) -> int:
    """The width that COLUMNS or the terminal at stdout says, `otherwise` if there is neither."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or otherwise
    except (AttributeError, ValueError, OSError):  # no terminal, or a stream without a file
        return otherwise


def wrapped(line: str, indent: int) -> str:
    """A line of text broken at spaces to fit the terminal; further lines are indented."""
    width = max(terminal_width(10_000), indent + 20)
    lines = textwrap.wrap(
        line,
        width,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines)


def html(text: str) -> str:
    """The text as HTML, escaped, with its columns kept."""
    return f'<pre style="white-space: pre; overflow-x: auto">{escape(text)}</pre>'


def replace_unencodable(*streams: Any) -> None:
    """Let streams write a substitute for what their encoding lacks, instead of an exception."""
    for stream in streams:
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="jaxgroups")


def _substitute(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wrong = error.object[error.start : error.end]
    signs = (_SUBSTITUTES.get(sign) or _escaped(sign) for sign in wrong)
    return "".join(signs), error.end


def _escaped(sign: str) -> str:
    return sign.encode("ascii", "backslashreplace").decode()


codecs.register_error("jaxgroups", _substitute)
