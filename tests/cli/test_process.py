"""The command as a process: what it imports, an interruption, and the encoding of its output."""

import os
import sys
from pathlib import Path

import pytest
from flax import nnx
from support.command import python
from support.command import run as run_here
from support.explained_models import Convolutions

import jaxgroups
from jaxgroups import _console as console
from jaxgroups.cli import experiment

# --- imports --------------------------------------------------------------------------------------

INTERRUPTED = """
import os, signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
os.kill(os.getpid(), signal.SIGINT)
time.sleep(60)
"""


def with_jax(folder, source):
    """The environment of a process that imports `source` instead of JAX."""
    (folder / "jax.py").write_text(source)
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}


def test_the_version_needs_no_jax(tmp_path):
    environment = with_jax(tmp_path, "raise SystemExit('jax is imported')")
    done = python("-m", "jaxgroups", "--version", env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{jaxgroups.__version__}\n", "")
    done = python("-m", "jaxgroups", "doctor", env=environment)
    assert (done.returncode, done.stderr) == (1, "jax is imported\n")


def test_an_interruption_of_the_imports_is_one_line(tmp_path):
    environment = with_jax(tmp_path, INTERRUPTED)
    done = python("-m", "jaxgroups", "experiment", env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "jaxgroups: interrupted\n")


def test_an_interruption_of_a_command_is_one_line(capsys, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "sections", interrupt)
    assert run_here(capsys, "experiment") == (130, "", "jaxgroups: interrupted\n")


# --- encodings ------------------------------------------------------------------------------------


def encoded(encoding, *arguments):
    """Status, stdout and stderr of the command in a process whose streams have the encoding."""
    environment = os.environ | {"PYTHONIOENCODING": encoding, "COLUMNS": "120"}
    done = python("-m", "jaxgroups", *arguments, env=environment, encoding=encoding)
    return done.returncode, done.stdout, done.stderr


DIAGRAM = ("diagram", "4", "8", "--groups", "2", "--kernel", "3", "--alone")


@pytest.mark.parametrize(
    ("encoding", "squares", "arrow", "power"),
    [
        ("utf-8", "■ ■ · ·", "→", "k²"),
        ("cp1252", "# # · ·", "->", "k²"),
        ("ascii", "# # . .", "->", "k^2"),
    ],
)
def test_a_diagram_in_another_encoding(encoding, squares, arrow, power):
    status, out, err = encoded(encoding, *DIAGRAM)
    assert (status, err) == (0, "")
    assert f"filter 0      {squares}   group 0 {arrow} output 0\n" in out
    assert "in / groups" in out
    assert f"× {power} = " in out or f"x {power} = " in out


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_model_in_another_encoding(encoding):
    model = "support.explained_models:Convolutions"
    environment = os.environ | {
        "PYTHONIOENCODING": encoding,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path]),
    }
    arguments = ["explain", model, "--example", "2,33,35,3"]
    done = python("-m", "jaxgroups", *arguments, env=environment, encoding=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert "in -> out" in done.stdout


def test_substitutes():
    """Of what the tables hold, ASCII of its meaning; of a user's letters and bytes, an escape."""
    text = "3 → 4, 3×3, … k³ ₂ é \udcff 名"
    assert text.encode("ascii", "jaxgroups") == rb"3 -> 4, 3x3, + k^3 2 \xe9 \udcff \u540d"
    assert text[:-3].encode("cp1252", "jaxgroups") == b"3 -> 4, 3\xd73, \x85 k\xb3 2 \xe9 "
    assert "名\udcff".encode("utf-8", "jaxgroups") == "名".encode() + rb"\udcff"
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("ascii", "jaxgroups")


def test_every_sign_of_the_package_has_a_substitute():
    signs = {
        sign
        for file in Path(jaxgroups.__file__).parent.rglob("*.py")
        for sign in file.read_text(encoding="utf-8")
        if not sign.isascii()
    }
    assert signs <= set(console._SUBSTITUTES)


# --- notebooks ------------------------------------------------------------------------------------


@pytest.fixture
def notebook(monkeypatch):
    """What rich believes in a notebook, where it displays text instead of writing it."""
    from rich import console as rich_console
    from rich import jupyter

    displayed = []
    monkeypatch.setattr(rich_console, "_is_jupyter", lambda: True)
    monkeypatch.setattr(jupyter, "display", lambda segments, text: displayed.append(text))
    return displayed


def test_text_in_a_notebook_is_returned_and_not_displayed(request, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    results = {
        "picture": jaxgroups.diagrams.draw("conv2d in=4 out=8 kernel=3 groups=2"),
        "model": jaxgroups.explain(Convolutions(rngs=nnx.Rngs(0)), (2, 33, 35, 3)),
    }
    expected = {name: str(result) for name, result in results.items()}
    displayed = request.getfixturevalue("notebook")
    for name, result in results.items():
        assert len(expected[name].splitlines()) > 5
        assert str(result) == result.text() == expected[name], name
    bundle = results["picture"]._repr_mimebundle_()
    assert bundle["text/plain"] == expected["picture"]
    assert displayed == []


# --- widths ---------------------------------------------------------------------------------------


def test_the_experiment_fits_the_terminal(capsys, monkeypatch):
    """At 80 columns the lines are broken at spaces; elsewhere each is one line."""
    monkeypatch.delenv("COLUMNS", raising=False)
    _, whole, _ = run_here(capsys, "experiment")
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = run_here(capsys, "experiment")
    assert status == 0
    assert max(map(len, whole.splitlines())) > 150
    assert max(map(len, out.splitlines())) <= 80
    assert out.split() == whole.split()
    assert "\n        by groups: got in_channels=5, groups=2, and 5 / 2 is not whole" in out


def test_the_width_of_a_terminal(monkeypatch):
    """COLUMNS, else that of the terminal at stdout, else what is given."""
    monkeypatch.setenv("COLUMNS", "77")
    assert console.terminal_width(140) == 77
    for wrong in ("", "0", "wide"):
        monkeypatch.setenv("COLUMNS", wrong)
        assert console.terminal_width(140) == 140
    pty = pytest.importorskip("pty", reason="NO pseudo-terminals here")
    termios = pytest.importorskip("termios")
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        termios.tcsetwinsize(theirs, (24, 93))
        assert console.terminal_width(140) == 93
        monkeypatch.undo()
    os.close(ours)
