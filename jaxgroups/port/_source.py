"""The whole file: imports, classes, formatted."""

import re
import subprocess
import sys
import textwrap
from collections.abc import Sequence

from jaxgroups.port._classes import Class
from jaxgroups.port._register import IMPORTS
from jaxgroups.port._render import render

# what the text uses, and the line that imports it, in the order of the file
_IMPORTS = (
    ("math.", "import math"),
    ("Any", "from typing import Any"),
    ("", ""),
    ("jax.", "import jax"),
    ("jnp.", "import jax.numpy as jnp"),
    ("jg.", "import jaxgroups as jg"),
    ("jnn.", "import jaxgroups.nnx as jnn"),
    ("nnx.", "from flax import nnx"),
)

_ABSENT = '''
def _not_ported(what: str, *inputs: Any) -> Any:
    """Stands where the original has what has no counterpart."""
    raise NotImplementedError(what)
'''


def source(found: list[Class], title: str, notes: Sequence[str] = (), fixed: bool = False) -> str:
    """The text of the file.

    Args:
      found: the classes, each after those it uses.
      title: the first line of the module's docstring.
      notes: what a reader should know, for the docstring.
      fixed: whether it may compute something else for other sizes than the example's.
    """
    texts = [render(one, fixed) for one in found]
    if any("_not_ported(" in text for text in texts):
        texts.insert(0, _ABSENT.strip() + "\n")
    body = "\n\n".join(texts)
    more = [(word, line) for word, line in sorted(IMPORTS.items())]
    imports = [
        line
        for word, line in [*_IMPORTS[:-1], *more, _IMPORTS[-1]]
        if not word or re.search(rf"(?<![\w.]){re.escape(word)}", body)
    ]
    head = "\n".join(imports).strip("\n")
    return formatted(f'"""{_about(title, notes)}"""\n\n{head}\n\n\n{body}')


def _about(title: str, notes: Sequence[str]) -> str:
    """The module's docstring."""
    if not notes:
        return title
    paragraphs = [
        textwrap.fill(
            f"{note[:1].upper()}{note[1:]}.".replace("\\", "\\\\").replace('"', "'"),
            98, initial_indent="* ", subsequent_indent="  ",
            break_long_words=False, break_on_hyphens=False,
        )
        for note in notes
    ]  # fmt: skip
    return "\n".join([title, "", *paragraphs, ""])


def formatted(text: str) -> str:
    """The text as ``ruff format`` writes it.

    Raises:
      ModuleNotFoundError: ruff is not installed.
    """
    try:
        import ruff  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the formatter ruff is not installed: pip install 'jaxgroups[port]'"
        ) from error
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length", "100", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ruff cannot format the source: {done.stderr.strip()}\n{text}")
    return done.stdout
