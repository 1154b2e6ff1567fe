"""The notebooks of the examples: those that the programs make, and they run in a kernel."""

import json
import re
import runpy
from importlib.util import find_spec

import pytest
from support.pages import ROOT
from test_examples import CHECKS, TORCH

MADE = runpy.run_path(str(ROOT / "docs" / "notebooks.py"))
FOLDER = ROOT / "examples" / "notebooks"
CLIENT = all(find_spec(name) for name in ("nbclient", "ipykernel"))


def test_the_notebooks_are_those_of_the_programs():
    files = MADE["written"]()
    assert {path.stem + ".py" for path in files} == set(CHECKS)
    assert sorted(FOLDER.iterdir()) == sorted(files)
    for path, text in files.items():
        assert path.read_text(encoding="utf-8") == text, "run python docs/notebooks.py"


@pytest.mark.parametrize("name", CHECKS)
def test_a_notebook_has_the_lines_of_its_program(name):
    program = (ROOT / "examples" / name).read_text(encoding="utf-8")
    cells = json.loads(FOLDER.joinpath(name).with_suffix(".ipynb").read_text("utf-8"))["cells"]
    head, install, *code = ["".join(cell["source"]) for cell in cells]
    assert head.startswith("# ")
    assert "Colab" in head
    assert "%pip install --quiet jaxgroups" in install
    assert len(code) > 3
    _, _, body = program.split('"""', 2)
    lines = [line for line in body.splitlines() if line]
    assert [line for text in code for line in text.splitlines() if line] == lines


def test_the_line_for_colab_has_the_address_of_the_repository():
    badge = MADE["colab"]("01.ipynb", "someone/jaxgroups")
    assert badge.endswith(
        "(https://colab.research.google.com/github/someone/jaxgroups/blob/main/examples/notebooks/"
        "01.ipynb)"
    )


@pytest.mark.slow
@pytest.mark.skipif(not CLIENT, reason="nbclient is NOT installed: the notebooks are not run")
@pytest.mark.parametrize("name", CHECKS)
def test_a_notebook_runs(name, tmp_path):
    import nbclient
    import nbformat

    notebook = nbformat.read(FOLDER.joinpath(name).with_suffix(".ipynb"), as_version=4)
    nbformat.validate(notebook)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert {output.name for output in outputs} == {"stdout"}
    text = "".join(output.text for output in outputs)
    CHECKS[name](re.sub(r"\x1b\[[0-9;]*m", "", text), TORCH)  # Flax colours its layers there
