"""The tutorial: programs, outputs, formulas and pictures, and equality of both languages."""

import re
import shlex
from collections import Counter

import pytest
from support.command import python, run
from support.golden_files import assert_golden
from support.pages import ROOT, Page, worked_out

PAGES = {"en": Page("docs/tutorial.md"), "zh": Page("docs/tutorial.zh-CN.md")}
both = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
MARK = "--- next block ---"


def sessions(page):
    """(program, expected output) in order; an output is below its program."""
    kinds = [kind for kind, _ in page.blocks if kind != "console"]
    assert kinds == ["python", "text"] * (len(kinds) // 2)
    return list(zip(page.of("python"), page.of("text"), strict=True))


def test_the_programs_print_what_the_page_says(tmp_path):
    """Of the English page; `test_both_have_the_same_blocks` covers the other."""
    parts = sessions(PAGES["en"])
    assert len(parts) == 11
    source = f"\nprint({MARK!r})\n".join(program for program, _ in parts)
    done = python("-c", source, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for printed, (program, expected) in zip(done.stdout.split(f"{MARK}\n"), parts, strict=True):
        assert printed == expected, program


def test_both_have_the_same_blocks():
    assert PAGES["en"].blocks == PAGES["zh"].blocks
    assert Counter(kind for kind, _ in PAGES["en"].blocks) == {
        "python": 11,
        "text": 11,
        "console": 7,
    }


def test_both_have_the_same_numbers_and_pictures():
    en, zh = PAGES["en"], PAGES["zh"]
    assert en.formulas == zh.formulas
    assert [target for _, target in en.pictures] == [target for _, target in zh.pictures]
    headings = [re.findall(r"^(#+ \d*)", page.prose, re.MULTILINE) for page in (en, zh)]
    assert headings[0] == headings[1]
    codes = [Counter(re.findall(r"`([^`]+)`", page.prose.replace("\n", " "))) for page in (en, zh)]
    assert codes[0] == codes[1]
    rows = [page.prose.count("\n|") for page in (en, zh)]
    assert rows[0] == rows[1] == 7
    digits = [Counter(re.findall(r"\d+", page.prose)) for page in (en, zh)]
    assert digits[0] == digits[1]


@both
def test_formulas_are_right(page):
    assert len(page.formulas) == 15
    assert ("32 / 32 × 32 × 3²", "288") in page.formulas
    for formula, result in page.formulas:
        assert worked_out(formula) == int(result.replace(",", "")), formula


def test_the_check_of_formulas_can_fail():
    assert worked_out("4 / 2 × 8 × 3²") == 144
    with pytest.raises(AssertionError):
        worked_out("__import__('os')")


@both
def test_commands_run(page, tmp_path, monkeypatch, capsys):
    """Each command draws the picture below it."""
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)
    drawn = []
    for block in page.of("console"):
        for line in block.splitlines():
            dollar, program, *argv = shlex.split(line)
            assert (dollar, program) == ("$", "jaxgroups")
            if "-o" in argv:
                pytest.importorskip("matplotlib", reason="pictures are NOT drawn: no matplotlib")
            status, out, err = run(capsys, *argv)
            assert (status, err) == (0, ""), line
            assert out or "-o" in argv
            drawn += argv[argv.index("-o") + 1 :][:1] if "-o" in argv else []
    assert drawn == [target for _, target in page.pictures]
    assert len(drawn) == 6
    for name in drawn:
        assert_golden((tmp_path / name).read_text(encoding="utf-8"), ROOT / "docs" / name)


@both
def test_pictures_are_below_their_commands(page):
    for _, target in page.pictures:
        command = page.text.index(f"-o {target}\n")
        between = page.text[command : page.text.index(f"]({target})")]
        assert between.count("\n") == 3, target


@both
def test_links_lead_somewhere(page):
    assert len(page.links) == 2
    for target in [*page.links, *(target for _, target in page.pictures)]:
        assert (page.path.parent / target).is_file(), target


@both
def test_pictures_are_described(page):
    assert all(len(words) >= 12 for words, _ in page.pictures)
