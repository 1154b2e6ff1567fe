"""The benchmark of pools, resizes and norms runs on tiny images; no time is tested."""

import importlib
import json

import pytest
from support.local_workers import LocalWorkers

pytest.importorskip("torch", reason="torch is NOT installed, so no benchmark runs")

from benchmarks import ops
from benchmarks.feature_cases import CASES, Case
from benchmarks.measure import WrongResult
from benchmarks.turns import Turns

features = importlib.import_module("benchmarks.features")
TINY = (
    Case("max pool", "MaxPool2d", (7, 5, 3), {"kernel_size": 3, "stride": 2, "padding": 1}),
    Case("BatchNorm in training", "BatchNorm2d", (4, 5, 3), {"num_features": 3}),
)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(features, "CASES", TINY)
    monkeypatch.setattr(features, "DEFAULTS", Turns(warm=0.0, seconds=1e-4))


def test_a_run_compares_times_and_averages(quick, tmp_path, capsys):
    out = tmp_path / "out.json"
    argv = ["--features", "--turns", "2", "--batch", "1", "2", "--json", str(out)]
    assert ops.main(argv) == 0
    said = capsys.readouterr().out
    found = json.loads(out.read_text())
    assert found["machine"]["processor"] in said
    assert "gradients  BatchNorm in training" in said
    assert found["command"] == " ".join(["python -m benchmarks.ops", *argv])
    assert found["commit"] == found["machine"]["commit"]
    rows = found["rows"]
    asked = [(mode, str(c), n) for mode in features.MODES for c in TINY for n in (1, 2)]
    assert [(r["mode"], r["case"], r["batch"]) for r in rows] == asked
    for row in rows:
        assert row["seconds"] == row["median"]
        assert all(row["min"][side] <= row["median"][side] for side in features.SIDES)
        assert row["ratio"] == row["seconds"]["jaxgroups"] / row["seconds"]["torch"] > 0


def test_a_wrong_result_ends_the_run(quick, monkeypatch):
    monkeypatch.setattr(features, "TOLERANCE", -1.0)
    monkeypatch.setattr(features, "Workers", LocalWorkers)
    with pytest.raises(WrongResult, match=r"MaxPool2d.*relative error"):
        features.main(["--batch", "1", "--mode", "forward"])


def test_means_are_geometric_and_of_each_family():
    ratios = [("a", 0.5), ("a", 2.0), ("b", 3.0)]
    rows = [{"mode": "forward", "family": f, "ratio": r} for f, r in ratios]
    lines = [line.split() for line in features.summary(rows)]
    assert {line[1]: line[2] for line in lines} == {"a": "1.00", "b": "3.00", "all": "1.44"}


def test_the_cases_are_layers_of_both():
    assert {case.family for case in CASES} == {
        "max pool",
        "average pool",
        "adaptive pool",
        "resize",
        "BatchNorm in training",
    }
    for case in CASES:
        request = features.request_of(case, 2, "forward")
        assert request["output"][0] == 2


def test_no_case_matches():
    with pytest.raises(SystemExit, match="no case matches 'LSTM'"):
        features.main(["--match", "LSTM"])
