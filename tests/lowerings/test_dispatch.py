"""The table of lowerings: total, named, and the one that was asked for really ran."""

import sys
from dataclasses import replace
from functools import partial

import jax
import pytest
from support.cases import CASES
from support.helpers import arrays, run, unsupported_reason

from jaxgroups import ConvSpec
from jaxgroups import _native as native
from jaxgroups._lowerings import LOWERINGS, dispatch, matmul, phases_to_channels
from jaxgroups._lowerings.views import view_of
from jaxgroups._op import primitive
from jaxgroups._problem.problem import problem_of

PLATFORMS = ("cpu", "gpu", "tpu")


def test_the_table_is_total():
    """The last lowering takes every problem, so every problem is taken."""
    assert LOWERINGS[-1].name == "xla"
    for spec in CASES.values():
        for platform in PLATFORMS:
            assert unsupported_reason(LOWERINGS[-1], problem_of(spec), platform) is None


def test_names_are_unique():
    assert len(set(dispatch.names())) == len(dispatch.names())


@pytest.mark.parametrize("name", dispatch.names())
def test_the_asked_lowering_ran(rng, name):
    """Its scope is in the lowered program."""
    if name == "native" and native.status().missing:
        pytest.skip(f"NO KERNELS to run: {native.status().missing}")
    taken = 0
    for spec in CASES.values():
        lowering = LOWERINGS[dispatch.names().index(name)]
        if 0 in spec.batch or unsupported_reason(lowering, problem_of(spec)):
            continue
        f = jax.jit(lambda x, w, s=spec: run(s, x, w, implementation=name))
        if spec.padding_mode == "zeros" and all(lo == hi for lo, hi in spec.padding):
            text = f.lower(*arrays(rng, spec)[:2]).as_text(debug_info=True)
            assert f"jaxgroups.{name}" in text
            taken += 1
        if taken == 5:
            break
    assert taken


def test_an_unknown_name_is_refused_before_anything_runs():
    with pytest.raises(ValueError, match="implementation must be None or one of"):
        dispatch.choose(problem_of(CASES["two-groups"]), "magic")


SPLIT = "a program that XLA splits or that is exported needs operations of XLA alone"


@pytest.mark.usefixtures("with_kernels")
def test_kernels_are_neither_split_nor_exported():
    problem = problem_of(CASES["many-small-groups"])
    assert dispatch.choose(problem, platform="cpu").lowering.name == "native"
    chosen, _, refused = dispatch.choose(problem, platform="cpu", portable=True)
    assert (chosen.name, refused) == ("shift", (("native", SPLIT),))


def test_what_cannot_be_split_is_left_out_of_programs_for_several_devices(monkeypatch):
    whole = replace(LOWERINGS[-1], name="whole", portable=False)
    monkeypatch.setattr(dispatch, "LOWERINGS", (whole, *LOWERINGS))
    monkeypatch.setattr(dispatch.rules, "slower_reason", lambda *_, **__: None)
    problem = problem_of(CASES["two-groups"])
    assert dispatch.choose(problem, portable=False) == (whole, view_of(problem), ())
    chosen, _, refused = dispatch.choose(problem, portable=True)
    assert chosen.name != "whole"
    assert refused[0] == ("whole", SPLIT)
    with pytest.raises(
        ValueError, match=f"implementation='whole' does not take this convolution: {SPLIT}"
    ):
        dispatch.choose(problem, "whole", portable=True)
    assert dispatch.prefer(problem, "whole", "cpu", True).lowering is chosen


def calls_of(function, call):
    """How often `function` is entered while `call` runs, under whatever name it was imported."""
    count = 0

    def entered(frame, event, argument):
        nonlocal count
        count += event == "call" and frame.f_code is function.__code__

    before = sys.getprofile()
    sys.setprofile(entered)
    try:
        call()
    finally:
        sys.setprofile(before)
    return count


MANY_TAPS = problem_of(CASES["T-many-taps-1d"])


@pytest.mark.parametrize("implementation", [None, *dispatch.names()])
@pytest.mark.parametrize("kernels", ["with_kernels", "without_kernels"])
def test_a_choice_computes_the_view_once(request, kernels, implementation):
    request.getfixturevalue(kernels)
    for problem in (problem_of(CASES["two-groups"]), MANY_TAPS):
        prefer = partial(dispatch.prefer, problem, implementation, "cpu", False)
        assert calls_of(view_of, prefer) == 1
        choice = prefer()
        assert choice.view == view_of(problem)


@pytest.mark.parametrize("implementation", [None, "matmul", "xla"])
def test_a_program_computes_the_view_once_a_convolution(implementation):
    """Choice, reading of the weights and lowering share it; a forced choice is checked before."""
    problem = MANY_TAPS
    shapes = (problem.lhs_shape, problem.rhs_shape)
    operands = [jax.ShapeDtypeStruct(shape, problem.dtype) for shape in shapes]
    traced = jax.jit(partial(primitive.compute, problem, implementation=implementation)).trace(
        *operands
    )
    matmul.plain_view.cache_clear()
    assert calls_of(view_of, traced.lower) == 1
    assert calls_of(phases_to_channels.plain, traced.lower) <= 1


@pytest.mark.parametrize("isa", ["avx512", "avx2"])
def test_packed_weights_need_no_packing(with_kernels, monkeypatch, isa):
    """Then the kernels take what has many more weights than inputs and outputs."""
    monkeypatch.setattr(dispatch.rules, "isa_in_use", lambda: isa)

    def chosen(text, packed):
        problem = problem_of(ConvSpec.parse(text))
        return dispatch.prefer(problem, None, "cpu", False, packed).lowering.name

    pointwise = "conv2d in=2048 out=512 kernel=1 batch=1 size=7x7"
    assert [chosen(pointwise, packed) for packed in (False, True)] == ["matmul", "native"]
    wide, large = (f"conv2d in=64 out=64 kernel=3 padding=1 batch=1 size={n}x{n}" for n in (14, 56))
    xla = "native" if isa == "avx512" else "xla"
    assert [chosen(wide, packed) for packed in (False, True)] == [xla, "native"]
    assert chosen(large, True) == xla
