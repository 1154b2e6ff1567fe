"""README.zh-CN.md says what README.md says: whoever changes one changes the other.

The programs, commands and the table are run and checked as README.md's, in `test_readme`: here they
are the same, text for text.
"""

import re
from collections import Counter

import pytest
from support.golden_files import assert_golden
from support.pages import ROOT, Page

from jaxgroups import cli

EN, ZH = Page("README.md"), Page("README.zh-CN.md")
TWINS = {"docs/tutorial.md": "docs/tutorial.zh-CN.md", "README.zh-CN.md": "README.md"}


def test_blocks_are_the_same():
    assert ZH.blocks == EN.blocks
    assert len(EN.of("python")) >= 3


def test_sections_tables_and_lists_are_the_same():
    for mark in (r"^#+ ", r"^\|", r"^\* ", r"^<!--"):
        counts = [len(re.findall(mark, page.prose, re.MULTILINE)) for page in (EN, ZH)]
        assert counts[0] == counts[1], mark


def test_names_and_numbers_are_the_same():
    for pattern in (r"`([^`]+)`", r"\d+"):
        found = [Counter(re.findall(pattern, " ".join(page.prose.split()))) for page in (EN, ZH)]
        assert found[0] == found[1], "one of the two READMEs says what the other does not"


def test_links_and_pictures_are_the_same():
    assert Counter(TWINS.get(target, target) for target in EN.links) == Counter(ZH.links)
    assert [target for _, target in EN.pictures] == [target for _, target in ZH.pictures]


@pytest.mark.parametrize("target", sorted({*ZH.links, *(target for _, target in ZH.pictures)}))
def test_links_lead_somewhere(target):
    assert target.startswith("https://") or (ROOT / target).is_file()


def test_the_picture_is_what_the_command_draws(tmp_path, capsys):
    """The one beside it in the text, with a file to write to."""
    pytest.importorskip("matplotlib", reason="the README's picture is NOT drawn: no matplotlib")
    [(words, target)] = EN.pictures
    assert words
    [command] = re.findall(r"`jaxgroups (diagram [^`]+)`", EN.prose)
    path = tmp_path / "groups.svg"
    assert cli.main([*command.split(), "-o", str(path)]) == 0
    assert capsys.readouterr() == ("", "")
    assert_golden(path.read_text(encoding="utf-8"), ROOT / target)
