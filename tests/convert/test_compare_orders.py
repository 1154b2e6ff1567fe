"""`compare` where sizes are equal, and where the two models end their blocks at different places.

The values must not decide in which order of axes two outputs are compared.
"""

import numpy as np
import pytest
from flax import nnx

import jaxgroups.convert as jc
import jaxgroups.nnx as jnn

torch = pytest.importorskip("torch", reason="torch is NOT installed: there is nothing to compare")
tnn = torch.nn

pytestmark = pytest.mark.usefixtures("flax_promotion")


def data(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("f4")


def loaded(make, theirs, **how):
    torch.manual_seed(0)
    model, _ = jc.load_torch(nnx.eval_shape(lambda: make(nnx.Rngs(0))), theirs.state_dict(), **how)
    model.eval()
    return model


# --- one order of axes ----------------------------------------------------------------------------


class Turned(nnx.Module):
    """One layer, whose output is transposed on the way out."""

    def __init__(self, layer, axes):
        self.layer, self.axes = layer, axes

    def __call__(self, x):
        return self.layer(x).transpose(self.axes)


class Wrapped(tnn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)


@pytest.mark.parametrize("channels_last", [True, False])
def test_a_transposed_output_of_equal_sizes_is_a_difference(channels_last):
    """Channels are as many as rows and columns: both orders give the same shape."""
    if channels_last:
        theirs, axes = Wrapped(tnn.Conv2d(4, 4, 1)), (0, 3, 1, 2)
        x, make = data(2, 4, 4, 4), lambda r: Turned(jnn.Conv2d(4, 4, 1, rngs=r), axes)
    else:
        theirs, axes = Wrapped(tnn.Linear(5, 5)), (0, 2, 1)
        x, make = data(2, 5, 5), lambda r: Turned(nnx.Linear(5, 5, rngs=r), axes)
    theirs.eval()
    model = loaded(make, theirs)
    found = jc.compare(theirs, model, x, channels_last=channels_last)
    assert found.first is not None
    assert found.first.torch == ""
    assert found.first.relative > 0.1
    assert "they agree in another order of axes: one of the models transposes" in str(found)
    model.axes = tuple(range(x.ndim))
    assert jc.compare(theirs, model, x, channels_last=channels_last).first is None


class TheirMixed(tnn.Module):
    """Channels second outside of the blocks and last inside, as in ConvNeXt."""

    def __init__(self):
        super().__init__()
        self.stem = tnn.Conv2d(3, 4, 2, stride=2)
        self.blocks = tnn.ModuleList(TheirBlock() for _ in range(2))
        self.tokens = tnn.ModuleList(TheirTokens() for _ in range(2))
        self.norm = tnn.LayerNorm(4)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        x = x.flatten(2).transpose(1, 2)[:, :4]
        for block in self.tokens:
            x = block(x)
        return self.norm(x)


class TheirBlock(tnn.Module):
    def __init__(self):
        super().__init__()
        self.dwconv = tnn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.norm = tnn.LayerNorm(4)
        self.act = tnn.GELU()
        self.fc = tnn.Linear(4, 4)

    def forward(self, x):
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        return x + self.fc(self.act(y)).permute(0, 3, 1, 2)


class TheirTokens(tnn.Module):
    def __init__(self):
        super().__init__()
        self.norm = tnn.LayerNorm(4)
        self.fc = tnn.Linear(4, 4)

    def forward(self, x):
        return x + self.fc(self.norm(x))


class OurBlock(nnx.Module):
    def __init__(self, rngs):
        self.dwconv = jnn.Conv2d(4, 4, 3, padding=1, groups=4, rngs=rngs)
        self.norm = nnx.LayerNorm(4, epsilon=1e-5, rngs=rngs)
        self.fc = nnx.Linear(4, 4, rngs=rngs)

    def __call__(self, x):
        return x + self.fc(nnx.gelu(self.norm(self.dwconv(x)), approximate=False))


class OurTokens(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.LayerNorm(4, epsilon=1e-5, rngs=rngs)
        self.fc = nnx.Linear(4, 4, rngs=rngs)

    def __call__(self, x):
        return x + self.fc(self.norm(x))


class OurMixed(nnx.Module):
    def __init__(self, rngs):
        self.stem = jnn.Conv2d(3, 4, 2, stride=2, rngs=rngs)
        self.blocks = nnx.List([OurBlock(rngs) for _ in range(2)])
        self.tokens = nnx.List([OurTokens(rngs) for _ in range(2)])
        self.norm = nnx.LayerNorm(4, epsilon=1e-5, rngs=rngs)

    def __call__(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        x = x.reshape(x.shape[0], -1, 4)[:, :4]
        for block in self.tokens:
            x = block(x)
        return self.norm(x)


def test_layers_of_both_orders_agree_at_equal_sizes():
    """Feature maps (2, 4, 4, 4) with channels second and last, then tokens (2, 4, 4)."""
    theirs = TheirMixed().eval()
    found = jc.compare(theirs, loaded(OurMixed, theirs), data(2, 3, 8, 8))
    assert found.first is None
    assert found.blocks == []
    names = {d.torch for d in found.layers}
    assert names >= {"stem", "blocks.0", "blocks.1.fc", "tokens.1", "tokens.0.norm", ""}
    model = loaded(OurMixed, theirs)
    model.tokens[1].fc.kernel.set_value(model.tokens[1].fc.kernel.get_value().T)
    assert jc.compare(theirs, model, data(2, 3, 8, 8)).first.torch == "tokens.1.fc"


def test_one_image_without_a_batch():
    theirs = Wrapped(tnn.Conv1d(4, 6, 3)).eval()
    model = loaded(lambda r: Turned(jnn.Conv1d(4, 6, 3, rngs=r), (0, 1)), theirs)
    x = data(4, 8)

    class Call(nnx.Module):
        def __init__(self):
            self.layer = model.layer

        def __call__(self, x):
            return self.layer(x.T)

    (layer,) = [d for d in jc.compare(theirs, Call(), x).layers if d.torch == "layer"]
    assert layer.relative < 1e-5
    assert (layer.torch_shape, layer.flax_shape) == ((6, 6), (6, 6))


# --- blocks that end elsewhere --------------------------------------------------------------------


class Stage(tnn.Module):
    """A block of torch that ends after its activation; a shortcut reads its input."""

    def __init__(self):
        super().__init__()
        self.block = tnn.Sequential(tnn.Conv2d(3, 4, 3, padding=1), tnn.BatchNorm2d(4), tnn.ReLU())
        self.shortcut = tnn.Sequential(tnn.Conv2d(3, 4, 1), tnn.BatchNorm2d(4))
        self.after = tnn.Conv2d(4, 5, 1)

    def forward(self, x):
        y = self.block(x)
        return self.after(y + self.shortcut(x))


class OurStage(nnx.Module):
    """The same; the activation stands outside the block. `factor` is a mistake if it is not 1."""

    def __init__(self, rngs, factor=1.0):
        self.body = OurBody(rngs, factor)
        self.shortcut = nnx.Sequential(
            jnn.Conv2d(3, 4, 1, rngs=rngs),
            nnx.BatchNorm(4, momentum=0.9, epsilon=1e-5, rngs=rngs),
        )
        self.after = jnn.Conv2d(4, 5, 1, rngs=rngs)

    def __call__(self, x):
        return self.after(nnx.relu(self.body(x)) + self.shortcut(x))


class OurBody(nnx.Module):
    def __init__(self, rngs, factor):
        self.conv = jnn.Conv2d(3, 4, 3, padding=1, rngs=rngs)
        self.norm = nnx.BatchNorm(4, momentum=0.9, epsilon=1e-5, rngs=rngs)
        self.factor = factor

    def __call__(self, x):
        return self.norm(self.conv(x)) * self.factor


NAMES = {"body": "block", "body.conv": "block.0", "body.norm": "block.1"}


def test_a_block_that_is_mapped_by_names_need_not_have_the_same_output():
    theirs = Stage().eval()
    found = jc.compare(theirs, loaded(OurStage, theirs, names=NAMES), data(2, 3, 6, 5), names=NAMES)
    assert found.first is None
    assert [d.torch for d in found.blocks] == ["block"]
    assert found.blocks[0].relative > 0.1
    assert "block" not in [d.torch for d in found.layers]
    assert str(found).splitlines()[1] == (
        "no difference: block ends with another layer in the Flax model; its layers and the next "
        "layer agree"
    )
    text = found._repr_html_()
    assert "no difference: block ends with another layer" in text


def test_a_block_whose_successor_differs_is_a_difference():
    """The shortcut beside it agrees, but does not read it."""
    theirs = Stage().eval()
    wrong = loaded(lambda r: OurStage(r, factor=1.5), theirs, names=NAMES)
    found = jc.compare(theirs, wrong, data(2, 3, 6, 5), names=NAMES)
    assert found.first is not None
    assert found.first.torch == "block"
    assert found.blocks == []
    assert {"shortcut.0", "shortcut.1"} <= {d.torch for d in found.layers if d.relative < 1e-5}


def test_the_last_block_agrees_if_the_whole_model_does():
    class Theirs(tnn.Module):
        def __init__(self, scale):
            super().__init__()
            self.head = tnn.Sequential(tnn.Linear(4, 3))
            self.scale = scale

        def forward(self, x):
            return self.head(x) * self.scale

    class Ours(nnx.Module):
        def __init__(self, rngs):
            self.head = OurHead(rngs)

        def __call__(self, x):
            return self.head(x)

    class OurHead(nnx.Module):
        def __init__(self, rngs):
            self.fc = nnx.Linear(4, 3, rngs=rngs)

        def __call__(self, x):
            return self.fc(x) * 2

    names, x = {"head.fc": "head.0"}, data(5, 4)
    theirs = Theirs(2).eval()
    model = loaded(Ours, theirs, names=names)
    found = jc.compare(theirs, model, x, names=names)
    assert found.first is None
    assert [d.torch for d in found.blocks] == ["head"]
    theirs.scale = 3
    assert jc.compare(theirs, model, x, names=names).first.torch == "head"


def test_a_container_is_judged_by_its_own_output_where_nothing_in_it_is_compared():
    theirs = tnn.Sequential(tnn.Sequential(tnn.Linear(4, 4), tnn.ReLU()), tnn.ReLU()).eval()

    class Ours(nnx.Module):
        def __init__(self, rngs):
            self.inner = nnx.Linear(4, 4, rngs=rngs)

        def __call__(self, x):
            return nnx.relu(self.inner(x))

    model = loaded(Ours, theirs, names={"inner": "0.0"})
    found = jc.compare(theirs, model, data(5, 4), names={"inner": "0"})
    assert found.first.torch == "0"
    assert found.blocks == []
