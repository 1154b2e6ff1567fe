"""What results look like: one line as repr, a short text for people, escaped HTML in notebooks."""

import numpy as np
from support.plan_models import net, state

import jaxgroups.convert as jc
from jaxgroups.convert._compare import Comparison, Difference


def test_a_plan():
    plan = jc.plan(net(), state())
    assert "\n" not in repr(plan)
    assert repr(plan).startswith(f"Plan(Net: {len(state())} tensors")
    assert str(plan) == plan.report()
    html = plan._repr_html_()
    assert html.count("<tr>") == 1 + len(plan.entries)
    assert "Permute(axes=(2, 3, 1, 0))" in html


def test_a_plan_with_problems():
    plan = jc.plan(net(), {"<b>": np.ones(3)})
    assert f"{len(plan.problems)} problems" in repr(plan)
    assert "<b></td>" not in plan._repr_html_()
    assert "<td>&lt;b&gt;</td>" in plan._repr_html_()


def test_a_report():
    _, report = jc.load_torch(net(), state(), strict=False)
    filled = len(report.plan.leaves())
    assert repr(report).startswith(f"Report(Net: {filled} parameters filled")
    missing = dict(list(state().items())[1:])
    _, report = jc.load_torch(net(), missing, strict=False)
    assert "1 not filled" in repr(report)
    assert f"missing_keys: {report.missing_keys[0]}" in str(report).splitlines()
    assert f"<td>{report.missing_keys[0]}</td>" in report._repr_html_()


def test_a_comparison():
    layers = [
        Difference("a<b", "a", 1e-7, (1, 2), (1, 2)),
        Difference("c", "c", 0.5, (1, 2), (1, 2)),
    ]
    good, bad = Comparison(layers[:1], 1e-4), Comparison(layers, 1e-4)
    assert repr(good) == "Comparison(1 layer, all within 0.0001)"
    assert repr(bad) == "Comparison(2 layers, 1 beyond 0.0001)"
    assert str(bad).startswith("first difference at c (c): 0.5 relative")
    assert "<td>a&lt;b</td>" in bad._repr_html_()
    assert str(bad) in bad._repr_html_()


def test_a_checkpoint():
    with jc._files.from_dict({"w<": np.ones((2, 3), "f4")}) as opened:
        assert repr(opened) == "<memory checkpoint: 1 tensor>"
        assert str(opened).splitlines()[-1].split() == ["w<", "float32", "(2,", "3)"]
        assert "<td>w&lt;</td>" in opened._repr_html_()


def test_rules_of_the_user_have_a_short_repr():
    assert repr(jc.FlattenLinear(512, 7, 7)) == "FlattenLinear(512, 7, 7)"


def test_the_text_of_a_report_is_short_and_has_every_warning():
    missing = {k: v for k, v in state().items() if not k.startswith("features.0")}
    _, report = jc.load_torch(net(), missing, strict=False)
    report.warnings += ["one", "two"]
    first, *lines, one, two = str(report).splitlines()
    assert first == repr(report)
    assert (one, two) == ("warning: one", "warning: two")
    assert len(lines) == 2
    names = ", ".join(report.missing_keys[:3])
    assert lines[0] == f"missing_keys: {names} and {len(report.missing_keys) - 3} more"
