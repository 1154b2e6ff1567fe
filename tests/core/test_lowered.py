"""What ran: the report of `accelerate`, the log, and the warning of an export without kernels."""

import json
import logging

import jax
import jax.numpy as jnp
import pytest
from jax import export, lax
from support.command import python

import jaxgroups as jg
from jaxgroups import _native as native
from jaxgroups._lowerings import dispatch
from jaxgroups._op import lowered
from jaxgroups._problem.problem import problem_of

NHWC = ("NHWC", "HWIO", "NHWC")
X, DEPTHWISE, DENSE = (2, 7, 6, 16), (3, 3, 1, 32), (1, 1, 32, 5)


def first(x, w):
    return lax.conv_general_dilated(
        x, w, (2, 1), ((1, 1), (0, 2)), dimension_numbers=NHWC, feature_group_count=16
    )


def second(x, w):
    return lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=NHWC)


def net(x, w, v):
    return jnp.sum(second(first(x, w), v) ** 2)


def shapes(*of):
    return [jax.ShapeDtypeStruct(shape, "float32") for shape in of]


def chosen(text):
    """What `explain` says of the descriptor in a line."""
    return jg.explain(text, platform="cpu").implementation


def test_the_report_names_every_convolution_and_its_line():
    with jg.accelerate() as handle:
        assert handle.report().convolutions == ()
        assert str(handle.report()).startswith("no convolution has been lowered yet")
        jax.jit(net).lower(*shapes(X, DEPTHWISE, DENSE))
        report = handle.report()
    found = {one.convolution: one for one in report.convolutions}
    assert list(found) == [
        "conv2d in=16 out=32 kernel=3 stride=2x1 padding=1x0:2 groups=16 batch=2 size=7x6",
        "conv2d in=32 out=5 kernel=1 batch=2 size=4x6",
    ]
    for function, (text, one) in zip((first, second), found.items(), strict=True):
        assert one.implementation == chosen(text)
        assert one.platform == "cpu"
        assert f"{__file__}:{function.__code__.co_firstlineno + 1}:" in one.source
        assert f"({function.__name__})" in one.source
        names = dispatch.names()
        before = names[: names.index(one.implementation)]
        assert [reason.split(":")[0] for reason in one.reasons] == [f"not {n}" for n in before]
    text = str(report)
    assert text.startswith("2 convolutions lowered, equal ones listed once\n")
    for one in found.values():
        lines = f"  {one.implementation:<7} {one.convolution}\n          {one.source}\n"
        assert lines in f"{text}\n"
    assert json.loads(json.dumps(report.as_dict()))["convolutions"][1]["platform"] == "cpu"


def test_the_report_has_gradients_and_ends_with_undo():
    step = jax.grad(net, argnums=(0, 1, 2))
    with jg.accelerate() as handle:
        jax.jit(step).lower(*shapes(X, DEPTHWISE, DENSE))
        jax.jit(step).lower(*shapes(X, DEPTHWISE, DENSE))
    jax.jit(second).lower(*shapes((1, 3, 3, 2), (1, 1, 2, 7)))
    texts = [one.convolution for one in handle.report().convolutions]
    depthwise = "conv2d in=16 out=32 kernel=3 stride=2x1 padding=1x0:2 groups=16 batch=2 size=7x6"
    assert depthwise in texts
    assert f"weight gradient of {depthwise}" in texts
    assert any(text.endswith(" with the input dilated by 2x1") for text in texts)
    assert len(texts) == len(set(texts)) == 6
    assert not any("out=7" in text for text in texts)


def test_handles_keep_their_own_reports():
    with jg.accelerate() as outer:
        jax.jit(second).lower(*shapes((1, 3, 3, 2), (1, 1, 2, 7)))
        with jg.accelerate() as inner:
            jax.jit(second).lower(*shapes((1, 3, 3, 2), (1, 1, 2, 9)))
    assert [len(handle.report().convolutions) for handle in (outer, inner)] == [2, 1]


def test_the_log_has_each_lowering_and_its_reason(caplog):
    x, w = shapes((1, 4, 5, 6), (8, 2, 3, 3))
    with caplog.at_level(logging.INFO, "jaxgroups"):
        jax.jit(lambda x, w: jg.conv2d(x, w, groups=2, implementation="shift")).lower(x, w)
        jax.jit(lambda x, w: jg.conv2d(x, w, groups=2)).trace(x, w).lower(
            lowering_platforms=("tpu",)
        )
    asked, tpu = [record.getMessage() for record in caplog.records]
    text = "conv2d in=4 out=8 kernel=3 groups=2 batch=1 size=5x6"
    assert asked.startswith(f"jaxgroups: shift on cpu: {text} at {__file__}:")
    assert asked.endswith(" (implementation='shift')")
    assert tpu.startswith("jaxgroups: xla on tpu: convolution of (1, 4, 5, 6) with (8, 2, 3, 3) ")
    assert tpu.endswith(" (the choice on tpu)")


PROGRAM = """
import jax, jax.numpy as jnp, jaxgroups as jg
f = jax.jit(lambda x, w: jg.conv1d(x, w, groups=2, implementation="matmul"))
f(jnp.ones((1, 4, 9)), jnp.ones((6, 2, 3)))
print("done")
"""


@pytest.mark.parametrize(("value", "lines"), [("1", 1), ("0", 0), ("", 0)])
def test_the_variable_prints_the_log(value, lines, monkeypatch, tmp_path):
    monkeypatch.setenv("JAXGROUPS_LOG", value)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = python(program)
    assert (done.returncode, done.stdout) == (0, "done\n")
    told = [line for line in done.stderr.splitlines() if line.startswith("jaxgroups: ")]
    assert len(told) == lines
    for line in told:
        text = "conv1d in=4 out=6 kernel=3 groups=2 batch=1 size=9"
        assert f"matmul on cpu: {text} at {program}:3:" in line


def test_an_unknown_value_of_the_variable_warns():
    with pytest.warns(UserWarning, match="JAXGROUPS_LOG='loud' has no effect: it is 0 or 1"):
        lowered._print_if_asked("loud")


# --- exported programs ---------------------------------------------------------------------------


def exported(function, *args, platforms=("cpu",)):
    return export.export(jax.jit(function), platforms=platforms)(*args)


@pytest.fixture
def warnings_of(caplog):
    """The warnings that a function logs."""

    def of(run):
        caplog.clear()
        run()
        return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]

    return of


def two(x, w):
    y = jg.conv2d(x, w, groups=2, data_format="channels_last")
    return jg.conv2d(y, w, groups=2, data_format="channels_last")


TWO = (1, 8, 8, 32), (3, 3, 16, 32)


@pytest.mark.skipif(native.status().missing is not None, reason="NO KERNELS to lose")
def test_an_export_without_the_kernels_says_so_once_a_program(warnings_of):
    assert dispatch.choose(problem()).lowering.name == "native"
    for channels in (32, 64):
        of = (1, 8, 8, channels), (3, 3, channels // 2, channels)
        assert warnings_of(lambda of=of: exported(two, *shapes(*of))) == [lowered.EXPORTED]
    (batch,) = export.symbolic_shape("b")
    x = jax.ShapeDtypeStruct((batch, 8, 8, 32), "float32")
    assert warnings_of(lambda: exported(two, x, *shapes(TWO[1]))) == [lowered.EXPORTED]


def problem():
    text = "conv2d in=32 out=32 kernel=3 groups=2 batch=1 size=8 data_format=channels_last"
    return problem_of(jg.ConvSpec.parse(text))


def test_no_false_alarm(warnings_of):
    """Another platform, the implementation named, or no export."""
    x, w = shapes(*TWO)
    assert warnings_of(lambda: exported(two, x, w, platforms=("tpu",))) == []

    def named(x, w):
        return jg.conv2d(x, w, groups=2, data_format="channels_last", implementation="xla")

    assert warnings_of(lambda: exported(named, x, w)) == []
    assert warnings_of(lambda: jax.jit(two).lower(x, w)) == []


@pytest.mark.usefixtures("without_kernels")
def test_no_alarm_where_there_are_no_kernels(warnings_of):
    assert warnings_of(lambda: exported(two, *shapes(*TWO))) == []
