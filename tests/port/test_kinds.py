"""Networks of each kind, after public architectures: ported, read by tools, proven equal."""

import subprocess
import sys
from functools import cache
from importlib.util import find_spec

import jax
import numpy as np
import pytest

import jaxgroups.nnx as jnn

torch = pytest.importorskip("torch")
pytest.importorskip("ruff")

from jaxgroups.port import port  # noqa: E402
from tests.support.port_nets.table import NETS, Net  # noqa: E402

pytestmark = pytest.mark.usefixtures("flax_promotion")

_READY = [net for net in NETS if all(hasattr(jnn, name) for name in net.needs)]


def _parameters(nets):
    missing = pytest.mark.skip(reason="jaxgroups.nnx has no layer that it needs")
    return [pytest.param(net, id=net.name, marks=() if net in _READY else missing) for net in nets]


@cache
def _ported(net: Net):
    torch.manual_seed(0)
    return port(net.make(), net.example)


def _leaves(outputs):
    return jax.tree.leaves(outputs, is_leaf=lambda x: isinstance(x, torch.Tensor))


@pytest.mark.parametrize("net", _parameters(NETS))
def test_the_port_is_proven_equal(net):
    ported = _ported(net)
    assert [str(one) for one in ported.transpositions][net.transpositions :] == []
    assert len(ported.transpositions) == net.transpositions
    proof = ported.prove(steps=1)
    assert proof.verdict == "equal", str(proof)


@pytest.mark.parametrize("net", _parameters(net for net in NETS if net.other))
def test_other_sizes_run_with_the_weights_of_the_original(net):
    """The sizes of the example are not frozen, where the original takes others."""
    ported = _ported(net)
    module = ported.module.double().eval()
    shapes = net.other if isinstance(net.other[0], tuple) else (net.other,)
    rng = np.random.default_rng(0)
    given = [rng.standard_normal(shape) for shape in shapes]
    with torch.no_grad():
        theirs = _leaves(module(*map(torch.from_numpy, given)))
    module.float()
    model = ported.model()
    arrays = [np.transpose(x, order) for x, order in zip(given, ported.inputs, strict=True)]
    ours = _leaves(jax.jit(lambda *xs: model(*xs))(*arrays))
    for one, other, order in zip(theirs, ours, ported.outputs, strict=True):
        # layers of Flax keep the parameters' float32
        expected = np.transpose(one.numpy(), order)
        np.testing.assert_allclose(np.asarray(other), expected, rtol=2e-4, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("net", _parameters(_READY[::4]))
def test_porting_again_gives_the_same_text(net):
    torch.manual_seed(1)
    assert port(net.make(), net.example).source == _ported(net).source


def test_the_sources_pass_ruff_and_pyright(tmp_path):
    for net in _READY:
        (tmp_path / f"{net.name}.py").write_text(_ported(net).source, encoding="utf-8")
    rules = ["--isolated", "--select", "E,F,I,UP,B", "--line-length", "100"]
    commands = [["ruff", "check", *rules, str(tmp_path)]]
    if find_spec("pyright"):
        commands.append(["pyright", "--pythonpath", sys.executable, str(tmp_path)])
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", *command],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,  # else jaxgroups is taken for a package of the same project
        )
        assert done.returncode == 0, done.stdout
