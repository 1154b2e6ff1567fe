"""The site: every public name is documented once, its guides run, and its checks can fail."""

import importlib
import inspect
import re
import runpy
import tomllib
from collections import Counter
from importlib.util import find_spec

import pytest
from support.command import python
from support.pages import ROOT, Page

MODULES = ["jaxgroups", *(f"jaxgroups.{m}" for m in ("nnx", "linen", "convert", "port", "prove"))]
MODULES += ["jaxgroups.diagrams"]
needs_sphinx = pytest.mark.skipif(
    not all(find_spec(name) for name in ("sphinx", "furo", "myst_parser")),
    reason="the extra docs is NOT installed: the site is not built",
)


def documented():
    """The names that the pages of the API have, with their modules."""
    names = Counter()
    for page in (ROOT / "docs" / "api").glob("*.rst"):
        text = page.read_text(encoding="utf-8")
        module = re.search(r"^\.\. (?:current)?module:: (\S+)$", text, re.MULTILINE)
        for name in re.findall(r"^\.\. auto\w+:: (\S+)$", text, re.MULTILINE):
            names[f"{module[1]}.{name}"] += 1
    return names


def test_every_public_name_has_one_place():
    public = [
        f"{module.__name__}.{name}"
        for module in map(importlib.import_module, MODULES)
        for name in module.__all__
        if not inspect.ismodule(getattr(module, name))
    ]
    assert len(public) > 190
    assert documented() == Counter(public)


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_a_docstring(module):
    found = importlib.import_module(module)
    for name in found.__all__:
        value = getattr(found, name)
        if callable(value):
            assert len(inspect.getdoc(value) or "") > 20, name


def test_every_page_is_in_a_table_of_contents():
    for folder, index in (("docs", "index.md"), ("docs/api", "index.rst")):
        text = (ROOT / folder / index).read_text(encoding="utf-8")
        suffixes = (".md",) if folder == "docs" else (".rst",)
        for page in (ROOT / folder).iterdir():
            if page.suffix in suffixes and page.name != index:
                assert re.search(rf"^ *{re.escape(page.stem)}$", text, re.MULTILINE), page


def test_the_programs_of_the_guide_to_speed_run(tmp_path):
    page = Page("docs/fast.md")
    programs = page.of("python")
    assert len(programs) == 4
    done = python("-c", "\n".join(programs), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    *_, report = page.of("text")
    assert report in done.stdout
    for row in ("expand", "depthwise", "project", "3 convolutions lowered", "optimized: "):
        assert row in done.stdout


def test_the_tools_are_pinned():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert all("==" in tool for tool in extras["optional-dependencies"]["docs"])
    assert '["optional-dependencies"]["docs"]' in (ROOT / ".ci" / "run").read_text()


def test_a_broken_link_is_found(tmp_path):
    broken_links = runpy.run_path(str(ROOT / "docs" / "__main__.py"))["broken_links"]
    (tmp_path / "a.html").write_text(
        '<h1 id="top">A</h1><a href="b.html#part">b</a><a href="#top">top</a>'
        '<a href="https://example.org/x">x</a><img src="p%20q.svg">'
    )
    (tmp_path / "b.html").write_text('<h2 id="part">B</h2>')
    (tmp_path / "p q.svg").write_text("<svg/>")
    assert broken_links(tmp_path) == []
    (tmp_path / "b.html").write_text('<h2 id="other">B</h2><a href="../outside.html">c</a>')
    (tmp_path / "p q.svg").unlink()
    assert sorted(broken_links(tmp_path)) == [
        "a.html: b.html#part",
        "a.html: p%20q.svg",
        "b.html: ../outside.html",
    ]


@needs_sphinx
@pytest.mark.slow
def test_the_site_is_built(tmp_path):
    done = python(str(ROOT / "docs"), str(tmp_path / "site"))
    assert (done.returncode, done.stderr) == (0, "")
    text = (tmp_path / "site" / "api" / "pools.html").read_text(encoding="utf-8")
    assert 'id="jaxgroups.max_pool2d"' in text
