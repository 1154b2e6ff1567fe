"""Text that came out of a file, made safe to print: names and metadata may hold any character."""

import re

# characters that str.isprintable() accepts although they show nothing
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def printable(text: str) -> str:
    """The text on one line, with an escape such as ``\\x1b`` for every character that is not shown.

    These are control characters, line breaks, bidirectional and zero-width characters, lone
    surrogates, and spaces other than the plain one. Backslashes stay as they are, so that a second
    call changes nothing; JSON output has the exact text.
    """
    if text.isprintable() and not _INVISIBLE.search(text):
        return text
    return "".join(map(_shown, text))


def printable_lines(text: str) -> str:
    """As `printable`, for text that jaxgroups itself broke into lines: ``\\n`` and ``\\t`` stay."""
    return re.sub(r"[^\n\t]+", lambda line: printable(line[0]), text)


def _shown(character: str) -> str:
    hidden = not character.isprintable() or _INVISIBLE.match(character)
    return character.encode("unicode_escape").decode() if hidden else character
