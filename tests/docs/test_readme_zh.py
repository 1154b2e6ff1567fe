"""README.zh-CN.md has the content of README.md: a change of one is a change of both.

`test_readme` runs the programs and commands and checks the tables of README.md. The tests here
check that those of README.zh-CN.md are the same, character by character.
"""

import re
from collections import Counter

import pytest
from support.golden_files import assert_golden
from support.pages import ROOT, Page

from jaxgroups import cli

EN, ZH = Page("README.md"), Page("README.zh-CN.md")
TWINS = {"docs/tutorial.md": "docs/tutorial.zh-CN.md", "README.zh-CN.md": "README.md"}
TWINS["docs/port.md"] = "docs/port.zh-CN.md"


def test_blocks_are_the_same():
    assert ZH.blocks == EN.blocks
    assert len(EN.of("python")) >= 4


def test_sections_tables_and_lists_are_the_same():
    for mark in (r"^#+ ", r"^\|", r"^\* ", r"^<!--"):
        counts = [len(re.findall(mark, page.prose, re.MULTILINE)) for page in (EN, ZH)]
        assert counts[0] == counts[1], mark


def test_names_and_numbers_are_the_same():
    for pattern in (r"`([^`]+)`", r"\d+"):
        found = [Counter(re.findall(pattern, " ".join(page.prose.split()))) for page in (EN, ZH)]
        assert found[0] == found[1], "a name or a number is in one of the two READMEs only"


def test_links_and_pictures_are_the_same():
    assert Counter(TWINS.get(target, target) for target in EN.links) == Counter(ZH.links)
    assert [target for _, target in EN.pictures] == [target for _, target in ZH.pictures]


@pytest.mark.parametrize("target", sorted({*ZH.links, *(target for _, target in ZH.pictures)}))
def test_links_lead_somewhere(target):
    assert target.startswith("https://") or (ROOT / target).is_file()


def test_the_figures_are_the_same():
    rows = [re.findall(r"^\| .* \| .* \| .* \|$", page.prose, re.MULTILINE) for page in (EN, ZH)]
    cells = [[re.findall(r"\| ([\d.]+)(?= \|)", row) for row in found] for found in rows]
    assert cells[0] == cells[1]
    assert sum(map(len, cells[0])) == 25


def test_the_picture_is_what_the_command_draws(tmp_path, capsys):
    """The first picture; the command is in the text. `test_readme` checks the chart."""
    pytest.importorskip("matplotlib", reason="the README's picture is NOT drawn: no matplotlib")
    (words, target), (chart_words, chart) = EN.pictures
    assert words
    assert chart_words
    assert chart == "docs/pictures/benchmarks.svg"
    [command] = re.findall(r"`jaxgroups (diagram [^`]+)`", EN.prose)
    path = tmp_path / "groups.svg"
    assert cli.main([*command.split(), "-o", str(path)]) == 0
    assert capsys.readouterr() == ("", "")
    assert_golden(path.read_text(encoding="utf-8"), ROOT / target)
