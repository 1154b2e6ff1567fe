"""The default choice against lax: both sides run on a tiny table, and rows are judged by number."""

import json

import pytest
from support.layer_tables import OTHERS, TINY, written

pytest.importorskip("torch", reason="torch is NOT installed, so no benchmark runs")
from benchmarks import measure, versus_lax
from benchmarks.timing import Rounds, interleave

FAST = ["--rounds", "1", "--budget", "0.01", "--again", "0"]


def row(ours=1.0, lax=1.0, compile_ours=0.1, compile_lax=0.1):
    def entry(seconds, compiled, lowerings):
        return {"seconds": seconds, "compile_seconds": compiled, "lowerings": lowerings}

    contestants = {
        "lax": entry(lax, compile_lax, []),
        "jaxgroups": entry(ours, compile_ours, ["matmul"]),
    }
    return {
        "model": "m",
        "spec": "s",
        "mode": "input",
        "dtype": "float32",
        "contestants": contestants,
    }


def test_ratio_and_compile_time():
    assert versus_lax.ratio(row(ours=3.0, lax=2.0)) == 1.5
    assert not versus_lax.compiles_slowly(row(compile_ours=0.69, compile_lax=0.1))
    assert versus_lax.compiles_slowly(row(compile_ours=0.71, compile_lax=0.1))
    assert "  1.50*c" in versus_lax.line(row(3.0, 2.0, 5.0))
    assert "  1.05  " in versus_lax.line(row(1.05))


@pytest.mark.parametrize("table", [TINY, OTHERS])
def test_every_mode_of_every_layer_is_compared_with_lax(tmp_path, capsys, table):
    """Groups, strides and transposed layers: a wrong result would end the run."""
    file = tmp_path / "rows.json"
    path = written(tmp_path, table)
    assert versus_lax.main([str(path), *FAST, "--json", str(file)]) == 0
    rows = json.loads(file.read_text())["rows"]
    layers = table.count("\n") - 1
    assert len(rows) == 3 * layers
    assert [row["mode"] for row in rows] == list(versus_lax.MODES) * layers
    printed = capsys.readouterr().out
    assert f"{3 * layers} problems: " in printed
    assert "kernels: " in printed


def test_a_wrong_result_ends_the_run(monkeypatch, tmp_path):
    honest = versus_lax.jaxgroups_function

    def wrong(spec, implementation):
        function = honest(spec, implementation)
        return lambda x, w: 1.01 * function(x, w)

    monkeypatch.setattr(versus_lax, "jaxgroups_function", wrong)
    with pytest.raises(measure.WrongResult, match="jaxgroups on first"):
        versus_lax.main([str(written(tmp_path, TINY)), *FAST])


@pytest.mark.parametrize("cpu", [False, True])
def test_the_clock_is_elapsed_or_cpu_time(monkeypatch, cpu):
    """A call during which elapsed time passes eight times as fast as CPU time."""
    now = [0.0]
    monkeypatch.setattr("benchmarks.timing.time.perf_counter", lambda: 8 * now[0])
    monkeypatch.setattr("benchmarks.timing.time.process_time", lambda: now[0])

    def call():
        now[0] += 0.5

    how = Rounds(rounds=1, budget=20.0, cpu=cpu)
    timed = interleave({"one": call}, how, sleep=lambda seconds: None)
    assert timed["one"].seconds("min") == (0.5 if cpu else 4.0)
