"""Derivatives where a function has no single one: at bounds, at 0, and of several equal values.

Random inputs never meet these places; a network does, where ReLU or padding makes zeros. Also
infinities. torch's autograd judges.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgroups import port

torch = pytest.importorskip("torch", reason="torch is NOT installed: there is nothing to port")
F = torch.nn.functional

pytestmark = [
    pytest.mark.usefixtures("flax_promotion"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]

POINTS = np.array([*np.arange(-14, 15) / 2, 20, 21, -0.0, np.inf, -np.inf])
# functions element by element, of a tensor that has every one of POINTS
ELEMENTWISE = [
    F.relu,
    F.relu6,
    F.leaky_relu,
    lambda x: F.leaky_relu(x, 0.25),
    lambda x: F.prelu(x, torch.full((1,), 0.25, dtype=torch.float64)),
    F.hardtanh,
    lambda x: F.hardtanh(x, -2, 3),
    lambda x: F.hardtanh(x, 0, 6),
    lambda x: x.clamp(-1, 3),
    lambda x: x.clamp(min=1),
    lambda x: x.clamp(max=1),
    lambda x: x.clamp_min(0),
    lambda x: x.clamp_max(0),
    torch.abs,
    torch.sign,
    F.hardswish,
    F.hardsigmoid,
    F.elu,
    F.celu,
    F.selu,
    F.silu,
    F.mish,
    F.gelu,
    F.softplus,
    F.softsign,
    F.tanhshrink,
    F.logsigmoid,
    lambda x: F.threshold(x, 1, 2),
    F.hardshrink,
    F.softshrink,
    lambda x: torch.maximum(x, torch.zeros_like(x)),
    lambda x: torch.minimum(x, torch.zeros_like(x)),
    lambda x: torch.where(x > 0, x, -2 * x),
    lambda x: x.masked_fill(x > 1, 2.0),
    torch.square,
    lambda x: x**2,
    lambda x: x**0.5,
    lambda x: F.relu(x) ** 1.5,
    lambda x: F.relu(x) ** 2,
    lambda x: x**3,
    lambda x: torch.sqrt(F.relu(x)),
    lambda x: torch.exp(-x.abs()),
    torch.frac,
    lambda x: torch.floor(x) * x,
]


class Functions(torch.nn.Module):
    def __init__(self, functions):
        super().__init__()
        self.functions = functions

    def forward(self, x):
        return tuple(function(x) for function in self.functions)


def assert_gradients(functions, x, rtol=1e-12):
    """The derivative of each function's sum; NaN where torch has NaN."""
    module = Functions(functions).eval()
    ported = port.port(module, torch.zeros(x.shape, dtype=torch.float64))
    model = ported.model()
    assert set(ported.inputs[0]) == set(range(x.ndim))
    for i, function in enumerate(functions):
        tensor = torch.from_numpy(x.copy()).requires_grad_()
        y = function(tensor)
        y.sum().backward()
        order = ported.inputs[0]

        def of(a, i=i):
            out = model(a)[i]
            return out.sum(), out

        ours, out = jax.grad(of, has_aux=True)(jnp.asarray(x.transpose(order)))
        wanted = y.detach().numpy().transpose(ported.outputs[i])
        np.testing.assert_allclose(out, wanted, rtol=1e-12, atol=1e-15, err_msg=f"value {i}")
        theirs = tensor.grad.numpy().transpose(order)
        np.testing.assert_allclose(
            ours, theirs, rtol=rtol, atol=rtol / 100, err_msg=f"gradient {i}"
        )


def test_elementwise():
    # torch's own derivatives of hardsigmoid and hardswish have the precision of float32
    assert_gradients(ELEMENTWISE, np.tile(POINTS, (2, 1)), rtol=1e-7)


TIES = [
    lambda x: x.max(1)[0],
    lambda x: x.max(1, keepdim=True)[0],
    lambda x: x.max(-1)[0] * 2,
    lambda x: x.min(1)[0],
    lambda x: x.min(2, keepdim=True)[0],
    lambda x: x.amax(1),
    lambda x: x.amin((2, 3)),
    lambda x: x.max(),
    lambda x: x.min(),
    lambda x: torch.max(x[:, 0], x[:, 1]),
    lambda x: x.norm(dim=1),
    lambda x: x.std(1),
    lambda x: x.std((2, 3), correction=0, keepdim=True),
    lambda x: x.var(1) + x.std(),
    lambda x: x.prod(1),
    lambda x: x.logsumexp(1),
    lambda x: F.softmax(x, 1) * x,
    lambda x: F.max_pool2d(x, 2, 1),
    lambda x: F.adaptive_max_pool2d(x, (2, 2)),
    lambda x: x.cumsum(1) * x,
    lambda x: F.normalize(x, dim=1),
]


def test_several_equal_values(rng):
    """Whole numbers of which many are 0 and equal, as after a ReLU."""
    x = np.maximum(rng.integers(-3, 3, (2, 5, 4, 3)), 0).astype("float64")
    x[0, :, 0, 0] = 0
    assert_gradients(TIES, x)
