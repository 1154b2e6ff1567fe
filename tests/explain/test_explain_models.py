"""Whole models: totals against XLA and torch, every layer of Flax, what is counted how often."""

import threading
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from jax import lax
from support.explained_models import Convolutions, Everything, Small, by_path, convolutions

import jaxgroups as jg
import jaxgroups.linen as jln
import jaxgroups.nnx as jnn

ONES = np.ones((1, 5, 5, 3), "float32")


def xla_flops(model, *shapes):
    """XLA's own count of the compiled program."""
    graph, state = nnx.split(model)
    function = jax.jit(lambda state, *x: nnx.merge(graph, state)(*x))
    arrays = [jax.ShapeDtypeStruct(shape, "float32") for shape in shapes]
    return function.lower(state, *arrays).compile().cost_analysis()["flops"]


# --- totals ---------------------------------------------------------------------------------------


def test_totals_agree_with_xla():
    """Exactly, where all that a program computes are convolutions and matrix products."""
    answer = jg.explain(convolutions(), (2, 33, 35, 3))
    assert answer.totals.flops_inside == xla_flops(convolutions(), (2, 33, 35, 3))
    assert answer.totals.flops_inside < answer.totals.flops
    assert answer.others == ()


def test_what_xla_counts_beside_is_the_bias_and_the_like():
    """One addition an output of a bias, one maximum of a relu, and nothing else."""

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.conv = jnn.Conv2d(4, 6, 3, padding=1, groups=2, rngs=rngs, implementation="xla")

        def __call__(self, x):
            return nnx.relu(self.conv(x))

    model = Model(nnx.Rngs(0))
    outputs = 2 * 9 * 8 * 6
    counted = jg.explain(model, (2, 9, 8, 4)).totals.flops_inside
    assert xla_flops(model, (2, 9, 8, 4)) == counted + 2 * outputs


def test_totals_agree_with_torchs_flop_counter():
    torch = pytest.importorskip("torch", reason="NOT compared with torch's flop counter: no torch")
    from torch.utils.flop_counter import FlopCounterMode

    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False),
        torch.nn.Conv2d(16, 32, 3, padding=1, groups=16, bias=False),
        torch.nn.Conv2d(32, 32, 3, padding=2, dilation=2, groups=4, bias=False),
        torch.nn.ConvTranspose2d(32, 12, 4, 2, 1, groups=4, bias=False),
    )
    head = torch.nn.Linear(12, 10, bias=False)
    with FlopCounterMode(display=False) as counter:
        head(theirs(torch.zeros(2, 3, 33, 35)).permute(0, 2, 3, 1))
    answer = jg.explain(convolutions(), (2, 33, 35, 3))
    assert answer.totals.flops == counter.get_total_flops()
    parameters = sum(p.numel() for p in (*theirs.parameters(), *head.parameters()))
    assert answer.totals.parameters == answer.totals.parameters_listed == parameters


def test_totals_are_the_sums_of_the_rows():
    answer = jg.explain(Everything(nnx.Rngs(0)), (2, 8, 8, 8))
    rows, t = (*answer.layers, *answer.others), answer.totals
    assert t.macs == sum(row.macs for row in rows) == t.flops // 2
    assert t.flops_inside == 2 * sum(row.macs_inside for row in rows)
    assert t.bytes_moved == sum(row.bytes_moved for row in answer.layers)
    one, own, head = 8 * 2 * 9 + 8, 8 * 9 + 8, 8 * 3 + 3
    assert t.parameters_listed == one + own + head, "the shared layer once"
    assert t.parameters == t.parameters_listed + 2 * 8 + 5 * 8, "and the norm and the embedding"
    ordinary = (8 * 8 * 9 + 8) * 2 + head
    assert t.parameters_groups1 == ordinary + 2 * 8 + 5 * 8


# --- rows -----------------------------------------------------------------------------------------


def test_every_call_counts_and_equal_calls_share_a_row():
    answer = jg.explain(Everything(nnx.Rngs(0)), (2, 8, 8, 8))
    one = [row for row in answer.layers if row.path in ("one", "same")]
    assert [row.calls for row in one] == [2, 1], "twice on 8 x 8, once on 4 x 8"
    each = 2 * 8 * 8 * 8 * 2 * 9
    assert [row.macs for row in one] == [2 * each, each // 2]
    assert [row.macs_groups1 for row in one] == [8 * each, 2 * each]
    others = {row.operation: (row.calls, row.macs) for row in answer.others}
    assert others == {
        "convolution": (1, 2 * 8 * 4 * 8 * 4),
        "matrix product": (2, 2 * (2 * 8 * 4 * 8 * 8)),
    }


def test_rows_name_what_they_are():
    rows = by_path(jg.explain(convolutions(), (2, 33, 35, 3)))
    assert list(rows) == ["stem", "blocks.0", "blocks.1", "up", "head"]
    depthwise = rows["blocks.0"]
    assert depthwise.layer == "Conv2d"
    assert (depthwise.in_channels, depthwise.out_channels, depthwise.groups) == (16, 32, 16)
    assert depthwise.kernel_size == (3, 3)
    assert depthwise.parameters == 32 * 9
    assert depthwise.parameters_groups1 == 16 * 32 * 9
    assert depthwise.spec == (
        "conv2d in=16 out=32 kernel=3 padding=1 groups=16 bias=False batch=2 size=17x18 "
        "data_format=channels_last"
    )
    assert depthwise.bytes_moved == 4 * (2 * 17 * 18 * (16 + 32) + 32 * 9)
    assert rows["up"].spec.startswith("conv_transpose2d in=32 out=12 kernel=4 stride=2 padding=1")
    head = rows["head"]
    assert (head.layer, head.spec, head.kernel_size) == ("flax.nnx.Linear", None, ())
    assert head.macs == 2 * 34 * 36 * 12 * 10
    assert head.bytes_moved == 4 * (2 * 34 * 36 * 22 + 120)


def test_an_abstract_model_is_explained_as_a_real_one():
    real = jg.explain(convolutions(), (2, 33, 35, 3))
    assert jg.explain(nnx.eval_shape(convolutions), (2, 33, 35, 3)) == real
    assert jg.explain(convolutions(), np.zeros((2, 33, 35, 3), "float32")) == real


def test_nothing_of_the_model_changes():
    model = Everything(nnx.Rngs(0))
    before = [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model))]
    jg.explain(model, (2, 8, 8, 8))
    after = [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model))]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_sorting():
    answer = jg.explain(convolutions(), (2, 33, 35, 3))
    for by, count in (("cost", "macs"), ("parameters", "parameters"), ("bytes", "bytes_moved")):
        counts = [getattr(row, count) for row in answer.sorted(by)]
        assert counts == sorted(counts, reverse=True)
        assert len(set(counts)) > 2
    assert answer.sorted("order") == answer.layers
    with pytest.raises(ValueError, match="rows are sorted by cost, parameters, bytes, order"):
        answer.sorted("name")


def test_inputs_of_several_kinds():
    class Two(nnx.Module):
        def __init__(self):
            self.a = jnn.Conv1d(2, 4, 3, rngs=nnx.Rngs(0))

        def __call__(self, x, y, *, scale=1):
            return self.a(x) * scale + y

    y = np.ones((3, 4), "float32")
    answer = jg.explain(Two(), ((3, 5, 2), y[:, None]), call={"scale": 2.0})
    assert answer.layers[0].macs == 3 * 3 * 4 * 2 * 3


def test_a_scanned_layer_counts_as_often_as_it_runs():
    class Recurrent(nnx.Module):
        def __init__(self):
            self.step = jnn.Conv1d(4, 4, 3, padding=1, groups=2, bias=False, rngs=nnx.Rngs(0))

        def __call__(self, x):
            def body(carry, _):
                return self.step(carry) + carry @ jnp.ones((4, 4), carry.dtype), None

            return lax.scan(body, x, length=5)[0]

    answer = jg.explain(Recurrent(), (2, 6, 4))
    once = 2 * 6 * 4 * 2 * 3
    assert [(row.calls, row.macs) for row in answer.layers] == [(5, 5 * once)]
    assert [(row.calls, row.macs) for row in answer.others] == [(5, 5 * 2 * 6 * 4 * 4)]


def test_a_conditional_counts_its_dearest_branch():
    class Choice(nnx.Module):
        def __call__(self, x):
            dear = jnp.ones((4, 8), x.dtype)
            return lax.cond(
                x.sum() > 0, lambda x: x @ dear, lambda x: (x @ dear[:, :2]) @ dear[:2], x
            )

    answer = jg.explain(Choice(), (3, 4))
    assert [(row.operation, row.macs) for row in answer.others] == [("matrix product", 3 * 4 * 8)]


# --- Flax's own layers ----------------------------------------------------------------------------

CONV = {
    "same": {"kernel_size": (3, 2)},
    "same-strided": {"kernel_size": (3, 4), "strides": 2},
    "valid": {"kernel_size": (3, 3), "padding": "VALID", "feature_group_count": 2},
    "number": {"kernel_size": (3, 3), "padding": 2, "kernel_dilation": 2, "feature_group_count": 4},
    "pairs": {"kernel_size": (3, 3), "padding": ((0, 2), (1, 0)), "strides": (1, 2)},
    "circular": {"kernel_size": (3, 4), "padding": "CIRCULAR", "feature_group_count": 4},
    "reflect": {"kernel_size": (3, 2), "padding": "REFLECT", "kernel_dilation": (1, 2)},
    "causal": {"kernel_size": (3,), "padding": "CAUSAL", "kernel_dilation": 2},
    "same-dilated-strided": {"kernel_size": (5, 3), "kernel_dilation": 2, "strides": 3},
}
TRANSPOSE = {
    "same": {"kernel_size": (3, 4), "strides": 2},
    "same-long-stride": {"kernel_size": (2, 3), "strides": (3, 4)},
    "valid": {"kernel_size": (3, 2), "strides": 2, "padding": "VALID"},
    "valid-long-stride": {"kernel_size": (2, 3), "strides": (5, 4), "padding": "VALID"},
    "dilated": {"kernel_size": (3, 3), "strides": 2, "kernel_dilation": 2},
    "pairs": {"kernel_size": (3, 3), "strides": 2, "padding": ((1, 2), (0, 1))},
    "transposed-kernel": {"kernel_size": (3, 3), "strides": 2, "transpose_kernel": True},
    "3d": {"kernel_size": (3, 2, 1), "strides": (2, 1, 1)},
}
FLAX = [("Conv", name, kw) for name, kw in CONV.items()]
FLAX += [("ConvTranspose", name, kw) for name, kw in TRANSPOSE.items()]


@pytest.mark.parametrize("library", ["nnx", "linen"])
@pytest.mark.parametrize(("layer", "name", "kw"), FLAX, ids=[f"{a}-{b}" for a, b, _ in FLAX])
def test_layers_of_flax(library, layer, name, kw):
    """Their spec has their output, their parameters and XLA's count of their FLOPs."""
    sizes = (7, 6, 5)[: len(kw["kernel_size"])]
    shape = (2, *sizes, 4)
    if library == "nnx":
        model = getattr(nnx, layer)(4, 8, use_bias=False, rngs=nnx.Rngs(0), **kw)
        graph, state = nnx.split(model)
        run = jax.jit(lambda state, x: nnx.merge(graph, state)(x))
    else:
        model = getattr(nn, layer)(8, use_bias=False, **kw)
        state = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.ones(shape, "float32")))
        run = jax.jit(model.apply)
    x = jax.ShapeDtypeStruct(shape, "float32")
    lowered = run.lower(state, x)
    answer = jg.explain(model, shape)
    [row] = answer.layers
    spec = jg.ConvSpec.parse(row.spec)
    assert row.layer == f"flax.{library}.{layer}"
    assert spec.output_shape == lowered.out_info.shape
    assert 2 * row.macs_inside == lowered.compile().cost_analysis()["flops"]
    kernels = sum(leaf.size for leaf in jax.tree.leaves(state))
    assert row.parameters == answer.totals.parameters == kernels
    assert "a layer of Flax; as a layer of jaxgroups: " in row.note


def test_what_torch_has_no_word_for_is_counted_outside():
    model = nnx.Conv(4, 8, (3, 3), input_dilation=2, padding=1, rngs=nnx.Rngs(0))
    answer = jg.explain(model, (1, 5, 5, 4))
    assert answer.layers == ()
    assert [row.operation for row in answer.others] == ["convolution"]
    circular = nnx.ConvTranspose(4, 8, (3, 3), padding="CIRCULAR", rngs=nnx.Rngs(0))
    assert jg.explain(circular, (1, 5, 5, 4)).layers == ()


def test_linen():
    answer = jg.explain(Small(), (2, 9, 9, 3), call={"train": True})
    assert answer == jg.explain(Small(), (2, 9, 9, 3), call={"train": False})
    rows = by_path(answer)
    assert {path: row.layer for path, row in rows.items()} == {
        "Conv2d_0": "Conv2d",
        "Conv_0": "flax.linen.Conv",
        "Dense_0": "flax.linen.Dense",
    }
    assert rows["Conv2d_0"].macs == 2 * 81 * 8 * 3 * 9
    assert rows["Conv_0"].macs == 2 * 16 * 8 * 2 * 9
    assert rows["Conv_0"].macs_groups1 == 4 * rows["Conv_0"].macs
    assert answer.totals.parameters == (8 * 27 + 8) + 16 + (8 * 2 * 9 + 8) + 27


@pytest.mark.parametrize("library", ["nnx", "linen"])
def test_output_size_is_heard(library):
    class Up(nnx.Module if library == "nnx" else nn.Module):
        if library == "nnx":

            def __init__(self):
                self.up = jnn.ConvTranspose2d(4, 4, 3, 2, groups=2, rngs=nnx.Rngs(0))

            def __call__(self, x):
                return self.up(x, (10, 9))
        else:

            @nn.compact
            def __call__(self, x):
                return jln.ConvTranspose2d(4, 3, 2, groups=2)(x, output_size=(10, 9))

    [row] = jg.explain(Up(), (1, 4, 4, 4)).layers
    assert "output_padding=1x0" in row.spec


def test_subclasses_count_once_under_their_name():
    class Mine(jnn.Conv2d):
        def __call__(self, x):
            return super().__call__(x) * 2

    class Model(nnx.Module):
        def __init__(self):
            self.mine = Mine(4, 4, 3, groups=2, rngs=nnx.Rngs(0))
            self.theirs = jnn.Conv2d(4, 4, 3, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.theirs(self.mine(x))

    assert [row.layer for row in jg.explain(Model(), (1, 9, 9, 4)).layers] == ["Mine", "Conv2d"]


# --- tracing leaves no trace ----------------------------------------------------------------------


def test_classes_are_as_before_also_after_an_error():
    before = {cls: vars(cls).get("__call__") for cls in (jnn.Conv2d, nnx.Conv, nnx.Linear)}
    jg.explain(Everything(nnx.Rngs(0)), (2, 8, 8, 8))
    with pytest.raises(ValueError, match="to have 3 channels, but got 4"):
        jg.explain(convolutions(), (2, 33, 35, 4))
    assert {cls: vars(cls).get("__call__") for cls in before} == before
    y = convolutions()(jnp.ones((1, 9, 9, 3), "float32"))
    assert y.shape == (1, 10, 10, 10)


@pytest.mark.parametrize("library", ["nnx", "linen"])
def test_other_threads_compute_meanwhile(library):
    """A layer that another thread calls while a model is traced is not part of the model."""
    if library == "nnx":
        outside = jnn.Conv2d(3, 16, 3, rngs=nnx.Rngs(0))
    else:
        outside = jln.Conv2d(16, 3).bind(jln.Conv2d(16, 3).init(jax.random.key(0), ONES))
    shapes = []

    def meanwhile():
        thread = threading.Thread(target=lambda: shapes.append(outside(ONES).shape))
        thread.start()
        thread.join()

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.conv = jnn.Conv2d(4, 6, 3, groups=2, rngs=rngs)

        def __call__(self, x):
            meanwhile()
            y = self.conv(x)
            meanwhile()
            return y

    class LinenModel(nn.Module):
        @nn.compact
        def __call__(self, x):
            meanwhile()
            y = jln.Conv2d(6, 3, groups=2, name="conv")(x)
            meanwhile()
            return y

    model = Model(nnx.Rngs(0)) if library == "nnx" else LinenModel()
    answer = jg.explain(model, (1, 9, 9, 4))
    assert [row.path for row in answer.layers] == ["conv"]
    assert answer.layers[0].calls == 1
    assert len(shapes) >= 2
    assert set(shapes) == {(1, 3, 3, 16)}


# --- text -----------------------------------------------------------------------------------------


def test_the_table_says_it_all():
    answer = jg.explain(Convolutions(nnx.Rngs(0)), (2, 33, 35, 3))
    text = str(answer)
    lines = [line.split() for line in text.splitlines()]
    assert [line[0] for line in lines[1:6]] == [row.path for row in answer.sorted()]
    assert lines[6][:2] == ["total", "Convolutions"]
    assert f"FLOPs {answer.totals.flops:,}, padding counted as data" in text
    assert f"{answer.totals.flops_inside:,} without padding" in text
    depthwise = next(line for line in lines if line and line[0] == "blocks.0")
    assert depthwise[1:7] == ["Conv2d", "16", "→", "32", "16", "3×3"]
    assert "(16x)" in depthwise
    assert prod((2, 17, 18, 32, 9)) == by_path(answer)["blocks.0"].macs == 176256
    assert "176" in depthwise
