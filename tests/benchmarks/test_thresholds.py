"""The thresholds of the choice: fitted to made-up times, and used by the choice."""

import json
from dataclasses import asdict, replace

import pytest
from support.layer_tables import TINY, written

from benchmarks import table, thresholds
from benchmarks.timing import Rounds
from jaxgroups import ConvSpec
from jaxgroups import _native as native
from jaxgroups._lowerings import dispatch
from jaxgroups._lowerings import thresholds as rules
from jaxgroups._lowerings.views import Forward, WeightGradient, view_of
from jaxgroups._problem.problem import problem_of

LAYERS = [layer.problem(1) for layer in table.read(table.OWN[0])[::8]]


NOW = rules.BY_ISA[rules.WIDEST]


@pytest.mark.parametrize("isa", [rules.WIDEST, rules.OTHERS])
def test_the_file_has_every_threshold_and_each_is_a_candidate(isa):
    data = json.loads(rules.DATA.read_text(encoding="utf-8"))
    assert set(data) == set(rules.BY_ISA) == {rules.WIDEST, rules.OTHERS}
    found = data[isa]["thresholds"]
    assert found == asdict(rules.BY_ISA[isa])
    assert set(thresholds.CANDIDATES) == set(found)
    assert all(value in thresholds.CANDIDATES[name] for name, value in found.items())
    assert data[isa]["measured"]


@pytest.mark.parametrize(
    ("isas", "expected"),
    [
        (("avx512", "baseline"), rules.WIDEST),
        ((), rules.WIDEST),
        (("avx2", "baseline"), rules.OTHERS),
        (("neon", "baseline"), rules.OTHERS),
        (("baseline",), rules.OTHERS),
    ],
)
def test_the_thresholds_are_those_of_the_kernels_in_use(monkeypatch, isas, expected):
    status = native.Status(None, instruction_sets=isas)
    monkeypatch.setattr(native, "status", lambda: status)
    assert rules.isa_in_use() == expected
    spec = ConvSpec.parse("conv2d in=64 out=64 kernel=3 padding=1 batch=1 size=56")
    chosen = dispatch.choose(problem_of(spec), None, "cpu").lowering.name
    assert chosen == {rules.WIDEST: "native", rules.OTHERS: "xla"}[expected]


@pytest.mark.parametrize("text", [str(spec) for spec in LAYERS[::3]])
def test_a_layer_has_three_problems(text):
    spec = next(spec for spec in LAYERS if str(spec) == text)
    forward, to_weight, to_input = map(view_of, thresholds.problems(spec))
    assert isinstance(forward, Forward)
    assert isinstance(to_input, Forward)
    assert isinstance(to_weight, WeightGradient)
    assert (forward.c, forward.o) == (to_input.o, to_input.c) == (to_weight.c, to_weight.o)
    assert to_input.lhs_dilation == to_weight.stride == spec.stride


@pytest.mark.usefixtures("without_kernels")
def test_the_choice_is_that_of_dispatch():
    for spec in LAYERS:
        for problem in thresholds.problems(spec):
            taking = [low.name for low in thresholds.supporting(problem)]
            times = dict.fromkeys(taking, 1.0)
            expected = dispatch.choose(problem, None, "cpu").lowering.name
            assert thresholds.choice(problem, times, NOW) == expected
            assert "native" not in times


def planted(truth):
    """Times with which the thresholds `truth` choose the fastest lowering of every problem."""
    measured = []
    for spec in [layer.problem(1) for layer in table.read(table.OWN[0])]:
        for problem in thresholds.problems(spec):
            taking = [low.name for low in thresholds.supporting(problem)]
            times = dict.fromkeys(taking, 3.0)
            times[thresholds.choice(problem, times, truth)] = 1.0
            measured.append((problem, times))
    return measured


@pytest.mark.usefixtures("without_kernels")
@pytest.mark.parametrize(
    "change",
    [
        {"shift_channels": 3},
        {"shift_gradient_channels": 8, "shift_gradient_groups": 4},
        {"matmul_patches": 1 << 20},
    ],
)
def test_planted_thresholds_are_found(change):
    truth = replace(NOW, **change)
    measured = planted(truth)
    assert thresholds.loss(measured, NOW) > 0.01
    assert thresholds.loss(measured, truth) == 0
    found = thresholds.fit(measured, NOW)
    assert thresholds.loss(measured, found) == 0
    assert thresholds.fit(measured, truth) == truth  # no change without a gain


@pytest.mark.usefixtures("without_kernels")
def test_fast_kernels_do_not_hide_the_other_thresholds():
    truth = replace(NOW, shift_channels=3)
    measured = [(problem, {"native": 0.1, **times}) for problem, times in planted(truth)]
    found = thresholds.fit(measured, NOW)
    assert thresholds.loss(thresholds.without_kernels(measured), found) == 0


def test_fitted_thresholds_can_be_written_and_read(monkeypatch, tmp_path, capsys):
    """One tiny layer is timed; the file has every threshold, whatever the values."""
    written_to = tmp_path / "thresholds.json"
    written_to.write_text(rules.DATA.read_text(encoding="utf-8"))
    monkeypatch.setattr(rules, "DATA", written_to)
    path = written(tmp_path, TINY)
    args = [str(path), "--batch", "1", "--rounds", "1", "--budget", "0.01", "--write"]
    assert thresholds.main(args) == 0
    data = json.loads(written_to.read_text(encoding="utf-8"))[rules.isa_in_use()]
    assert rules.Thresholds(**data["thresholds"])
    assert "cores" in data["measured"]
    assert "with kernels: the choice takes" in capsys.readouterr().out


@pytest.mark.parametrize("which", [0, 1, 2])
def test_the_time_of_a_long_call_of_xla_is_predicted(monkeypatch, which):
    """From a part of the layer, and for XLA alone; the other lowerings are timed."""
    spec = LAYERS[0]
    tried = []

    def predicted(of, mode, build):
        assert (of, mode) == (spec, "gradients" if which else "forward")
        tried.append(build(replace(spec, size=(5, 7)))())
        return 1000.0

    monkeypatch.setattr(thresholds.guard, "predicted_seconds", predicted)
    problem, times = thresholds.measure(spec, which, Rounds(rounds=1, budget=0.01))
    assert problem == thresholds.problems(spec)[which]
    taking = [low.name for low in thresholds.supporting(problem)]
    assert list(times) == taking
    assert times["xla"] == 1000.0
    assert all(0 < times[name] < 1000 for name in taking if name != "xla")
    shapes = [(1, 5, 7, spec.out_channels), (3, 3, 4, spec.out_channels), (1, 5, 7, 128)]
    assert [y.shape for y in tried] == [shapes[which]]
