"""The arithmetic and the warnings of the benchmarks, on made-up numbers; no time is tested."""

import json
import shlex
from pathlib import Path

import pytest
from support.layer_tables import OTHERS, PLAIN, TINY, written

from benchmarks import guard, machine, report, results, table, text, timing
from jaxgroups import ConvSpec

# --- the table ------------------------------------------------------------------------------------


def test_the_tables_have_layers_of_every_family():
    layers = [layer for path in table.OWN for layer in table.read(path)]
    found = {family for layer in layers for family in table.families(layer.spec)}
    assert found == set(table.FAMILIES)
    assert len(table.read(table.OWN[0])) == 89
    assert len({(layer.model, layer.spec, layer.size) for layer in layers}) == len(layers)


def test_a_csv_of_2d_layers(tmp_path):
    first, second = table.read(written(tmp_path, TINY))
    assert str(first.problem(2)) == (
        "conv2d in=6 out=6 kernel=3x2 padding=1x0 groups=6 bias=False batch=2 size=5x6 "
        "data_format=channels_last"
    )
    assert (second.model, second.table, second.spec.stride) == ("second", "layers", (2, 2))
    assert second.batches([1, 4]) == (1, 4)


def test_a_csv_of_other_ranks_and_transposed_layers(tmp_path):
    causal, up, volume = table.read(written(tmp_path, OTHERS))
    assert (causal.size, causal.spec.padding, causal.batches([1, 4])) == ((9,), ((3, 3),), (3,))
    assert (up.spec.stride, up.spec.output_padding) == ((2, 3), (0, 1))
    assert (volume.size, volume.spec.kernel_size) == ((5, 3, 4), (2, 2, 1))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Conv2d,6,", "Conv4d,6,", ":2: layer must be a name such as Conv2d, got 'Conv4d'"),
        (",6,6,5,6,", ",6,,5,6,", ":2: out_channels is empty"),
        (",6,6,5,6,", ",6,six,5,6,", ":2: out_channels must be an integer, got 'six'"),
        (",6,6,5,6,", ",6,7,5,6,", ":2: out_channels must be divisible by groups"),
        (",height", ",high", ":2: column height is missing"),
        (",5,6,3,2,", ",5,6,9,2,", ":2: .*Kernel size can't be greater than"),
        ("second,Conv2d", "second", ":3: layer must be a name such as Conv2d, got '8'"),
    ],
)
def test_the_error_of_a_wrong_csv_is_one_line(tmp_path, old, new, message):
    path = written(tmp_path, TINY.replace(old, new, 1))
    with pytest.raises(table.TableError, match=message) as caught:
        table.read(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", PLAIN])
def test_a_csv_without_layers_is_refused(tmp_path, content):
    with pytest.raises(table.TableError, match="the file has no layers"):
        table.read(written(tmp_path, content))


def test_a_missing_csv_is_refused(tmp_path):
    with pytest.raises(table.TableError, match=r"nowhere\.csv: No such file"):
        table.read(tmp_path / "nowhere.csv")


@pytest.mark.parametrize(
    ("descriptor", "families"),
    [
        ("conv2d in=8 out=16 kernel=3 stride=2 groups=8", {"depthwise", "strided"}),
        ("conv2d in=8 out=8 kernel=3 dilation=1x2 groups=2", {"small groups", "dilated"}),
        ("conv2d in=20 out=8 kernel=3x1 groups=4", {"wide groups"}),
        ("conv2d in=20 out=8 kernel=1 groups=4", {"1x1"}),
        ("conv2d in=8 out=8 kernel=1 groups=8", {"depthwise"}),
        ("conv2d in=3 out=8 kernel=1x2", {"dense"}),
        ("conv1d in=1 out=8 kernel=1", {"1x1", "1-D"}),
        ("conv_transpose3d in=8 out=4 kernel=2 groups=4", {"small groups", "transposed", "3-D"}),
        ("conv_transpose1d in=8 out=8 kernel=2 stride=2", {"dense", "transposed", "1-D"}),
    ],
)
def test_families(descriptor, families):
    assert set(table.families(ConvSpec.parse(descriptor))) == families


def test_layers_are_matched_by_model_descriptor_and_family(tmp_path):
    first, second = table.read(written(tmp_path, TINY))
    assert [first.matches(p) for p in (None, "FIRST", "in=6 ", "depthwise", "stride=2")] == [
        True, True, True, True, False,
    ]  # fmt: skip
    assert second.matches("stride=2.*groups=4")


# --- clocks ---------------------------------------------------------------------------------------


class Clock:
    """Time passes only in calls of a known length and in pauses."""

    def __init__(self):
        self.now, self.called = 0.0, []

    def call(self, name, seconds):
        def call():
            self.called.append(name)
            self.now += seconds

        return call

    def sleep(self, seconds):
        self.called.append("pause")
        self.now += seconds

    def run(self, calls, **how):
        made = {name: self.call(name, seconds) for name, seconds in calls.items()}
        return timing.interleave(made, timing.Rounds(**how), lambda: self.now, self.sleep)


def test_contestants_take_turns_and_each_begins_a_round():
    clock = Clock()
    timed = clock.run({"a": 0.004, "b": 0.01}, rounds=2, least=0.01)
    start = ["pause", *"aaa", "pause", *"bbb"]
    a, b = ["pause", *"aaaa"], ["pause", *"bb"]  # one untimed call, then three or one
    assert clock.called == start + a + b + b + a
    assert [t.repetitions for t in timed.values()] == [3, 1]
    assert timed["a"].samples == pytest.approx([0.004] * 2)


def test_slow_contestants_get_fewer_rounds_but_at_least_one():
    clock = Clock()
    timed = clock.run({"fast": 0.001, "slow": 2.0, "slowest": 9.0}, rounds=5, budget=5.0)
    assert [len(t.samples) for t in timed.values()] == [5, 2, 1]
    assert clock.called.count("slowest") == 1
    assert timed["slowest"].samples == [9.0]


def test_waiting_for_other_programs_ends_after_patience(monkeypatch):
    shares, slept = [0.9, 0.3, None, 0.9], []
    monkeypatch.setattr(machine.Others, "share", lambda self: shares[len(slept) - 1])
    monkeypatch.setattr(machine.time, "sleep", slept.append)
    machine.wait_for_quiet(0.0)
    assert slept == []
    machine.wait_for_quiet(60.0)
    assert len(slept) == 3  # an unknown share ends the wait


def test_median_minimum_and_iqr():
    timed = timing.Timed(1, [4.0, 1.0, 2.0, 3.0, 100.0])
    assert (timed.seconds("median"), timed.seconds("min")) == (3.0, 1.0)
    assert timed.iqr == pytest.approx((4 - 2) / 3)
    assert timing.Timed(1, [1.0, 3.0]).iqr == 1.0


@pytest.mark.parametrize(
    ("descriptor", "part"),
    [
        ("conv2d in=8 out=8 kernel=3 padding=1 groups=8 batch=4 size=56x40", "batch=1 size=14x10"),
        ("conv1d in=8 out=8 kernel=4 groups=8 batch=4 size=5", "batch=1 size=4"),
        ("conv_transpose2d in=8 out=8 kernel=9 groups=8 batch=1 size=3x9", "batch=1 size=1x2"),
    ],
)
def test_a_piece_of_a_problem_is_small_and_valid(descriptor, part):
    assert str(guard.piece(ConvSpec.parse(descriptor))).endswith(part)


def test_only_calls_that_may_be_slow_are_tried():
    def never(_):
        raise AssertionError("tried")

    spec = ConvSpec.parse("conv2d in=512 out=512 kernel=3 groups=512 batch=1 size=56")
    assert guard.predicted_seconds(spec, "forward", never) is None
    assert guard.predicted_seconds(spec, "gradients", lambda part: lambda: None) > 0


# --- numbers --------------------------------------------------------------------------------------


def entry(seconds, **more):
    both = {"seconds": seconds, "median": seconds, "min": 0.5 * seconds}
    return both | {"iqr": 0.1, "error": 1e-7, "samples": [seconds]} | more


def row(descriptor, mode="forward", flops=10**9, name="net", batch=1, **times):
    made = {"lax": {"compile_seconds": 0.5, "temp_bytes": 2_000_000}}
    entries = {
        "torch contiguous": entry(times.pop("first"), layout="contiguous"),
        "torch channels_last": entry(times.pop("last"), layout="channels_last"),
    } | {
        n.replace("_shift", ".shift"): entry(s, **made["lax"], lowerings=["xla"])
        for n, s in times.items()
    }
    return {
        "table": "layers",
        "model": name,
        "spec": descriptor,
        "families": list(table.families(ConvSpec.parse(descriptor))),
        "batch": batch,
        "mode": mode,
        "flops": flops,
        "bytes": 4 * 10**7,
        "contestants": entries,
        "absent": {},
        "others": 0.01,
    }


DEPTHWISE = "conv2d in=8 out=8 kernel=3 groups=8 batch=1 size=9"
WIDE = "conv2d in=32 out=32 kernel=3 groups=4 batch=1 size=9"


def test_geometric_mean():
    assert report.geometric_mean([1, 4, 16]) == pytest.approx(4)
    assert report.geometric_mean([0.5, 2.0]) == pytest.approx(1)
    with pytest.raises(ValueError, match="geometric mean of no values"):
        report.geometric_mean([])


def test_the_faster_layout_of_torch_counts():
    one = row(DEPTHWISE, first=0.2, last=0.1, lax=0.8, jaxgroups=0.05)
    assert report.seconds(one) == {"torch": 0.1, "lax": 0.8, "jaxgroups": 0.05}
    expected = {"lax/torch": 8, "jaxgroups/torch": 0.5, "jaxgroups/lax": 0.0625}
    assert report.ratios(one) == pytest.approx(expected)
    assert report.rates(one) == pytest.approx({"torch": 10, "lax": 1.25, "jaxgroups": 20})
    limits = {"gflops": 100, "copy_gbytes": 10}  # 10 ms and 4 ms at least
    assert report.share_of_limit(one, limits) == pytest.approx(0.2)
    assert report.share_of_limit(one | {"bytes": 10**9}, limits) == pytest.approx(2.0)


def test_rivals_are_compared_with_torch_and_jaxgroups_with_the_faster_of_them():
    times = {
        "torch-compile": 0.01,
        "onnxruntime": 0.05,
        "openvino": 0.04,
        "jaxgroups-optimize": 0.02,
    }
    one = row(DEPTHWISE, first=0.2, last=0.1, lax=0.8, jaxgroups=0.06, **times)
    assert report.seconds(one)["torch"] == 0.1  # torch.compile is not one of its layouts
    assert report.ratios(one) == pytest.approx(
        {
            "torch-compile/torch": 0.1,
            "onnxruntime/torch": 0.5,
            "openvino/torch": 0.4,
            "lax/torch": 8,
            "jaxgroups/torch": 0.6,
            "jaxgroups-optimize/torch": 0.2,
            "jaxgroups/lax": 0.075,
            "jaxgroups-optimize/lax": 0.025,
            "jaxgroups/rival": 1.5,
            "jaxgroups-optimize/rival": 0.5,
        }
    )
    lines = list(text.row_lines(one))
    assert [line.split()[0] for line in lines[1:-1]] == list(times)
    assert lines[4].endswith("; 0.50 of the rival's time")
    assert lines[-1].strip() == "jaxgroups takes 1.50 of the faster rival's time"


def test_a_summary_has_means_by_mode_batch_and_family():
    rows = [
        row(DEPTHWISE, first=1.0, last=2.0, lax=8.0, jaxgroups=2.0, name="a"),
        row(WIDE, first=2.0, last=1.0, lax=2.0, jaxgroups=0.5, name="b"),
        row(WIDE, first=1.0, last=1.0, jaxgroups=3.0, mode="gradients"),
    ]
    forward, depthwise, wide, gradients = report.summary(rows)
    assert [r["group"] for r in (forward, depthwise, wide, gradients)] == [
        "all", "depthwise", "wide groups", "all",
    ]  # fmt: skip
    assert forward["ratios"]["jaxgroups/torch"]["mean"] == pytest.approx(1.0)
    assert forward["ratios"]["lax/torch"]["mean"] == pytest.approx(4.0)
    assert forward["ratios"]["jaxgroups/torch"]["worst"] == 2.0
    assert forward["ratios"]["jaxgroups/torch"]["worst_layer"].startswith("a ")
    assert forward["gflops"]["torch"] == pytest.approx(1.0)
    assert depthwise["ratios"]["jaxgroups/lax"]["mean"] == pytest.approx(0.25)
    assert gradients["ratios"].keys() == {"jaxgroups/torch"}
    assert (forward["rows"], gradients["rows"]) == (2, 1)
    tables = [*rows[:1], rows[1] | {"table": "more"}]
    assert [r["group"] for r in report.summary(tables)][-2:] == ["table layers", "table more"]
    lines = "\n".join(text.summary_lines(report.summary(rows), {"gflops": 100}))
    assert "forward, batch 1: geometric mean (worst) of lax/torch, jaxgroups/torch" in lines
    assert "1.00 (2.00)" in lines
    assert "worst of jaxgroups/torch: a 2d 8 k3 g8 @9" in lines


def test_lines_of_a_row_have_the_layout_the_lowering_and_the_absent():
    one = row(DEPTHWISE, first=0.2, last=0.1, lax=0.8, jaxgroups=0.05, jaxgroups_shift=0.4)
    one["absent"]["jaxgroups.native"] = "no compiler"
    first, forced, absent = text.row_lines(one, {"gflops": 100, "copy_gbytes": 10})
    assert first.split()[:12] == [
        "net", "2d", "8", "k3", "g8", "@9", "1", "100.0l", "800.0", "50.000", "xla", "0.50",
    ]  # fmt: skip
    assert first.split()[13:15] == ["50.000", "25.000"]  # the minima of torch and jaxgroups
    assert len(first) == len(text.HEADER)
    assert "jaxgroups.shift" in forced
    assert absent.strip() == "jaxgroups.native: not measured: no compiler"


def test_warnings():
    good = row(DEPTHWISE, first=1.0, last=1.0, lax=1.0, jaxgroups=1.1)
    slow = row(WIDE, first=1.0, last=1.0, lax=1.0, jaxgroups=1.25)
    slow["contestants"]["jaxgroups"]["compile_seconds"] = 1.6
    without = row(WIDE, first=1.0, last=1.0, jaxgroups=9.0)
    rows = [good, slow | {"others": 0.5}, without | {"others": None}]
    assert report.slower_than_lax(rows) == [(1.25, "net 2d 32 k3 g4 @9 n1 forward")]
    assert report.slow_to_compile(rows) == [(1.6, "net 2d 32 k3 g4 @9 n1 forward")]
    assert report.disturbed(rows) == 1
    slower, compiled, disturbed = text.warning_lines(rows)
    assert "in 1 of 3 rows: net 2d 32 k3 g4 @9 n1 forward (1.25)" in slower
    assert compiled.endswith("(1.60 s)")
    assert disturbed.startswith("1 of 3 rows were measured while")
    assert list(text.warning_lines([good])) == []


# --- published figures ----------------------------------------------------------------------------


def reports():
    """A report for each command; jaxgroups takes 0.5 of the time of torch, 3 without kernels."""
    layers = [
        row(DEPTHWISE, mode, first=1.0, last=2.0, lax=4.0, jaxgroups=0.5, without_kernels=3.0,
            batch=batch)
        for mode in ("forward", "gradients")
        for batch in (1, 4)
    ]  # fmt: skip
    names = [network for _, _, network in results.ROWS.values() if network]

    def networks(mode, **more):
        return [
            row(WIDE, mode, first=2.0, last=1.0, jaxgroups=0.5, without_kernels=3.0, name=name,
                batch=batch, **more)
            for name in names
            for batch in (1, 4)
        ]  # fmt: skip

    on = {
        "processor": "a processor", "instruction_sets": "avx2", "cores": 2, "threads": 2,
        "system": "Linux", "pages": "small", "load_before": 0.0, "versions": {"jax": "0.10"},
        "python": "3.11", "commit": "abc", "date": "2026",
    }  # fmt: skip
    rows = {
        "ops": layers,
        "inference": networks(
            "inference", lax=2.0, openvino=0.2514, **{"jaxgroups-optimize": 0.25}
        ),
        "training": networks("training", **{"jaxgroups-keep_memory": 0.25}),
    }
    return {
        name: {"machine": on, "commit": "abc", "rows": of, "summary": report.summary(of)}
        for name, of in rows.items()
    }


def test_published_figures_are_collected_from_reports():
    found = results.collect(reports())
    assert found["rows"].keys() == results.ROWS.keys()
    for title, (name, _, _) in results.ROWS.items():
        expected = {
            "lax": {"1": 4.0, "4": 4.0} if name == "ops" else {"1": 2.0, "4": 2.0},
            "jaxgroups": {"1": 0.5, "4": 0.5},
            "without_kernels": {"1": 3.0, "4": 3.0},
        }
        if name == "training":
            del expected["lax"]
        if name != "ops":
            expected["tuned"] = {"1": 0.25, "4": 0.25}
        assert found["rows"][title] == expected
    assert found["machines"].keys() == results.COLUMNS.keys()
    assert found["machines"]["lax"].startswith("a processor (avx2), 2 cores")
    first, rule, *lines = results.table(found, ("1", "4"))
    assert first.count("|") == rule.count("|") == 6
    assert lines[0].endswith("| 4, 4 | 0.5, 0.5 | - | 3, 3 |")
    assert lines[2].endswith("| 2, 2 | 0.5, 0.5 | 0.25, 0.25 | 3, 3 |")


def test_the_networks_have_a_table_of_milliseconds():
    found = results.collect(reports())
    first, rule, *lines = results.network_table(found, "inference")
    assert first == (
        "| | PyTorch | OpenVINO | XLA alone | jaxgroups | jaxgroups.optimize "
        "| jaxgroups without C++ kernels |"
    )
    assert rule == "|---|---|---|---|---|---|---|"
    assert lines[0] == (
        "| MobileNetV2 | 1000, 1000 | 251, 251 | 2000, 2000 | 500, 500 | 250, 250 | 3000, 3000 |"
    )
    assert len(lines) == 4
    first, _, *lines = results.network_table(found, "training")
    assert first == (
        "| | PyTorch | jaxgroups | jaxgroups.keep_memory | jaxgroups without C++ kernels |"
    )
    assert lines[0] == "| MobileNetV2 | 1000, 1000 | 500, 500 | 250, 250 | 3000, 3000 |"
    del found["networks"]["inference"]["mobilenetv2_w1"]["lax"]
    _, _, line, *_ = results.network_table(found, "inference", ("1",))
    assert "| 251 | not measured | 500 |" in line
    assert list(results.network_table({"rows": {}}, "training")) == []


def test_the_figures_have_their_commands_and_commit(monkeypatch, capsys):
    """Every command runs the benchmark of its name, with arguments that it takes."""
    ran, commits = [], iter(["abc", "abc", "abc+", "abc", "abc", "abc+", "abc+", "abc+", "abc+"])

    def run(command, cwd, check):
        *arguments, option, out = command[1:]
        assert (option, check) == ("--json", True)
        ran.append(shlex.join(["python", *arguments]))
        name = list(results.COMMANDS)[(len(ran) - 1) % 3]
        Path(out).write_text(json.dumps(reports()[name] | {"commit": next(commits)}))

    monkeypatch.setattr(results.subprocess, "run", run)
    with pytest.raises(SystemExit, match=r"measured at several commits: abc, abc\+$"):
        results.measure()
    assert len(ran) == 3
    with pytest.raises(SystemExit):
        results.measure()
    found = results.measure()
    assert found["commands"] == ran[:3]
    assert found["commit"] == "abc+"
    assert capsys.readouterr().out.startswith("MEASURED WITH UNCOMMITTED CHANGES")
    assert ran[0].startswith("python -m benchmarks.ops benchmarks/layers.csv --limit 2 ")
    assert ran[1].startswith("python -m benchmarks.models --mode inference --model all ")


def test_a_figure_that_was_not_measured_is_named_so_and_not_drawn():
    found = results.collect(reports())
    full = results.chart(found)
    assert full.count(f'fill="{results.COLOURS["lax"]}"') == len(results.ROWS)  # and the legend
    title = next(iter(found["rows"]))
    del found["rows"][title]["lax"]
    assert next(line for line in results.table(found) if title in line).endswith(
        "| not measured | 0.5 | - | 3 |"
    )
    assert results.chart(found).count(f'fill="{results.COLOURS["lax"]}"') == len(results.ROWS) - 1
