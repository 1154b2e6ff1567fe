"""The default choice against lax: both sides run on a tiny table, and rows are judged by number."""

import json

import pytest
from support.layer_tables import OTHERS, TINY, written
from support.local_workers import LocalWorkers

from benchmarks import jax_side, measure, versus_lax

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
    honest = jax_side.jaxgroups_function

    def wrong(spec, implementation):
        function = honest(spec, implementation)
        return lambda x, w: 1.01 * function(x, w)

    monkeypatch.setattr(jax_side, "jaxgroups_function", wrong)
    monkeypatch.setattr(versus_lax, "Workers", LocalWorkers)
    with pytest.raises(measure.WrongResult, match=r"jaxgroups on first.*against lax"):
        versus_lax.main([str(written(tmp_path, TINY)), *FAST])


def test_a_problem_that_takes_long_is_left_out(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(jax_side, "predicted_seconds", lambda spec, mode, build: 1.5)
    monkeypatch.setattr(versus_lax, "Workers", LocalWorkers)
    assert versus_lax.main([str(written(tmp_path, TINY)), "--mode", "forward", *FAST]) == 0
    assert "0 problems: 0 above" in (said := capsys.readouterr().out)
    assert "2 left out, of which a call takes over 1 s" in said
