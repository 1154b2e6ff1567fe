"""What the original's lines say: the names of results."""

import ast
import linecache
from functools import cache
from typing import Any

from jaxgroups.port._graph import Line

Names = str | tuple["Names", ...]


def result_names(line: Line | None) -> Names:
    """The name that the line assigns, a tuple of the names of several, ``""`` for anything else."""
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
def _assigned(file: str) -> dict[int, Names]:
    """By number of line the names that are assigned there."""
    try:
        tree: Any = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return {}
    found: dict[int, Names] = {}
    node: Any
    for node in ast.walk(tree):
        target = None
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            target = node.target
        names = _names(target)
        if names:
            for number in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                found[number] = names
    return found


def _names(target: Any) -> Names:
    if isinstance(target, ast.Name):
        return target.id
    if isinstance(target, ast.Tuple | ast.List):
        return tuple(map(_names, target.elts))
    return ""
