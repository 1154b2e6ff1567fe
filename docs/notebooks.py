"""The examples as notebooks: ``python docs/notebooks.py`` writes `examples/notebooks`.

A cell is what blank lines separate at the top level of the program. The notebooks have no outputs,
so that they change with the programs alone.
"""

import ast
import json
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
NOTEBOOKS = EXAMPLES / "notebooks"
INSTALL = """\
# where jaxgroups is missing, as in Colab: the wheel, which contains the compiled kernels
import importlib.util

if importlib.util.find_spec("jaxgroups") is None:
    %pip install --quiet jaxgroups"""
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"


def repository() -> str | None:
    """``OWNER/NAME`` on GitHub, once pyproject.toml has the address."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    source = project.get("urls", {}).get("Source", "")
    return source.removeprefix("https://github.com/").strip("/") or None


def colab(name: str, where: str | None) -> str:
    """The line that opens a notebook in Colab."""
    if where is None:
        return "To open this notebook in Colab, choose *File*, *Upload notebook* there."
    path = f"github/{where}/blob/main/examples/notebooks/{name}"
    return f"[![Open in Colab]({BADGE})](https://colab.research.google.com/{path})"


def paragraphs(program: str) -> tuple[str, list[str]]:
    """The docstring of a program, and its paragraphs; the imports are one."""
    lines, tree = program.splitlines(), ast.parse(program)
    found: list[str] = []
    imports, end = True, tree.body[0].end_lineno or 0
    for statement in tree.body[1:]:
        decorators = getattr(statement, "decorator_list", [])
        begin = min(node.lineno for node in (statement, *decorators))
        between = lines[end : begin - 1]
        comments = [line for line in between if line]
        text = "\n".join([*comments, *lines[begin - 1 : statement.end_lineno]])
        is_import = isinstance(statement, ast.Import | ast.ImportFrom)
        if found and ((imports and is_import) or "" not in between):
            found[-1] += "\n" * (1 + between.count("")) + text
        else:
            found.append(text)
        imports, end = is_import, statement.end_lineno or 0
    return ast.get_docstring(tree) or "", found


def notebook(program: str, name: str, where: str | None) -> dict[str, Any]:
    """The notebook of a program, as nbformat 4.5 has it."""
    title, code = paragraphs(program)
    first, _, rest = title.partition("\n")
    head = "\n\n".join(filter(None, [f"# {first.rstrip('.')}", rest.strip(), colab(name, where)]))
    texts = [("markdown", head), *(("code", text) for text in (INSTALL, *code))]
    cells = []
    for i, (kind, text) in enumerate(texts):
        cell = {"cell_type": kind, "id": f"cell-{i}", "metadata": {}}
        cell["source"] = text.splitlines(keepends=True)
        cells.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def written() -> dict[Path, str]:
    """The notebooks as files."""
    where = repository()
    files = {}
    for program in sorted(EXAMPLES.glob("*.py")):
        path = NOTEBOOKS / f"{program.stem}.ipynb"
        made = notebook(program.read_text(encoding="utf-8"), path.name, where)
        files[path] = json.dumps(made, indent=1, ensure_ascii=False) + "\n"
    return files


if __name__ == "__main__":
    NOTEBOOKS.mkdir(exist_ok=True)
    for path, text in written().items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))
