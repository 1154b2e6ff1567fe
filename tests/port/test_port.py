"""`port`: the source, the weights, what is refused; torch judges the values."""

import numpy as np
import pytest
from flax import nnx

from jaxgroups import port
from jaxgroups.convert import ConversionWarning
from jaxgroups.port import _body as body
from jaxgroups.port import _layers as layers

torch = pytest.importorskip("torch", reason="torch is NOT installed: there is nothing to port")
nets = pytest.importorskip("support.small_nets")

from support.ported import assert_equal, made  # noqa: E402

pytestmark = [
    pytest.mark.usefixtures("flax_promotion"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]


SOURCE = '''\
"""Residual, ported from PyTorch."""

import jax
import jaxgroups as jg
import jaxgroups.nnx as jnn
from flax import nnx


class Unit(nnx.Module):
    """A residual unit.

    (N, H, W, in_channels) -> (N, H / stride, W / stride, 12)
    """

    def __init__(
        self,
        in_channels: int,
        stride: int = 1,
        shortcut: bool = False,
        activ: bool = True,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.shortcut = (
            jnn.Conv2d(in_channels, 12, 1, stride=stride, rngs=rngs) if shortcut else None
        )
        self.conv = jnn.Conv2d(
            in_channels, 12, 3, stride=stride, padding=1, groups=2, bias=False, rngs=rngs
        )
        self.bn = jnn.BatchNorm2d(12)
        self.activ = activ

    def __call__(self, x: jax.Array) -> jax.Array:
        identity = self.shortcut(x) if self.shortcut is not None else x
        x = self.bn(self.conv(x))
        x = x + identity
        if self.activ:
            x = nnx.relu(x)
        return x


class Residual(nnx.Module):
    """A stem, three units in a list, and a classifier.

    (N, H, W, 3) -> (N, 5)
    """

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Sequential(
            jnn.Conv2d(3, 8, 3, rngs=rngs), lambda x: jg.leaky_relu(x, 0.2), jnn.MaxPool2d(2)
        )
        self.units = nnx.List(
            [
                Unit(8, stride=2, shortcut=True, rngs=rngs),
                Unit(12, rngs=rngs),
                Unit(12, activ=False, rngs=rngs),
            ]
        )
        self.head = nnx.Linear(12, 5, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.stem(x)
        for unit in self.units:
            x = unit(x)
        x = x.mean((1, 2))
        return self.head(x)
'''


def test_the_source():
    ported = port.port(made(nets.Residual), (1, 3, 17, 21))
    assert ported.source == SOURCE
    assert (ported.name, ported.transpositions) == ("Residual", [])
    assert (ported.unused, ported.notes) == ([], [])
    assert (ported.inputs, ported.outputs) == ([(0, 2, 3, 1)], [(0, 1)])
    assert_equal(ported, (2, 3, 17, 21))
    assert_equal(ported, (1, 3, 20, 15))


def test_a_part_that_is_left_out_may_be_a_class_of_its_own():
    ported = port.port(made(nets.Gates), (2, 2, 4, 5))
    assert ported.source.index("class Gate(") < ported.source.index("class Gated(")
    assert "self.gate = Gate(in_channels, rngs=rngs) if gate else None" in ported.source
    assert "self.first = Gated(2, 3, gate=False, rngs=rngs)" in ported.source
    assert "self.third = Gated(4, 5, rngs=rngs)" in ported.source
    assert_equal(ported, (3, 2, 5, 4))


def test_the_source_is_deterministic():
    texts = {port.port(made(nets.Shuffled), (2, 6, 4, 5)).source for _ in range(2)}
    assert len(texts) == 1


def test_a_flattened_map_is_not_transposed():
    ported = port.port(made(nets.Flattened), (1, 3, 9, 10))
    assert ported.transpositions == []
    assert "transpose" not in ported.source
    assert "# flattened as (H, W, C): load_torch permutes the weights that read it" in ported.source
    assert_equal(ported, (3, 3, 9, 10))
    assert_equal(ported, (2, 3, 12, 8))


def test_a_channel_shuffle_is_one_transposition():
    ported = port.port(made(nets.Shuffled), (1, 6, 5, 7))
    (move,) = ported.transpositions
    assert (move.path, move.order) == ("", (0, 3, 4, 1, 2))
    assert move.line.split(":")[0].endswith("small_nets.py")
    assert ported.source.count("transpose(") == 1
    assert_equal(ported, (2, 6, 5, 7))
    assert_equal(ported, (1, 6, 6, 4))


def test_sizes_are_computed_as_in_the_original():
    ported = port.port(made(nets.Resized), (1, 2, 11, 9))
    assert "size=(x.shape[1], x.shape[2])" in ported.source
    assert "jg.interpolate(y, size=(y.shape[1] // 2 + 1, y.shape[2])" in ported.source
    assert_equal(ported, (2, 2, 11, 9))
    assert_equal(ported, (1, 2, 8, 14))


def test_a_square_example_does_not_mislead():
    ported = port.port(made(nets.Merged), (2, 3, 4, 4))
    assert_equal(ported, (2, 3, 4, 4))
    assert_equal(ported, (2, 3, 5, 6))


def test_a_map_that_is_no_longer_1x1_is_an_error_not_another_order():
    ported = port.port(made(nets.Pooled), (2, 3, 8, 8))
    assert ".squeeze((1, 2))" in ported.source
    assert_equal(ported, (3, 3, 8, 8))
    with pytest.raises(ValueError, match="squeeze"):
        ported.model()(np.ones((1, 14, 14, 3)))


def test_arrays_that_belong_to_no_layer():
    ported = port.port(made(nets.Scaled), (1, 3, 4, 5))
    assert "self.gamma = nnx.Param(jnp.zeros((4, 1, 1)))" in ported.source
    assert "self.mean = nnx.BatchStat(jnp.zeros((1, 3, 1, 1)))" in ported.source
    new = port.port(nets.Scaled().eval(), (1, 3, 4, 5)).source
    assert "self.scale = nnx.Param(jnp.full(3, 0.25))" in new
    assert ported.unused == ["steps", "unused.weight", "unused.bias"]
    assert ported.transpositions == []
    assert_equal(ported, (2, 3, 5, 4))


def test_a_layer_that_is_called_several_times():
    ported = port.port(made(nets.Twice), (1, 4, 6, 5))
    assert ported.source.count("jnn.Conv2d(") == 1
    assert_equal(ported, (2, 4, 6, 5))


def test_several_inputs_and_nested_outputs():
    ported = port.port(made(nets.Several), ((2, 3, 6, 7), (2, 5)))
    assert ported.inputs == [(0, 2, 3, 1), (0, 1)]
    assert 'return {"map": ' in ported.source
    assert_equal(ported, (2, 3, 6, 7), (2, 5))
    assert_equal(ported, (4, 3, 5, 8), (4, 5))


def test_inputs_by_name():
    module = made(nets.Several)
    scale = torch.full((), 2.5, dtype=torch.float64)
    ported = port.port(module, ((2, 3, 6, 7), (2, 5)), {"scale": scale})
    arrays = [np.ones((2, 3, 6, 7)), np.ones((2, 5))]
    expected = module(*map(torch.from_numpy, arrays), scale=scale)
    actual = ported.model()(arrays[0].transpose(0, 2, 3, 1), arrays[1], scale=scale.numpy())
    theirs = expected["map"].detach().numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(actual["map"], theirs, rtol=1e-12)
    with pytest.raises(ValueError, match="prove takes tensors by position only"):
        ported.prove()


def test_dropout_functions_follow_the_mode():
    ported = port.port(made(nets.Dropping), (2, 6))
    assert ported.source.count("nnx.Dropout(") == 1
    assert "self.dropout = nnx.Dropout(0.25, rngs=rngs)" in ported.source
    model = ported.model(nnx.Rngs(1))
    x = np.ones((64, 6))
    model.train()
    zeros = float((np.asarray(model(x)) == 0).mean())
    assert 0.1 < zeros < 0.4
    assert_equal(ported, (3, 6))


def test_what_training_mode_does_besides_is_said():
    (note,) = port.port(made(nets.Noisy), (2, 4)).notes
    assert "rand" in note


def test_what_cannot_be_ported_is_said_at_once():
    with pytest.raises(port.PortError) as caught:
        port.port(made(nets.Absent), (1, 2, 3, 4))
    assert [one.what for one in caught.value.missing] == ["aten.lgamma", "aten.erfinv"]
    assert [one.path for one in caught.value.missing] == ["inner", ""]
    lines = str(caught.value).splitlines()
    assert lines[0] == "2 places cannot be ported:"
    assert lines[1].startswith("  aten.lgamma in inner (")
    assert "small_nets.py:" in lines[1]
    assert lines[-1] == '  port.register("aten.lgamma", "my_module.my_function({0})")'


def test_partial_writes_the_rest():
    ported = port.port(made(nets.Absent), (1, 2, 3, 4), partial=True)
    model = ported.model()
    with pytest.raises(NotImplementedError, match=r"aten\.lgamma has no counterpart: .*small_nets"):
        model(np.ones((1, 3, 4, 2)))


def test_a_registered_operation(monkeypatch):
    monkeypatch.setattr(body, "RULES", body.RULES | {})
    port.register("aten.lgamma", "jax.scipy.special.gammaln({0})")
    port.register("aten.erfinv", "jax.scipy.special.erfinv({0})")
    assert_equal(port.port(made(nets.Absent), (1, 2, 3, 4)), (2, 2, 3, 4))
    with pytest.raises(TypeError, match=r"an operation is a string such as 'aten.erfinv', got 3"):
        port.register(3, "f({0})")
    with pytest.raises(ValueError, match=r"the expression must have \{0\} for the operand"):
        port.register("aten.erfinv", "f()")


def test_a_registered_layer(monkeypatch):
    monkeypatch.setattr(layers, "LAYERS", layers.LAYERS | {})

    @port.register_layer(nets.Swish, order="any")
    def _(module):
        return f"support.swish.Swish({module.beta})"

    ported = port.port(made(nets.WithSwish), (1, 2, 3, 4))
    assert "import support.swish\n" in ported.source
    assert "self.swish = support.swish.Swish(1.5)" in ported.source
    assert_equal(ported, (2, 2, 3, 4))
    with pytest.raises(ValueError, match="order must be one of channels_last, last, natural, any"):
        port.register_layer(nets.Swish, order="first")


def test_refusals():
    with pytest.raises(port.PortError, match="in place on a view, whose other views are used late"):
        port.port(nets.Viewed(), (1, 2, 3))
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module, got int"):
        port.port(3, (1, 2))
    with pytest.raises(TypeError, match="example must be a shape such as"):
        port.port(made(nets.Noisy), "1,2")
    with pytest.raises(TypeError, match="an input must be a shape, a tensor or an array"):
        port.port(made(nets.Noisy), (object(),))
    with pytest.raises(
        port.PortError, match=r"torch\.export cannot trace the module: RuntimeError"
    ):
        port.port(made(nets.Noisy), (2, 5))


def test_the_module_is_left_as_it_was():
    module = made(nets.Residual).train()
    module.stem.eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    port.port(module, (1, 3, 17, 21))
    assert [module.training, module.stem.training] == [True, False]
    assert all((before[name] == tensor).all() for name, tensor in module.state_dict().items())
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in module.modules())


def test_weights_in_a_file(tmp_path):
    ported = port.port(made(nets.Residual), (1, 3, 17, 21))
    files = ported.write(tmp_path / "out" / "net")
    assert [file.name for file in files] == ["model.py", "weights.safetensors"]
    assert files[0].read_text() == SOURCE
    model = ported.build(nnx.Rngs(7))
    port.load_weights(model, files[1])
    model.eval()
    x = np.random.default_rng(0).standard_normal((2, 17, 21, 3))
    np.testing.assert_array_equal(model(x), ported.model()(x))
    other = port.port(made(lambda: nets.Residual(classes=6)), (1, 3, 17, 21)).build()
    with pytest.raises(ValueError, match=r"head\.bias has shape \[5\] there, \[6\] in the model"):
        port.load_weights(other, files[1])
    small = port.port(made(nets.Noisy), (2, 4)).build()
    with pytest.raises(ValueError, match="is not of this model: it lacks"):
        port.load_weights(small, files[1])


def test_the_proof():
    ported = port.port(made(nets.Flattened), (2, 3, 9, 10))
    proof = ported.prove(steps=1)
    assert proof.verdict == "equal", str(proof)


def test_no_warning_of_the_order_of_features(recwarn):
    port.port(made(nets.Flattened), (2, 3, 9, 10)).model()
    assert not [w for w in recwarn if issubclass(w.category, ConversionWarning)]


def test_every_rule_has_the_name_of_an_operation_of_torch():
    names = [name for name in body.RULES if name.startswith("aten.")]
    missing = [n for n in names if not hasattr(torch.ops.aten, n.removeprefix("aten."))]
    assert missing == []
    assert len(names) > 150


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kind", ["Conv", "MaxPool"])
def test_every_rank(kind, rank):
    make = {
        "Conv": lambda: getattr(torch.nn, f"Conv{rank}d")(4, 6, 3, padding=1, groups=2),
        "MaxPool": lambda: getattr(torch.nn, f"MaxPool{rank}d")(2, ceil_mode=True),
    }[kind]
    ported = port.port(made(lambda: torch.nn.Sequential(make(), torch.nn.Sigmoid())),
                       (2, 4, *range(5, 5 + rank)))  # fmt: skip
    assert_equal(ported, (3, 4, *range(6, 6 + rank)))


class Widened(torch.nn.Module):
    """A block with an optional convolution, and an activation that only follows it."""

    def __init__(self, wide):
        super().__init__()
        self.wide = wide
        if wide:
            self._expand = torch.nn.Conv2d(4, 4, 1)
        self.out = torch.nn.Conv2d(4, 4, 3)

    def forward(self, x):
        if self.wide:
            x = torch.relu(self._expand(x))
        return self.out(x)


def test_a_flag_and_a_module_have_different_names():
    """The flag is an attribute as well, since the call reads it for the activation."""

    class Several(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = torch.nn.Sequential(Widened(False), Widened(True), Widened(True))

        def forward(self, x):
            return self.blocks(x)

    ported = port.port(made(Several), (2, 4, 9, 8))
    assert "self.with_expand = with_expand" in ported.source
    assert_equal(ported, (2, 4, 9, 8))
