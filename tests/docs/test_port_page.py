"""docs/port.md: what it shows is what `port` writes; both languages have the same blocks."""

import re
import sys

import pytest
from support.command import run
from support.pages import ROOT, Page

PAGES = {"en": Page("docs/port.md"), "zh": Page("docs/port.zh-CN.md")}


def test_both_have_the_same_blocks():
    assert PAGES["en"].blocks == PAGES["zh"].blocks
    assert [kind for kind, _ in PAGES["en"].blocks].count("python") == 4
    headings = [re.findall(r"^#+ \d+", page.prose, re.MULTILINE) for page in PAGES.values()]
    assert headings[0] == headings[1] == [f"## {n}" for n in range(1, 7)]


def test_the_class_that_is_shown_is_in_the_example():
    shown = PAGES["en"].of("python")[0]
    assert shown in (ROOT / "examples" / "port" / "model.py").read_text()


@pytest.mark.usefixtures("flax_promotion")
def test_the_command_writes_the_example(capsys, monkeypatch, tmp_path):
    pytest.importorskip("torch", reason="torch is NOT installed: there is nothing to port")
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "port"))
    monkeypatch.chdir(tmp_path)
    command = PAGES["en"].of("console")[0].split()[2:]
    status, out, err = run(capsys, *command, "--steps", "1")
    sys.modules.pop("mynets", None)
    assert (status, err) == (0, "")
    assert "Net (torch) and Net (Flax): equal" in out
    written = (tmp_path / "ported" / "model.py").read_text()
    assert written == (ROOT / "examples" / "port" / "model.py").read_text()
    model = PAGES["en"].of("python")[1]
    monkeypatch.chdir(tmp_path / "ported")
    monkeypatch.syspath_prepend(str(tmp_path / "ported"))
    exec(model, {})
    sys.modules.pop("model", None)


def test_every_link_leads_somewhere():
    for page in PAGES.values():
        for target in re.findall(r"\]\(([^)#]+)\)", page.prose):
            assert (ROOT / "docs" / target).exists(), target
