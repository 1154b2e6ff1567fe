"""The table of lowerings: total, named, and the one that was asked for really ran."""

from dataclasses import replace

import jax
import pytest
from support.cases import CASES
from support.helpers import arrays, run

from jaxgroups import _native as native
from jaxgroups._lowerings import LOWERINGS, dispatch
from jaxgroups._problem.problem import problem_of

PLATFORMS = ("cpu", "gpu", "tpu")


def test_the_table_is_total():
    """The last lowering takes every problem, so every problem is taken."""
    assert LOWERINGS[-1].name == "xla"
    for spec in CASES.values():
        for platform in PLATFORMS:
            assert LOWERINGS[-1].unsupported_reason(problem_of(spec), platform) is None


def test_names_are_unique():
    assert len(set(dispatch.names())) == len(dispatch.names())


@pytest.mark.parametrize("name", dispatch.names())
def test_the_asked_lowering_ran(rng, name):
    """Its scope is in the lowered program."""
    if name == "native" and native.status().missing:
        pytest.skip(f"NO KERNELS to run: {native.status().missing}")
    taken = 0
    for spec in CASES.values():
        if 0 in spec.batch or LOWERINGS[dispatch.names().index(name)].unsupported_reason(
            problem_of(spec), jax.default_backend()
        ):
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


SPLIT = "a program that is split over devices or exported needs operations of XLA alone"


@pytest.mark.usefixtures("with_kernels")
def test_kernels_are_neither_split_nor_exported():
    problem = problem_of(CASES["many-small-groups"])
    assert dispatch.choose(problem, platform="cpu")[0].name == "native"
    chosen, refused = dispatch.choose(problem, platform="cpu", portable=True)
    assert (chosen.name, refused) == ("shift", (("native", SPLIT),))


def test_what_cannot_be_split_is_left_out_of_programs_for_several_devices(monkeypatch):
    whole = replace(LOWERINGS[-1], name="whole", portable=False)
    monkeypatch.setattr(dispatch, "LOWERINGS", (whole, *LOWERINGS))
    monkeypatch.setattr(dispatch.rules, "slower_reason", lambda problem, name, platform: None)
    problem = problem_of(CASES["two-groups"])
    assert dispatch.choose(problem, portable=False) == (whole, ())
    chosen, refused = dispatch.choose(problem, portable=True)
    assert chosen.name != "whole"
    assert refused[0] == ("whole", SPLIT)
    with pytest.raises(
        ValueError, match=f"implementation='whole' does not take this convolution: {SPLIT}"
    ):
        dispatch.choose(problem, "whole", portable=True)
    assert dispatch.prefer(problem, "whole", "cpu", True) is chosen
