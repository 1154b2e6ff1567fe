"""Whole models: which lowering runs a layer, and why not the others."""

from dataclasses import replace

import pytest
from flax import nnx
from support.explained_models import by_path

import jaxgroups as jg
import jaxgroups.nnx as jnn
from jaxgroups._lowerings import dispatch, xla


@pytest.fixture
def two_lowerings(monkeypatch):
    """A lowering for depthwise convolutions only, before XLA's."""

    def unsupported_reason(problem, view, platform):
        if platform != "cpu":
            return f"not for {platform}"
        return None if problem.feature_group_count > 4 else "few groups"

    picky = replace(
        xla.LOWERING,
        name="picky",
        summary="only many groups",
        unsupported_reason=unsupported_reason,
    )
    monkeypatch.setattr(dispatch, "LOWERINGS", (picky, xla.LOWERING))


@pytest.mark.usefixtures("two_lowerings")
def test_lowerings_and_reasons():
    class Model(nnx.Module):
        def __init__(self):
            rngs = nnx.Rngs(0)
            self.few = jnn.Conv2d(8, 8, 3, padding=1, groups=2, rngs=rngs)
            self.many = jnn.Conv2d(8, 8, 3, padding=1, groups=8, rngs=rngs)
            self.asked = jnn.Conv2d(8, 8, 3, padding=1, groups=8, implementation="xla", rngs=rngs)
            self.own = nnx.Conv(8, 8, (3, 3), feature_group_count=8, rngs=rngs)
            self.ours = nnx.Conv(
                8,
                8,
                (3, 3),
                feature_group_count=8,
                conv_general_dilated=jg.conv_general_dilated,
                rngs=rngs,
            )

        def __call__(self, x):
            return self.ours(self.own(self.asked(self.many(self.few(x)))))

    model = Model()
    rows = by_path(jg.explain(model, (1, 5, 5, 8)))
    assert {path: row.implementation for path, row in rows.items()} == {
        "few": "xla",
        "many": "picky",
        "asked": "xla",
        "own": "xla",
        "ours": "picky",
    }
    assert rows["few"].refused == {"picky": "few groups"}
    assert rows["many"].refused == rows["asked"].refused == {}
    assert rows["own"].note == "a layer of Flax; as a layer of jaxgroups: picky"
    assert rows["ours"].note == ""
    gpu = by_path(jg.explain(model, (1, 5, 5, 8), platform="gpu"))
    assert gpu["many"].implementation == "xla"
    assert gpu["many"].refused == {"picky": "not for gpu"}
    text = jg.explain(model, (1, 5, 5, 8)).text()
    assert "not picky, 1 layer: few groups" in text
    assert "1 layer: a layer of Flax; as a layer of jaxgroups: picky" in text
    with pytest.raises(ValueError, match="implementation='picky' does not take this convolution"):
        jg.explain(model, (1, 5, 5, 8), implementation="picky")
    with pytest.raises(ValueError, match="implementation must be None or one of picky, xla"):
        jg.explain(model, (1, 5, 5, 8), implementation="magic")


def test_flaxs_own_layers_while_lax_is_accelerated():
    model = nnx.Conv(32, 32, (3, 3), feature_group_count=32, rngs=nnx.Rngs(0))
    [before] = jg.explain(model, (1, 9, 9, 32), platform="cpu").layers
    with jg.accelerate():
        [during] = jg.explain(model, (1, 9, 9, 32), platform="cpu").layers
        [elsewhere] = jg.explain(model, (1, 9, 9, 32), platform="gpu").layers
    [after] = jg.explain(model, (1, 9, 9, 32), platform="cpu").layers
    assert before == after
    assert (before.implementation, elsewhere.implementation) == ("xla", "xla")
    assert before.note == f"a layer of Flax; as a layer of jaxgroups: {during.implementation}"
    assert during.implementation != "xla"
    assert during.note == ""
