"""Contestants in processes of their own: turns, warming, results, failures. No time is tested."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from support.layer_tables import ROOT  # noqa: F401  makes `benchmarks` importable

from benchmarks import machine, measure, peak, timing, turns, worker
from benchmarks.turns import Start, Turns, Worker, WorkerFailed, Workers
from jaxgroups._native import build

FAKE = Start("support.fake_contestants:prepare")
ONCE = Turns(turns=1, warm=0.0, seconds=0.0)


class Clock:
    """Time passes only in calls of known lengths; the last length repeats."""

    def __init__(self, *lengths):
        self.now, self.calls, self.lengths = 0.0, 0, lengths

    def call(self):
        self.now += self.lengths[min(self.calls, len(self.lengths) - 1)]
        self.calls += 1

    def turn(self, warm, seconds):
        return worker.turn(self.call, warm, seconds, lambda: self.now)


# --- a turn ---------------------------------------------------------------------------------------


def test_a_turn_is_two_milliseconds_untimed_then_twenty_timed():
    how = Turns()
    assert (how.warm, how.seconds) == (0.002, 0.02)
    clock = Clock(*[2**-11] * 5, 2**-10)  # five calls of 0.49 ms, then of 0.98 ms
    found = clock.turn(how.warm, how.seconds)
    assert found == {"calls": 21, "mean": 2**-10, "least": 2**-10}
    assert clock.calls == 5 + 21


def test_mean_and_least_are_of_the_timed_calls():
    clock = Clock(0.5, 4.0, 1.0, 7.0)  # the first is untimed
    assert clock.turn(0.25, 12.0) == {"calls": 3, "mean": 4.0, "least": 1.0}


def test_a_turn_has_at_least_one_timed_call_and_may_have_no_warming():
    assert Clock(0.125).turn(0.0, 0.02) == {"calls": 1, "mean": 0.125, "least": 0.125}
    clock = Clock(0.125)
    assert clock.turn(0.0, 0.0)["calls"] == clock.calls == 1


def test_a_slow_call_is_timed_and_not_called_again():
    clock = Clock(worker.SLOW, 1.0)
    assert clock.turn(0.002, 0.02) == {"calls": 1, "mean": worker.SLOW, "least": worker.SLOW}
    assert clock.calls == 1


@pytest.mark.parametrize("cpu", [False, True])
def test_the_clock_is_elapsed_or_cpu_time(monkeypatch, cpu):
    clock = Clock(0.5)
    monkeypatch.setattr(worker.time, "perf_counter", lambda: 8 * clock.now)
    monkeypatch.setattr(worker.time, "process_time", lambda: clock.now)
    session = worker.Session(lambda request: (clock.call, lambda: [], {}))
    session._prepared({}, "/dev/null")
    found = session.answer(Turns(warm=0.0, cpu=cpu).request())
    assert found["mean"] == (0.5 if cpu else 4.0)


def test_a_turn_needs_a_prepared_call():
    with pytest.raises(RuntimeError, match="a turn before any call was prepared"):
        worker.Session(lambda request: "not here").answer(Turns().request())


# --- turns of several -----------------------------------------------------------------------------


class Fakes:
    """Contestants with planned means; the time of a turn is 10 times its mean."""

    def __init__(self, **means):
        self.now, self.order = 0.0, []
        self.means = {name: iter(values) for name, values in means.items()}

    def run(self, **how):
        def of(name):
            def turn(how):
                mean = next(self.means[name])
                self.order.append(name)
                self.now += 10 * mean
                return {"calls": 10, "mean": mean, "least": mean / 2}

            return turn

        contestants = {name: of(name) for name in self.means}
        before = lambda: self.order.append("-")  # noqa: E731
        return turns.take_turns(contestants, Turns(**how), before, lambda: self.now)


def test_contestants_take_turns_and_each_begins_a_round():
    fakes = Fakes(a=[1, 1, 1], b=[2, 2, 2], c=[3, 3, 3])
    fakes.run(turns=3, budget=1000)
    assert "".join(fakes.order) == "-a-b-c" + "-b-c-a" + "-c-a-b"


def test_median_and_minimum_are_of_the_turns():
    fakes = Fakes(a=[4.0, 1.0, 2.0, 3.0, 100.0], b=[7.0] * 5)
    timed = fakes.run(turns=5, budget=10000)
    assert timed["a"].samples == [4.0, 1.0, 2.0, 3.0, 100.0]
    assert (timed["a"].least, timed["a"].repetitions) == (0.5, 10)
    by_median, by_min = (measure.timing(timed["a"], s) for s in ("median", "min"))
    assert (by_median["median"], by_median["min"], by_median["seconds"]) == (3.0, 1.0, 3.0)
    assert by_min == by_median | {"seconds": 1.0}


def test_slow_contestants_get_fewer_turns_but_at_least_one():
    fakes = Fakes(fast=[0.01] * 9, slow=[2.0] * 9, slowest=[9.0] * 9)
    timed = fakes.run(turns=5, budget=50.0)
    assert [len(t.samples) for t in timed.values()] == [5, 2, 1]


def test_no_contestants_give_no_times():
    assert turns.take_turns({}, Turns()) == {}


def test_times_of_two_passes_are_merged():
    def row(*samples, absent=None):
        entry = {"error": 0.0} | measure.timing(timing.Timed(3, list(samples)), "median")
        return {"others": 0.1, "contestants": {"a": entry}, "absent": absent or {}}

    late = row(5.0)
    late["contestants"]["b"] = late["contestants"]["a"]
    merged = measure.merge(row(1.0, 2.0, absent={"b": "slow"}), late, "median")
    assert merged["contestants"]["a"]["samples"] == [1.0, 2.0, 5.0]
    assert merged["contestants"]["a"]["median"] == merged["contestants"]["a"]["seconds"] == 2.0
    assert merged["contestants"]["b"]["seconds"] == 5.0
    assert merged["absent"] == {}


# --- processes ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fakes():
    """Three processes; ``careless`` may fail, and ``other`` has a variable of its own."""
    starts = {
        "first": FAKE,
        "other": Start(FAKE.target, environment={"OF_A_CONTESTANT": "its own"}),
        "careless": Start(FAKE.target, optional=True),
    }
    with Workers(starts) as workers:
        yield workers


def contest(workers, names=("first", "other"), how=ONCE, reference=None, **request):
    return measure.contest(workers, request, reference, 1e-3, how, "a case", names)


def test_each_contestant_has_a_process_and_variables_of_its_own(fakes, monkeypatch):
    monkeypatch.setenv("OF_A_CONTESTANT", "set too late for a running process")
    found = contest(fakes, fakes)["contestants"]
    assert {entry["pid"] for entry in found.values()} == set(fakes.pids)
    assert len(set(fakes.pids)) == 3
    assert [entry["variable"] for entry in found.values()] == [None, "its own", None]


def test_results_are_compared_and_then_every_contestant_is_timed(fakes, tmp_path):
    log = tmp_path / "calls"
    how = Turns(turns=3, warm=0.0, seconds=0.0)
    other = {"values": [[1, 2], [3.001]]}
    found = contest(fakes, how=how, log=str(log), other=other)["contestants"]
    assert found["first"]["error"] == 0
    assert found["other"]["error"] == pytest.approx(0.001 / 3, rel=1e-3)
    assert log.read_text().split() == ["first", "other", "other", "first", "first", "other"]
    for entry in found.values():
        assert len(entry["samples"]) == 3
        assert entry["min"] <= entry["median"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1, 2], [3.1]], r"other on a case: relative error 3\.3e-02 against first, more than"),
        ([[1, float("nan")], [3]], "other on a case: relative error nan against first"),
        ([[1, 2, 3], [3]], r"other on a case: shapes .*, first has"),
    ],
)
def test_a_wrong_result_ends_the_run_before_anything_is_timed(fakes, tmp_path, values, message):
    log = tmp_path / "calls"
    with pytest.raises(measure.WrongResult, match=message):
        contest(fakes, log=str(log), other={"values": values})
    assert not log.exists()


def test_a_given_reference_is_torchs(fakes):
    with pytest.raises(measure.WrongResult, match=r"first on a case: .* against torch"):
        contest(fakes, reference=[np.array([1.0, 9.0]), np.array([3.0])])


def test_a_contestant_may_be_left_out_with_a_reason(fakes):
    found = contest(fakes, first={"absent": "a call would take about 90 s"})
    assert found["absent"] == {"first": "a call would take about 90 s"}
    assert found["contestants"].keys() == {"other"}


def test_a_failure_ends_the_run_but_not_that_of_an_optional_contestant(capfd):
    broken = {"raise": "no such operator\nand more"}
    with Workers({"first": FAKE, "careless": Start(FAKE.target, optional=True)}) as workers:
        with pytest.raises(WorkerFailed, match=r"^first failed: ValueError: no such operator$"):
            contest(workers, workers, first=broken)
        found = contest(workers, workers, careless=broken)
    assert found["absent"] == {"careless": "careless failed: ValueError: no such operator"}
    assert found["contestants"].keys() == {"first"}
    assert capfd.readouterr().err.count("Traceback") == 2


def test_the_end_of_a_process_is_noticed():
    with Workers({"it": FAKE, "free": Start(FAKE.target, optional=True)}) as workers:
        with pytest.raises(WorkerFailed, match="the process of it ended"):
            workers.prepare("it", {"contestant": "it", "it": {"end": True}})
        request = {"contestant": "free", "free": {"end": True}}
        for _ in range(2):  # it stays away
            assert workers.prepare("free", request) == "the process of free ended"


def test_what_a_library_prints_is_no_answer(capfd):
    with Workers({"first": FAKE}) as workers:
        notes, results = workers.prepare("first", {"contestant": "first"})
        assert notes["pid"] == workers["first"].pid
    assert [list(r) for r in results] == [[1, 2], [3]]
    said = capfd.readouterr()
    assert (said.out, "noise on standard output" in said.err) == ("", True)


def test_a_file_is_run_without_this_folder_in_the_path(tmp_path):
    """As other installations are compared: nothing of this checkout may be imported."""
    path = tmp_path / "of_an_installation.py"
    path.write_text(
        "import importlib.util\n"
        "def prepare(request):\n"
        "    found = importlib.util.find_spec('support') is not None\n"
        "    return (lambda: None), (lambda: []), {'found': found, 'request': request}\n"
    )
    one = Worker("it", Start(f"{path}:prepare", path=[]))
    try:
        answer = one.ask(prepare={"n": 1}, results=str(tmp_path / "results.npz"))
        assert answer == {"notes": {"found": False, "request": {"n": 1}}}
        assert one.turn(ONCE)["calls"] == 1
    finally:
        one.close()


def test_a_process_is_bound_to_processors(tmp_path):
    path = tmp_path / "bound.py"
    path.write_text(
        "import os\ndef prepare(request):\n    return str(sorted(os.sched_getaffinity(0)))\n"
    )
    wanted = max(os.sched_getaffinity(0))
    with Workers({"it": Start(f"{path}:prepare", cpus=[wanted])}) as workers:
        assert workers.prepare("it", {}) == f"[{wanted}]"


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the system has NO /proc")
def test_a_turn_waits_while_a_thread_of_another_process_runs(tmp_path, monkeypatch):
    stop = tmp_path / "stop"
    with Workers({"it": FAKE}) as workers:
        workers.prepare("it", {"contestant": "it", "it": {"spin": str(stop)}})
        while not turns.runs(workers.pids[0]):
            pass
        slept = []

        def sleep(seconds):
            slept.append(seconds)
            if len(slept) == 5:
                stop.touch()

        monkeypatch.setattr(turns.time, "sleep", sleep)
        turns.wait_until_idle(workers.pids, most=600.0)
        assert len(slept) >= 5
        assert not turns.runs(workers.pids[0])
    assert not turns.runs(2**30)  # there is no such process


# --- the machine ----------------------------------------------------------------------------------


def test_the_share_of_others_is_the_busy_time_without_our_own(monkeypatch):
    readings = iter([(100.0, 50.0, 7.0), (110.0, 56.0, 9.0), None])
    monkeypatch.setattr(machine.Others, "_read", lambda self: next(readings))
    others = machine.Others()
    assert others.share() == pytest.approx((6 - 2) / 10)
    assert others.share() is None


def test_the_time_of_the_workers_is_our_own(monkeypatch):
    monkeypatch.setattr(machine, "_ticks", {11: 300, 22: 100}.__getitem__)
    monkeypatch.setattr(machine.time, "process_time", lambda: 0.5)
    monkeypatch.setattr(machine.os, "sysconf", lambda name: 100)
    alone, together = machine.Others()._read(), machine.Others([11, 22])._read()
    if alone is None:
        pytest.skip("the system has NO /proc/stat")
    assert (alone[2], together[2]) == (0.5, 4.5)


def test_ticks_are_read_of_a_process_with_any_name(monkeypatch, tmp_path):
    words = ["R", *map(str, range(1, 11)), "40", "2", "9"]
    monkeypatch.setattr(machine.Path, "read_text", lambda self: f"7 (a) R 1 (b)) {' '.join(words)}")
    assert machine._ticks(7) == 42


def test_limits_are_measured():
    if build.find_compiler() is None:
        pytest.skip("NO C++ COMPILER")
    found = peak.limits(1, seconds=0.0, mebibytes=4)
    assert found.keys() == {"gflops", "gflops_one", "copy_gbytes", "read_gbytes", "by"}
    assert all(found[name] > 0 for name in found if name != "by")
    line = peak.line(found)
    assert f"{found['gflops']:.0f} GFLOP/s (float32, fused multiply-adds" in line
    assert f"{found['copy_gbytes']:.1f} copied" in line


@pytest.mark.parametrize(
    ("compiler", "said"),
    [
        (None, "NO C++ COMPILER: the limits are those of PyTorch"),
        ([sys.executable, "-c", "raise SystemExit('no such option')"],
         "THE C++ COMPILER FAILED (no such option): the limits are those of PyTorch"),
    ],
)  # fmt: skip
def test_without_a_compiler_pytorch_gives_the_limits(monkeypatch, capsys, compiler, said):
    limits = {"gflops": 90.0, "copy_gbytes": 9.0, "by": "matrix product by torch"}
    monkeypatch.setattr(build, "find_compiler", lambda: compiler)
    monkeypatch.setattr(peak, "by_torch", lambda: limits)
    assert peak.limits(2) == limits
    assert said in capsys.readouterr().out
    assert "90 GFLOP/s (float32, matrix product by torch), GB/s: 9.0 copied" in peak.line(limits)
