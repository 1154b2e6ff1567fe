"""Sabotage: each known way to corrupt weights silently, built in, must be caught.

A mutation changes the code under test. It counts as caught where one of the checks fails and names
what was sabotaged: the tool's own (a plan, a stamp, reading back, verify), or the comparison with
torch's definitions. That the checks pass without a mutation is tested first.
"""

from dataclasses import replace

import numpy as np
import pytest
from flax import nnx
from support.definition_checks import CHECKS, transposed

import jaxgroups.convert as jc
import jaxgroups.nnx as jnn
from jaxgroups._spec import layouts
from jaxgroups.convert._model import names as _names
from jaxgroups.convert._plan import build as _build
from jaxgroups.convert._plan import match as _match
from jaxgroups.convert._rules import layers as _rules
from jaxgroups.convert._rules import merges as _merges
from jaxgroups.convert._rules import ops as _ops
from jaxgroups.convert._transfer import convert_file as file_to_file
from jaxgroups.convert._transfer import move as _move
from jaxgroups.convert._transfer import read as reading


@pytest.mark.parametrize("check", CHECKS)
def test_the_checks_pass_without_a_mutation(check, tmp_path):
    CHECKS[check](tmp_path)


# --- mutations ------------------------------------------------------------------------------------


def rule(monkeypatch, kind, change):
    """Changes what the rule of a layer type answers."""
    old = _rules._RULES[kind]
    monkeypatch.setitem(_rules._RULES, kind, lambda layer, shapes: change(old(layer, shapes)))


def leaves(answer):
    return dict(answer.leaves if isinstance(answer, jc.Rule) else answer)


def swapped(one, other):
    def change(answer):
        table = leaves(answer)
        table[one], table[other] = table[other], table[one]
        return jc.Rule(table, answer.torch_only) if isinstance(answer, jc.Rule) else table

    return change


def with_op(op):
    return lambda answer: leaves(answer) | {"kernel": jc.TensorRule("weight", op)}


def weight_norm(monkeypatch, merged):
    """Changes what is computed of a direction and a magnitude."""
    method(monkeypatch, _merges.WeightNorm, "merged", lambda self, arrays: merged(*arrays))


def reversed_keys(found):
    return found and replace(found, keys=found.keys[::-1])


def method(monkeypatch, kind, name, replacement):
    monkeypatch.setattr(kind, name, replacement)


# name: the checks that catch it, each with the layer or the sentence it names, and the sabotage
MUTATIONS = {
    "BatchNorm: weight and bias swapped": (
        {"load": "bn"},
        lambda m: rule(m, nnx.BatchNorm, swapped("scale", "bias")),
    ),
    "BatchNorm: mean and variance swapped": (
        {"load": "bn"},
        lambda m: rule(m, nnx.BatchNorm, swapped("mean", "var")),
    ),
    "BatchNorm: bias and mean swapped": (
        {"load": "bn"},
        lambda m: rule(m, nnx.BatchNorm, swapped("bias", "mean")),
    ),
    "BatchNorm: the counter forgotten": (
        {
            "load": 'Unexpected key(s) in state_dict: "bn.num_batches_tracked"',
            "back": 'Unexpected key(s) in state_dict: "bn.num_batches_tracked"',
            "files": 'Unexpected key(s) in state_dict: "bn.num_batches_tracked"',
        },
        lambda m: rule(m, nnx.BatchNorm, leaves),
    ),
    "Linear: square weight not transposed": (
        {"load": "fc"},
        lambda m: rule(m, nnx.Linear, with_op(jc.Identity())),
    ),
    "Linear: reshaped where it should be transposed": (
        {"load": "size mismatch for flat.weight"},
        lambda m: rule(m, nnx.Linear, with_op(jc.Reshape((4, 4), (4, 4)))),
    ),
    "Embed: transposed": (
        {"load": "embed"},
        lambda m: rule(
            m, nnx.Embed, lambda _: {"embedding": jc.TensorRule("weight", jc.Permute((1, 0)))}
        ),
    ),
    "Conv: not permuted": ({"load": "conv"}, lambda m: rule(m, nnx.Conv, with_op(jc.Identity()))),
    "Conv: height and width swapped": (
        {"load": "conv"},
        lambda m: rule(m, nnx.Conv, with_op(jc.Permute((3, 2, 1, 0)))),
    ),
    "Conv: inputs and outputs swapped": (
        {"load": "conv"},
        lambda m: rule(m, nnx.Conv, with_op(jc.Permute((2, 3, 0, 1)))),
    ),
    "Conv: the rule of a transposed convolution, with its flip": (
        {"load": "conv"},
        lambda m: rule(m, nnx.Conv, with_op(jc.Chain((jc.Permute((2, 3, 1, 0)), jc.Flip((0, 1)))))),
    ),
    "ConvTranspose of Flax: the flip dropped": (
        {"load": "flip"},
        lambda m: rule(m, nnx.ConvTranspose, with_op(jc.Permute((2, 3, 0, 1)))),
    ),
    "ConvTranspose of Flax: one axis flipped": (
        {"load": "flip"},
        lambda m: rule(
            m, nnx.ConvTranspose, with_op(jc.Chain((jc.Permute((2, 3, 0, 1)), jc.Flip((0,)))))
        ),
    ),
    "ConvTranspose of Flax: the rule of a convolution": (
        {"load": "flip"},
        lambda m: rule(m, nnx.ConvTranspose, with_op(jc.Permute((2, 3, 1, 0)))),
    ),
    "all kernels: the layout of Keras' transposed convolution": (
        {"load": "size mismatch for group.weight"},
        lambda m: m.setattr(layouts, "torch_to_flax", lambda ndim: (*range(2, ndim), 0, 1)),
    ),
    "flip: forgotten on the way in": (
        {"load": "flip", "back": "flip.weight"},
        lambda m: method(m, _ops.Flip, "to_flax", lambda self, x: x),
    ),
    "flip: forgotten on the way back": (
        {"back": "flip.weight", "files": "verify names ['flip.weight']"},
        lambda m: method(m, _ops.Flip, "to_torch", lambda self, y: y),
    ),
    "permutation: not inverted on the way back": (
        {"back": "was announced as", "files": "verify names ["},
        lambda m: method(m, _ops.Permute, "to_torch", lambda self, y: y.transpose(self.axes)),
    ),
    "flatten: taken as a plain transpose": (
        {"load": "flat", "back": "flat.weight"},
        lambda m: method(m, _ops.ChannelsLast, "to_flax", lambda self, x: x),
    ),
    "flatten: height and width swapped": (
        {"load": "flat", "back": "flat.weight"},
        lambda m: method(
            m,
            _ops.ChannelsLast,
            "to_flax",
            lambda self, x: (
                x.reshape(*self.sizes, -1).transpose(2, 1, 0, 3).reshape(self.flax_shape(x.shape))
            ),
        ),
    ),
    "flatten: the rule lost": (
        {"load": "rules has 'flat', which no layer or parameter of the model uses"},
        lambda m: m.setattr(_build, "strip_collection", lambda structure, path: f"lost.{path}"),
    ),
    "attention: query and key swapped": (
        {"load": "mha"},
        lambda m: rule(m, nnx.MultiHeadAttention, swapped("query.kernel", "key.kernel")),
    ),
    "attention: projections not transposed": (
        {"load": "mha"},
        lambda m: m.setattr(
            _rules, "_general", lambda kernel, _: jc.Reshape((4, 4), tuple(kernel))
        ),
    ),
    "attention: parts joined in another order": (
        {"back": "mha.in_proj_weight", "files": "verify names ['mha.in_proj_weight']"},
        lambda m: m.setattr(_ops, "join", lambda blocks: np.concatenate(blocks[::-1])),
    ),
    "parts: all of them the first": (
        {
            "load": "mha",
            "back": "mha.in_proj_weight",
            "files": "verify names ['mha.in_proj_weight']",
        },
        lambda m: method(m, _ops.Part, "to_flax", lambda self, x: x[: self.flax_shape(x.shape)[0]]),
    ),
    "weight norm: over the other axis": (
        {"load": "normed"},
        lambda m: weight_norm(m, lambda v, g: g * v / np.sqrt((v**2).sum(axis=0, keepdims=True))),
    ),
    "weight norm: over all of the direction": (
        {"load": "normed"},
        lambda m: weight_norm(m, lambda v, g: g * v / np.sqrt((v**2).sum())),
    ),
    "weight norm: the direction taken for the weight": (
        {"load": "normed"},
        lambda m: weight_norm(m, lambda v, g: v),
    ),
    "weight norm: magnitude and direction swapped": (
        {"load": "size mismatch for normed.weight_g"},
        lambda m: m.setattr(
            _match,
            "parametrized",
            lambda *how, old=_match.parametrized: reversed_keys(old(*how)),
        ),
    ),
    "names: two layers of one name": (
        dict.fromkeys(CHECKS, "fc.weight is claimed by fc.kernel, normed.kernel"),
        lambda m: m.setattr(
            _names.TorchNames,
            "of",
            lambda *how, old=_names.TorchNames.of: old(*how).replace("normed", "fc"),
        ),
    ),
    "a double conversion": (
        {"files": "Missing key(s) in state_dict"},
        lambda m: m.setattr(file_to_file, "refuse_stamped", lambda source: None),
    ),
    "values: cast to float32 on the way": (
        {"back": "conv.weight", "files": "was announced as float64"},
        lambda m: m.setattr(
            _move,
            "flax_leaf",
            lambda entry, read, old=_move.flax_leaf: old(entry, read).astype("float32"),
        ),
    ),
    "values: memory order instead of logical order": (
        {"load": "conv", "back": "conv.weight", "files": "verify names ["},
        lambda m: m.setattr(
            _move,
            "flax_leaf",
            lambda entry, read, old=_move.flax_leaf: (
                np.ndarray(
                    entry.flax_shape,
                    old(entry, read).dtype,
                    np.array(read(entry.torch[0]), order="C"),
                )
                if entry.status == "ok" and _ops.part_of(entry.op) is None
                else old(entry, read)
            ),
        ),
    ),
    "counter: always zero": (
        {"back": "bn.num_batches_tracked", "files": "verify names ['bn.num_batches_tracked']"},
        lambda m: m.setattr(_move, "_counter", lambda entry, extras: np.array(0)),
    ),
    "jax: silently narrowed": (
        {"back": "conv.weight"},
        lambda m: m.setattr(
            reading, "_exact", lambda name, array, sharding: reading.jnp.asarray(array, "float32")
        ),
    ),
}
CAUGHT = [(name, check) for name, (checks, _) in MUTATIONS.items() for check in checks]


@pytest.mark.parametrize(("name", "check"), CAUGHT, ids=lambda part: part)
def test_every_mutation_is_caught(name, check, tmp_path, monkeypatch):
    checks, mutate = MUTATIONS[name]
    mutate(monkeypatch)
    with pytest.raises((AssertionError, ValueError, pytest.fail.Exception)) as caught:
        CHECKS[check](tmp_path)
    lines = [line.strip() for line in str(caught.value).splitlines()]
    named = checks[check]
    assert named in lines or (" " in named and any(named in line for line in lines)), lines


# --- the ways to be wrong that users have ---------------------------------------------------------


def test_a_converted_kernel_given_to_a_single_layer_again_is_seen_by_its_shape():
    layer = jnn.Conv2d(4, 6, (3, 2), groups=2, rngs=nnx.Rngs(0))
    weight = np.arange(72.0).reshape(6, 2, 3, 2)
    once = jc.kernel_from_torch(weight, layer)
    with pytest.raises(ValueError, match="does not fit this layer"):
        jc.kernel_from_torch(once, layer)


def test_the_plain_reshape_in_place_of_the_regroup_is_wrong_and_not_ours():
    """torchax's (I, O/g) -> (I/g, O): other values wherever 1 < g < I. No kernel here regroups."""
    groups, weight = 2, np.arange(4 * 3 * 2 * 2.0).reshape(4, 3, 2, 2)
    wrong = weight.reshape(2, 6, 2, 2)
    right = weight.reshape(groups, 2, 3, 2, 2).swapaxes(0, 1).reshape(2, 6, 2, 2)
    assert not np.array_equal(wrong, right)
    model = nnx.eval_shape(
        lambda: jnn.ConvTranspose2d(4, 6, 2, groups=groups, bias=False, rngs=nnx.Rngs(0))
    )
    model, _ = jc.load_torch(model, {"weight": weight})
    x = np.random.default_rng(0).integers(-3, 4, (4, 3, 2)) * 1.0
    out = np.moveaxis(np.asarray(model(np.moveaxis(x, 0, -1)[None])[0]), -1, 0)
    np.testing.assert_array_equal(out, transposed(weight, x, groups))
    sabotaged = wrong.reshape(2, 2, 3, 2, 2).swapaxes(0, 1).reshape(4, 3, 2, 2)
    assert not np.array_equal(out, transposed(sabotaged, x, groups))
