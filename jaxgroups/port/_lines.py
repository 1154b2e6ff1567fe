"""What the original's lines say: the names of results."""

import ast
import linecache
from functools import cache
from typing import Any

from jaxgroups.port._graph import Line


def result_name(line: Line | None) -> str:
    """The name that the line assigns, ``""`` if it assigns none or several."""
    if line is None:
        return ""
    return _assigned(line.file).get(line.number, "")


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, in one line, without what would end a string."""
    paragraph = " ".join(text.strip().split("\n\n")[0].split())
    sentence = paragraph.partition(". ")[0].rstrip(".")
    if not sentence.isprintable() or not sentence or len(sentence) > 200:
        return ""
    if sentence.startswith((":", "Parameters", "Args")) or "\\" in sentence or '"' in sentence:
        return ""
    return sentence + "."


@cache
def _assigned(file: str) -> dict[int, str]:
    """By number of line the name that is assigned there."""
    try:
        tree: Any = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return {}
    found: dict[int, str] = {}
    node: Any
    for node in ast.walk(tree):
        target = None
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            target = node.target
        if isinstance(target, ast.Name):
            for number in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                found[number] = target.id
    return found
