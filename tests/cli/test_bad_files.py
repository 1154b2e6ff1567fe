"""Bad files and bad disks on the command line: one clear line, status 1 or 2, and no trace."""

import builtins
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import TORCH
from support.bad_files import BAD, state
from support.checkpoints import written
from support.command import environment, limited

import jaxgroups.convert as jc
from jaxgroups.cli import main

MODEL = """
from flax import nnx


class Net(nnx.Module):
    def __init__(self, *, rngs):
        self.fc = nnx.Linear(4, 3, rngs=rngs)
        self.bn = nnx.BatchNorm(3, momentum=0.9, rngs=rngs)
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A good file, its model, its plan, and what it converts to."""
    directory = tmp_path_factory.mktemp("prepared")
    (directory / "net_of_bad_files.py").write_text(MODEL)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        patch.syspath_prepend(str(directory))
        good = written(directory / "good.safetensors", state()).name
        assert main(["plan", good, *HOW, "-o", "plan.json"]) == 0
        how = ["--to", "flax", "--plan", "plan.json", "-o", "flax.safetensors"]
        assert main(["convert", good, *how]) == 0
    return {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()}


@pytest.fixture
def place(prepared, tmp_path, monkeypatch):
    """A directory with copies of those, to be in."""
    for name, content in prepared.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


HOW = ["--model", "net_of_bad_files:Net"]
PLANNED = ["--to", "flax", "--plan", "plan.json"]
OVER = ["convert", "good.safetensors", *PLANNED, "--overwrite", "-o", "out.safetensors"]


# --- files ----------------------------------------------------------------------------------------


COMMANDS = {
    "inspect": ["inspect", "FILE"],
    "plan": ["plan", "FILE", *HOW, "-o", "out.json"],
    "convert": ["convert", "FILE", "--to", "flax", "--plan", "plan.json", "-o", "out.safetensors"],
    "verify": ["verify", "FILE", "flax.safetensors", "--plan", "plan.json"],
}
ONLY_WITH_A_MODEL = {"the dtype of others", "integers for floats"}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", BAD)
def test_bad_files(name, command, place, capsys):
    make, said = BAD[name]
    path = make(place)
    before = sorted(os.listdir(place))
    arguments = [str(path.name) if a == "FILE" else a for a in COMMANDS[command]]
    capsys.readouterr()
    status = main([*arguments, "--reader", "own"])
    out, err = capsys.readouterr()
    assert sorted(os.listdir(place)) == before
    assert not (place / "ran").exists()
    if name in ONLY_WITH_A_MODEL and command == "inspect":
        assert status == 0
        return
    assert status in (1, 2)
    assert out == "" or command == "plan"
    assert "Traceback" not in err
    if name in ONLY_WITH_A_MODEL and command in ("convert", "verify"):
        said = "in the file, but float32[3, 4] in the plan"
    assert said in err
    if status == 2:
        assert len(err.strip().splitlines()) == 1, err
        assert err.startswith(f"jaxgroups {command.split()[0]}: ")
        assert len(err) < 500


@pytest.mark.skipif(not TORCH, reason="torch is NOT installed: its own reader is not tried")
@pytest.mark.parametrize("name", BAD)
def test_bad_files_with_torch_itself(name, place, capsys):
    make, _ = BAD[name]
    path = make(place)
    before = sorted(os.listdir(place))
    status = main(["convert", path.name, "--to", "flax", *HOW, "-o", "out.safetensors"])
    err = capsys.readouterr().err
    assert status in (1, 2)
    assert "Traceback" not in err
    assert err.strip()
    assert sorted(os.listdir(place)) == before
    assert not (place / "ran").exists()


@pytest.mark.parametrize("name", BAD)
def test_an_existing_output_is_left_alone(name, place):
    path = BAD[name][0](place)
    (place / "out.safetensors").write_bytes(b"precious")
    arguments = ["convert", path.name, "--to", "flax", *HOW, "-o", "out.safetensors"]
    assert main([*arguments, "--overwrite", "--reader", "own"]) in (1, 2)
    assert (place / "out.safetensors").read_bytes() == b"precious"


# --- flipped bits ---------------------------------------------------------------------------------


def test_a_flipped_bit_in_the_header_is_seen_or_harmless(place, capsys):
    """By the plan: what converts nevertheless has the same tensors."""
    whole = (place / "good.safetensors").read_bytes()
    plan = jc.Plan.from_json("plan.json")
    end = 8 + int.from_bytes(whole[:8], "little")
    passed = 0
    rng = np.random.default_rng(0)
    places = [*range(64), *rng.choice(np.arange(64, 8 * end), 400, replace=False)]
    for bit in places:
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        (place / "bad.safetensors").write_bytes(flipped)
        try:
            jc.convert_file("bad.safetensors", "out.safetensors", plan, overwrite=True)
        except ValueError:
            continue
        passed += 1
        assert jc.verify_file("good.safetensors", "out.safetensors", plan) == [], bit
    assert passed < len(places) / 4


def test_a_flipped_bit_in_the_data_is_named_by_verify(place, capsys):
    """No format of checkpoints has sums, so only the comparison with the source can tell."""
    whole = bytearray(Path("flax.safetensors").read_bytes())
    start = 8 + int.from_bytes(whole[:8], "little")
    for offset in (0, 20, len(whole) - start - 1):
        flipped = bytearray(whole)
        flipped[start + offset] ^= 4
        Path("flipped.safetensors").write_bytes(flipped)
        status = main(["verify", "good.safetensors", "flipped.safetensors", "--plan", "plan.json"])
        assert status == 1
        assert capsys.readouterr().err.startswith("different: ")


# --- permissions and disks ------------------------------------------------------------------------


def forbid(monkeypatch, forbidden, flags=0):
    """No access to a path, for root too."""
    real, real_os = builtins.open, os.open

    def check(path):
        if isinstance(path, (str, os.PathLike)) and Path(path).absolute() == forbidden:
            raise PermissionError(13, "Permission denied", str(path))

    def guarded(path, *how, **more):
        check(path)
        return real(path, *how, **more)

    def guarded_os(path, *how, **more):
        check(path)
        return real_os(path, *how, **more)

    monkeypatch.setattr(builtins, "open", guarded)
    monkeypatch.setattr(os, "open", guarded_os)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c != "verify"])
def test_no_permission_to_read(command, place, monkeypatch, capsys):
    os.chmod(place / "good.safetensors", 0)
    forbid(monkeypatch, place / "good.safetensors")
    before = sorted(os.listdir(place))
    arguments = ["good.safetensors" if a == "FILE" else a for a in COMMANDS[command]]
    capsys.readouterr()
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err == f"jaxgroups {arguments[0]}: Permission denied: good.safetensors\n"
    assert sorted(os.listdir(place)) == before


def test_no_permission_to_write(place, monkeypatch, capsys):
    (place / "out").mkdir(mode=0o500)
    forbid(monkeypatch, place / "out")
    capsys.readouterr()
    convert = ["convert", "good.safetensors", "--to", "flax", "--plan", "plan.json", "-o"]
    assert main([*convert, "out/out.safetensors"]) == 2
    assert capsys.readouterr().err == "jaxgroups convert: Permission denied: out\n"
    assert os.listdir("out") == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has NO limit on the size of files")
@pytest.mark.parametrize(("limit", "old"), [(0, None), (100, b"precious"), (700, None)])
def test_a_full_disk(place, limit, old):
    out = place / "out.safetensors"
    if old is not None:
        out.write_bytes(old)
    before = sorted(os.listdir(place))
    done = limited(limit, *OVER, cwd=place)
    assert done.returncode == 2, done.stderr
    assert done.stderr == "jaxgroups convert: File too large: out.safetensors\n"
    assert sorted(os.listdir(place)) == before
    assert (out.read_bytes() if out.exists() else None) == old


def test_a_full_disk_for_the_plan(place):
    before = sorted(os.listdir(place))
    arguments = ["plan", "good.safetensors", *HOW, "-o", "plan.json"]
    old = (place / "plan.json").read_bytes()
    done = limited(100, *arguments, cwd=place)
    assert done.returncode == 2, done.stderr
    assert done.stderr == "jaxgroups plan: File too large: plan.json\n"
    assert (place / "plan.json").read_bytes() == old
    assert sorted(os.listdir(place)) == before


# --- ends -----------------------------------------------------------------------------------------

ENDED = """
import os, signal, sys
import jaxgroups.cli.checkpoints as command
import jaxgroups.cli

def end(self, name, done, total):
    assert 0 < done < total
    os.kill(os.getpid(), int(sys.argv[1]))

command._Progress.__call__ = end
signal.signal(signal.SIGINT, signal.default_int_handler)  # it may have come with SIGINT ignored
sys.exit(jaxgroups.cli.main(sys.argv[2:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has NO such signals")
@pytest.mark.parametrize(
    ("signal_", "old"),
    [
        (signal.SIGKILL, None),
        (signal.SIGKILL, b"precious"),
        (signal.SIGTERM, None),
        (signal.SIGINT, b"precious"),
    ],
)
def test_a_conversion_that_is_ended_leaves_no_half_file(place, signal_, old):
    out = place / "out.safetensors"
    if old is not None:
        out.write_bytes(old)
    before = sorted(os.listdir(place))
    code = [sys.executable, "-B", "-c", ENDED, str(int(signal_)), *OVER]
    done = subprocess.run(code, capture_output=True, text=True, cwd=place, env=environment())
    if signal_ == signal.SIGINT:
        assert (done.returncode, done.stderr) == (130, "jaxgroups convert: interrupted\n")
    else:
        assert done.returncode == -signal_
    assert (out.read_bytes() if out.exists() else None) == old
    if sys.platform == "linux":  # where files can be without a name
        assert sorted(os.listdir(place)) == before


def test_where_files_cannot_be_without_a_name(place, monkeypatch):
    """The other way to write, that of other systems: same promises, short of a killed process."""
    from jaxgroups.convert._files import atomic as _atomic

    monkeypatch.setattr(_atomic, "_UNNAMED", None)
    convert = ["convert", "good.safetensors", "--to", "flax", "--plan", "plan.json", "-o"]
    assert main([*convert, "out.safetensors"]) == 0
    assert main([*convert, "out.safetensors"]) == 2
    assert main(["verify", "good.safetensors", "out.safetensors", "--plan", "plan.json"]) == 0
    before = (place / "out.safetensors").read_bytes()
    names = sorted(os.listdir(place))

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(_atomic.os, "fsync", full)
        assert main([*convert, "out.safetensors", "--overwrite"]) == 2
    assert (place / "out.safetensors").read_bytes() == before
    assert sorted(os.listdir(place)) == names
    assert main([*convert, "out.safetensors", "--overwrite"]) == 0
    assert sorted(os.listdir(place)) == names


@pytest.mark.skipif(sys.platform != "linux", reason="files without a name are Linux' ALONE")
def test_where_a_file_without_a_name_cannot_get_one(place, monkeypatch):
    from jaxgroups.convert._files import atomic as _atomic

    def unable(*_, **__):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(_atomic.os, "link", unable)
    names = sorted(os.listdir(place))
    convert = ["convert", "good.safetensors", "--to", "flax", "--plan", "plan.json", "-o"]
    for more, status in (([], 0), ([], 2), (["--overwrite"], 0)):
        assert main([*convert, "out.safetensors", *more]) == status
        assert sorted(os.listdir(place)) == sorted([*names, "out.safetensors"])
    assert main(["verify", "good.safetensors", "out.safetensors", "--plan", "plan.json"]) == 0


def test_a_file_that_appears_meanwhile_is_not_replaced(place):
    plan = jc.Plan.from_json("plan.json")

    def appear(*_):
        Path("out.safetensors").write_bytes(b"precious")

    with pytest.raises(ValueError, match="the file is there already"):
        jc.convert_file("good.safetensors", "out.safetensors", plan, progress=appear)
    assert Path("out.safetensors").read_bytes() == b"precious"
