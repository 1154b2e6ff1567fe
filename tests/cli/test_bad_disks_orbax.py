"""orbax on a bad disk: one line that names the target, and nothing left of it."""

import logging
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from support.checkpoints import written
from support.command import limited

import jaxgroups.convert as jc
from jaxgroups.cli import main

CONVERT = ["convert", "good.safetensors", "--to", "flax", "--plan", "plan.json", "-o", "out"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory with a checkpoint of 1 MB and its plan, to be in."""
    monkeypatch.chdir(tmp_path)
    weight = np.random.default_rng(0).standard_normal((512, 511)).astype("f4")
    written(tmp_path / "good.safetensors", {"fc.weight": weight})
    shapes = ((512, 511), (511, 512))
    entry = jc.Entry("ok", ("fc.weight",), "fc.kernel", jc.Permute((1, 0)), *shapes, "float32")
    jc.Plan("Net", [entry]).to_json(tmp_path / "plan.json")
    return tmp_path


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has NO limit on the size of files")
@pytest.mark.parametrize("limit", [100, 3000, 100_000])
@pytest.mark.parametrize("old", [False, True])
def test_a_full_disk(place, limit, old):
    if old:
        (place / "out").mkdir()
        (place / "out" / "precious").write_bytes(b"!")
    before = sorted(os.listdir(place))
    done = limited(limit, *CONVERT, "--overwrite", cwd=place)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "jaxgroups convert: File too large: out\n"
    assert sorted(os.listdir(place)) == before
    assert not old or os.listdir(place / "out") == ["precious"]


def test_an_error_that_orbax_only_logs(place, monkeypatch, capsys):
    """orbax goes on when its metadata cannot be written; such a directory is not complete."""
    import orbax.checkpoint as ocp

    save = ocp.StandardCheckpointer.save

    def logging_save(self, *arguments, **more):
        save(self, *arguments, **more)
        logging.getLogger("absl").error("Failed to write: No space left on device")

    monkeypatch.setattr(ocp.StandardCheckpointer, "save", logging_save)
    before = sorted(os.listdir(place))
    assert main(CONVERT) == 2
    assert capsys.readouterr().err == "jaxgroups convert: No space left on device: out\n"
    assert sorted(os.listdir(place)) == before


def test_any_other_error_of_orbax_is_one_line(place, monkeypatch, capsys):
    import orbax.checkpoint as ocp

    def fail(*_, **__):
        raise RuntimeError("something \x1b[31munheard of\nand its\ntraceback")

    monkeypatch.setattr(ocp.StandardCheckpointer, "save", fail)
    before = sorted(os.listdir(place))
    assert main(CONVERT) == 2
    said = "jaxgroups convert: out: orbax could not write it: something \\x1b[31munheard of\n"
    assert capsys.readouterr().err == said
    assert sorted(os.listdir(place)) == before


def test_a_target_in_no_directory(place, capsys):
    before = sorted(os.listdir(place))
    assert main([*CONVERT[:-1], "none/out"]) == 2
    assert capsys.readouterr().err == "jaxgroups convert: No such file or directory: none/out\n"
    assert sorted(os.listdir(place)) == before


def test_a_directory_that_cannot_be_written_to(place, monkeypatch, capsys):
    make = Path.mkdir

    def mkdir(self, *arguments, **more):
        if self.parent == place:
            raise PermissionError(13, "Permission denied", str(self))
        make(self, *arguments, **more)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    before = sorted(os.listdir(place))
    assert main(CONVERT) == 2
    assert capsys.readouterr().err == "jaxgroups convert: Permission denied: out\n"
    assert sorted(os.listdir(place)) == before
