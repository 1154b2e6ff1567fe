"""Two installations, and ways to split a step, are compared in processes; no time is tested."""

import sys
from pathlib import Path

import pytest
from support.layer_tables import TINY, written
from support.local_workers import LocalWorkers

import jaxgroups
from benchmarks import compare_installs, measure, sharded
from jaxgroups import _native as native

INSTALLED = f"{sys.executable}:{Path(jaxgroups.__file__).parents[1]}"
needs_kernels = pytest.mark.skipif(native.find().missing is not None, reason="NO C++ KERNELS")


@needs_kernels
def test_an_installation_is_compared_with_itself(tmp_path, capsys):
    table = str(written(tmp_path, TINY))
    options = ["--tables", table, "--batch", "2", "--turns", "2", "--seconds", "0"]
    assert compare_installs.main([INSTALLED, INSTALLED, *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows, means = lines[:4], lines[4:]
    assert [row.split()[3] for row in rows] == ["forward"] * 2 + ["gradients"] * 2
    assert "conv2d in=8 out=12" in rows[1]
    assert [line.split()[3] for line in means] == ["all", "depthwise", "small", "strided"] * 2


@needs_kernels
def test_another_result_of_an_installation_ends_the_comparison(tmp_path, monkeypatch):
    class Wrong(LocalWorkers):
        def prepare(self, name, request):
            notes, results = super().prepare(name, request)
            return notes, [1.01 * y if name == "NEW" else y for y in results]

    monkeypatch.setattr(compare_installs, "Workers", Wrong)
    table = str(written(tmp_path, TINY))
    with pytest.raises(measure.WrongResult, match=r"NEW on conv2d in=6 .*, forward: .*against OLD"):
        compare_installs.main([INSTALLED, INSTALLED, "--tables", table, "--batch", "1"])


def test_ways_to_split_a_step_give_the_same_parameters(monkeypatch, capsys):
    monkeypatch.setattr(sharded, "BLOCKS", 1)
    argv = ["--ways", "one", "--rounds", "1", "--size", "6", "--batch", "2", "--sides", "jaxgroups"]
    assert sharded.main(argv) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("one device, jaxgroups ")
    monkeypatch.setattr(sharded, "Workers", LocalWorkers)
    right = sharded.step_of

    def wrong(way, side, *more):
        step, operands = right(way, side, *more)
        return step, operands if side == "lax" else (operands[0], 2 * operands[1])

    monkeypatch.setattr(sharded, "step_of", wrong)
    with pytest.raises(measure.WrongResult, match=r"one lax: .* against one jaxgroups"):
        sharded.main([*argv, "lax"])
