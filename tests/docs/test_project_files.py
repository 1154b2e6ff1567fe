"""CONTRIBUTING, CHANGELOG, SECURITY and CITATION: the files and names that they mention exist."""

import re

import pytest
from support.pages import ROOT, Page

import jaxgroups as jg
from jaxgroups.convert import open_checkpoint

PAGES = {name: Page(f"{name}.md") for name in ("CONTRIBUTING", "CHANGELOG", "SECURITY")}
CONTRIBUTING = PAGES["CONTRIBUTING"]
FOLDERS = ("jaxgroups", "tests", "benchmarks", "docs", "examples")


def paths(page):
    """What is in backquotes and looks like a path of the repository."""
    words = [word for code in re.findall(r"`([^`]+)`", page.prose) for word in code.split()]
    return {word for word in words if word.split("/")[0] in FOLDERS and "/" in word}


def test_paths_are_found():
    assert {"jaxgroups/_spec", "jaxgroups/_op/primitive.py"} <= paths(CONTRIBUTING)
    assert len(paths(CONTRIBUTING)) > 40


@pytest.mark.parametrize("name", PAGES)
def test_paths_exist(name):
    assert [path for path in sorted(paths(PAGES[name])) if not (ROOT / path).exists()] == []


def test_every_folder_of_the_package_is_in_the_layout():
    folders = {path.parent.name for path in (ROOT / "jaxgroups").glob("*/__init__.py")}
    assert [name for name in folders if f"jaxgroups/{name}`" not in CONTRIBUTING.text] == []


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    for target in PAGES[name].links:
        assert target.startswith("https://") or (ROOT / target).is_file()


def test_the_changelog_begins_with_what_is_unreleased():
    headings = re.findall(r"^#+ (.*)$", PAGES["CHANGELOG"].text, re.MULTILINE)
    assert headings[:2] == ["Changelog", "Unreleased"]
    assert set(headings[2:]) <= {
        "Added", "Changed", "Deprecated", "Removed", "Fixed", "Security",
    }  # fmt: skip


def test_citation_has_the_version_and_license_of_the_package():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    fields = dict(re.findall(r"^([\w-]+): (.+)$", text, re.MULTILINE))
    assert fields["cff-version"] == "1.2.0"
    assert fields["version"] == jg.__version__
    assert fields["license"] == "Apache-2.0"
    assert {"title", "message"} <= fields.keys()


def test_the_reader_that_security_names_exists(tmp_path):
    assert 'reader="own"' in PAGES["SECURITY"].text
    (tmp_path / "code.pth").write_bytes(b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00lsq\x01R.")
    with pytest.raises(ValueError, match=r"the pickle names os\.system"):
        open_checkpoint(tmp_path / "code.pth", reader="own")
