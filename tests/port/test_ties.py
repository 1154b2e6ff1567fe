"""Modules that stand at several places of a network, under one owner or several."""

import re

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is NOT installed: there is nothing to port")

from jaxgroups.port import PortError, port  # noqa: E402

nn = torch.nn
pytestmark = pytest.mark.usefixtures("flax_promotion")


class Unit(nn.Module):
    """A convolution of its own, and a block that it may share."""

    def __init__(self, channels, block):
        super().__init__()
        self.own = nn.Conv2d(channels, channels, 3, padding=1)
        self.block = block

    def forward(self, x):
        return torch.relu(self.block(self.own(x))) + x


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=2, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x):
        return self.bn(self.conv(x))


class Net(nn.Module):
    """Units in a list that share a layer, units with names that share a block, and a chain."""

    def __init__(self):
        super().__init__()
        conv, block = nn.Conv2d(4, 4, 1), Block(4)
        self.units = nn.ModuleList(Unit(4, conv) for _ in range(3))
        self.left, self.right = Unit(4, block), Unit(4, block)
        again = nn.Conv2d(4, 4, 1, bias=False)
        self.chain = nn.Sequential(again, nn.ReLU(), again, nn.Sequential(nn.Tanh(), block))
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        for unit in self.units:
            x = unit(x)
        x = self.left(x) - self.right(x)
        return self.head(self.chain(x).mean((2, 3)))


TIED = """\
        # one module at several places
        self.units[1].block = self.units[0].block
        self.units[2].block = self.units[0].block
        self.right.block = self.left.block
        self.chain.layers[3].layers[1] = self.left.block
        self.chain.layers[2] = self.chain.layers[0]
"""


@pytest.fixture(scope="module")
def ported():
    torch.manual_seed(0)
    return port(Net(), (2, 4, 6, 5))


def test_the_constructor_of_the_whole_ties_them(ported):
    assert TIED in ported.source
    assert len(re.findall(r"self\S+ = self", ported.source)) == TIED.count(" = ")  # and no other
    model = ported.model()
    assert model.right.block is model.left.block
    assert model.chain.layers[3].layers[1] is model.left.block


def test_they_train_as_one(ported):
    proof = ported.prove(steps=2)
    assert proof.verdict == "equal", str(proof)


def test_a_checkpoint_with_every_name_loads(ported, tmp_path):
    from jaxgroups.convert import load_torch

    path = tmp_path / "net.pth"
    torch.save(ported.module.state_dict(), path)
    model, _ = load_torch(ported.model(), path)
    x = np.random.default_rng(0).standard_normal((2, 4, 6, 5)).astype("float32")
    with torch.no_grad():
        expected = ported.module.float().eval()(torch.from_numpy(x)).numpy()
    model.eval()
    np.testing.assert_allclose(model(np.moveaxis(x, 1, -1)), expected, rtol=2e-5, atol=2e-6)


class Lender(nn.Module):
    """Hands a layer of its own to a module that does not have it."""

    class Borrower(nn.Module):
        def forward(self, x, layer):
            return layer(x) * 2

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        self.borrower = self.Borrower()

    def forward(self, x):
        return self.borrower(self.conv(x), self.conv)


def test_a_place_that_the_source_does_not_name_is_refused(monkeypatch):
    from jaxgroups.port import _ties

    access = _ties._access
    hidden = ("right", "block")
    monkeypatch.setattr(
        _ties, "_access", lambda made, path: None if path == hidden else access(made, path)
    )
    text = "Block in right.block: the module stands at several places, and the source has no name"
    with pytest.raises(PortError, match=text):
        port(Net(), (2, 4, 6, 5))


def test_a_module_without_a_place_below_its_caller_is_refused():
    with pytest.raises(PortError, match="the module conv is used outside of the module that has"):
        port(Lender(), (2, 4, 6, 5))
