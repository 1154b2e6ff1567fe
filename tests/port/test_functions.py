"""Functions of torch that a forward calls with tensors of its own; torch judges the values."""

import jax
import numpy as np
import pytest

from jaxgroups import port

torch = pytest.importorskip("torch", reason="torch is NOT installed: there is nothing to port")
F = torch.nn.functional

pytestmark = [
    pytest.mark.usefixtures("flax_promotion"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]


class Function(torch.nn.Module):
    """A forward that is a function of the input and of parameters of the given shapes."""

    def __init__(self, function, *shapes):
        super().__init__()
        self.function = function
        for i, shape in enumerate(shapes):
            values = torch.randn(*shape, generator=torch.Generator().manual_seed(i))
            self.register_parameter(f"p{i}", torch.nn.Parameter(values))

    def forward(self, x):
        return self.function(x, *self.parameters())


def indexed(x):
    y, index = F.adaptive_max_pool2d(x, (3, 5), return_indices=True)
    return y * index.to(y.dtype)


def pooled(x):
    y, index = F.max_pool2d(x, 3, 2, 1, return_indices=True)
    return y + index.to(y.dtype)


# by name: the function, and the shapes of its parameters; the input has shape (2, 6, 7, 9)
FUNCTIONS = {
    "conv2d": (
        lambda x, w, b: F.conv2d(x, w, b, stride=(1, 2), padding=1, groups=2),
        (8, 3, 3, 2), (8,),
    ),
    "conv2d same": (
        lambda x, w: F.conv2d(x, w, padding="same", dilation=2, groups=2),
        (8, 3, 4, 3),
    ),
    "conv_transpose2d": (
        lambda x, w: F.conv_transpose2d(x, w, stride=2, output_padding=1, groups=2),
        (6, 4, 2, 3),
    ),
    "conv1d": (lambda x, w: F.conv1d(x.flatten(2), w, groups=2), (4, 3, 5)),
    "prelu": (lambda x, w: F.prelu(x, w), (6,)),
    "adaptive_max_pool2d": (lambda x: F.adaptive_max_pool2d(x, (3, 5)),),
    "adaptive_max_pool2d times indices": (indexed,),
    "adaptive_max_pool2d and indices": (
        lambda x: F.adaptive_max_pool2d(x, (3, 5), return_indices=True),
    ),
    "adaptive_avg_pool2d": (lambda x: F.adaptive_avg_pool2d(x, (3, None)),),
    "max_pool2d plus indices": (pooled,),
    "group_norm": (lambda x, w, b: F.group_norm(x, 2, w, b), (6,), (6,)),
    "instance_norm": (lambda x, w, b: F.instance_norm(x, weight=w, bias=b), (6,), (6,)),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (7, 9), w, b), (7, 9), (7, 9)),
    "linear": (lambda x, w, b: F.linear(x.permute(0, 2, 3, 1), w, b), (5, 6), (5,)),
    "flatten and linear": (lambda x, w: F.linear(x.flatten(1), w), (5, 378)),
    "bilinear": (lambda x, w, b: F.bilinear(x.mean((2, 3)), x[:, :4, 1, 2], w, b), (3, 6, 4), (3,)),
    "embedding": (lambda x, w: F.embedding(x.argmax(1), w), (6, 5)),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values(name):
    function, *shapes = FUNCTIONS[name]
    module = Function(function, *shapes).double().eval()
    ported = port.port(module, (2, 6, 7, 9))
    x = np.random.default_rng(0).standard_normal((3, 6, 7, 9))
    with torch.no_grad():
        expected = jax.tree.leaves(module(torch.from_numpy(x)))
    actual = jax.tree.leaves(ported.model()(x.transpose(ported.inputs[0])))
    for theirs, ours, order in zip(expected, actual, ported.outputs, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy().transpose(order), rtol=1e-11, atol=1e-12)


# functions of one feature map without parameters: they are ported in one module
PLAIN = [
    lambda x: torch.round(x),
    lambda x: torch.fmod(5 * x, x[:, :1]) + (5 * x).frac() + x.trunc(),
    lambda x: x.atan() + x.tan() + x.asinh() + x.sinh() + x.cosh() + x.exp2() + x.expm1(),
    lambda x: (x.abs() + 1).log2() + (x.abs() + 1).log10() + x.erfc() + (x.abs() + 1).acosh(),
    lambda x: (x / 9).asin() + (x / 9).acos() + (x / 9).atanh(),
    lambda x: F.threshold(x, 0.2, -1) + F.hardshrink(x, 0.4),
    lambda x: F.softplus(9 * x, beta=2, threshold=1),
    lambda x: torch.where((x > 0) ^ (x > 1), x, ~(x > 0) * 2.0),
    lambda x: torch.div(7 * x, 2, rounding_mode="trunc"),
    lambda x: torch.div(7 * x, 2, rounding_mode="floor"),
    lambda x: x.norm(dim=(2, 3)),
    lambda x: x.norm(1, dim=1) + torch.linalg.vector_norm(x, float("inf"), dim=1),
    lambda x: x / x.norm() + torch.linalg.norm(x),
    lambda x: torch.linalg.norm(x, 3, dim=2) + torch.linalg.norm(x, dim=2),
    lambda x: torch.norm(x, 1.5, (2, 3), keepdim=True) + F.normalize(x.relu(), dim=2),
    lambda x: x.logsumexp((1, 2), keepdim=True),
    lambda x: x.cumsum(1) + x.cumprod(-1),
    lambda x: x.mean((2, 3)).repeat(3, 2, 1),
    lambda x: x.repeat(1, 2, 1, 3),
    lambda x: x.repeat_interleave(3, 1),
    lambda x: x.tril(-1) + x.triu(1),
    lambda x: x.roll((1, 2), (1, -1)) + x.flip([1, 3]),
    lambda x: F.lp_pool2d(x.abs(), 2, 2),
    lambda x: x.max(1).values[:, None] + x.min(1, keepdim=True)[0],
    lambda x: x.max(3)[1][..., None] + x.min(3, keepdim=True)[1],
    lambda x: F.one_hot(x.argmax(1), 8),
    lambda x: torch.eye(7, 9, dtype=x.dtype) * x + torch.eye(9, dtype=x.dtype)[:7],
    lambda x: torch.stack(torch.meshgrid(
        torch.arange(x.shape[2], dtype=x.dtype),
        torch.linspace(-1, 1, x.shape[3], dtype=x.dtype), indexing="ij")) + x.mean(),
    lambda x: x * torch.meshgrid(torch.arange(9), torch.arange(7), indexing="xy")[0],
    lambda x: x[:, ::2, 1:-1, :-2] + x[:, [1, 0, 3], 0:5, 2:],
]  # fmt: skip


def test_plain_functions():
    module = Function(lambda x: tuple(function(x) for function in PLAIN)).eval()
    ported = port.port(module, torch.zeros(2, 6, 7, 9, dtype=torch.float64))
    x = np.random.default_rng(0).standard_normal((3, 6, 7, 9))
    expected = module(torch.from_numpy(x))
    actual = ported.model()(x.transpose(ported.inputs[0]))
    orders = zip(expected, actual, ported.outputs, strict=True)
    for i, (theirs, ours, order) in enumerate(orders):
        wanted = theirs.numpy().transpose(order)
        np.testing.assert_allclose(ours, wanted, rtol=1e-11, atol=1e-12, err_msg=str(i))


def test_an_argument_without_a_rule_is_refused():
    with pytest.raises(port.PortError, match=r"besides the tensor: .* \{'decimals': 1\}"):
        port.port(Function(lambda x: torch.round(x, decimals=1)), (2, 6))


class Watched(torch.nn.Module):
    """A branch whose result nobody reads, but whose statistics torch updates."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(6, 4, 3)
        self.bn = torch.nn.BatchNorm2d(4)
        self.pool = torch.nn.MaxPool2d(2)
        self.head = torch.nn.Conv2d(6, 5, 1)

    def forward(self, x):
        y = self.bn(self.conv(x))
        self.pool(y)
        return self.head(x)


class Twice(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.watched = Watched()
        self.head = torch.nn.Conv2d(6, 3, 1)

    def forward(self, x):
        self.watched(x)
        return self.head(x)


@pytest.mark.parametrize("kind", [Watched, Twice])
def test_a_call_whose_result_is_not_used_updates_statistics(kind):
    ported = port.port(kind(), (2, 6, 7, 9))
    assert "        self.bn(self.conv(x))\n" in ported.source
    assert "self.pool(" not in ported.source
    proof = ported.prove(steps=1)
    assert proof.verdict == "equal", str(proof)


def prune(layer):
    from torch.nn.utils.prune import random_unstructured

    return random_unstructured(layer, "weight", 0.5)


MERGED = {
    "weight_norm": torch.nn.utils.weight_norm,
    "spectral_norm": torch.nn.utils.spectral_norm,
    "prune": prune,
    "parametrized weight_norm": torch.nn.utils.parametrizations.weight_norm,
    "parametrized spectral_norm": torch.nn.utils.parametrizations.spectral_norm,
    "orthogonal": torch.nn.utils.parametrizations.orthogonal,
}


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", MERGED)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
def test_computed_weights_are_merged(name, train):
    torch.manual_seed(0)
    layer = MERGED[name](torch.nn.Conv2d(6, 4, 3))
    module = torch.nn.Sequential(layer, torch.nn.ReLU(), torch.nn.Conv2d(4, 5, 2)).double()
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    ported = port.port(module.train(train), (2, 6, 7, 9))
    model = ported.model()
    assert all((before[key] == tensor).all() for key, tensor in module.state_dict().items())
    assert ported.notes == ["0.weight: merged into one tensor when weights are loaded"]
    x = np.random.default_rng(0).standard_normal((3, 6, 7, 9))
    with torch.no_grad():
        expected = module.eval()(torch.from_numpy(x)).numpy()
    actual = model(x.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(actual, expected.transpose(0, 2, 3, 1), rtol=1e-11, atol=1e-12)


def test_a_weight_that_is_not_finite_is_warned_of():
    module = torch.nn.Sequential(torch.nn.Conv2d(6, 4, 3), torch.nn.ReLU())
    with torch.no_grad():
        module[0].weight[1, 2] = float("nan")
    with pytest.warns(UserWarning, match="holds 9 NaN"):
        port.port(module, (2, 6, 7, 9)).model()


def test_the_proof_says_what_it_compared():
    torch.manual_seed(0)
    layer = MERGED["parametrized weight_norm"](torch.nn.Conv1d(4, 6, 3))
    module = torch.nn.Sequential(layer)
    proof = port.port(module, (2, 4, 9)).prove(steps=1)
    assert "0.weight: compared after it was merged" in proof.notes


class Cell(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(6, 6)

    def forward(self, x, state=None):
        h, c = (x, x) if state is None else state
        gate, cell = (self.fc(x) + h).chunk(2, dim=1)
        c = torch.cat([gate * cell, c[:, 3:]], dim=1)
        return torch.tanh(c), (h + c, [c])


class Unrolled(torch.nn.Module):
    """A module that gets one tensor twice at one call, and two at the other."""

    def __init__(self):
        super().__init__()
        self.cell = Cell()

    def forward(self, x):
        y, (hidden, rest) = self.cell(x, (x, 2 * x))
        z, (hidden, _) = self.cell(y, (hidden, rest[0]))
        return z, hidden


def test_one_tensor_may_be_two_arguments():
    module = Unrolled().double().eval()
    ported = port.port(module, (2, 6))
    for text in (
        "        self, x: jax.Array, state: tuple[jax.Array, jax.Array]\n"
        "    ) -> tuple[jax.Array, tuple[jax.Array, list[jax.Array]]]:\n",
        "gate, cell = jnp.split(",
        "        y, (hidden, (rest,)) = self.cell(x, (x, x * 2))\n"
        "        z, (hidden, _) = self.cell(y, (hidden, rest))\n",
        "def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:\n",
    ):
        assert text in ported.source, ported.source
    x = np.random.default_rng(0).standard_normal((3, 6))
    with torch.no_grad():
        expected = module(torch.from_numpy(x))
    for theirs, ours in zip(expected, ported.model()(x), strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12)


class Started(Unrolled):
    def forward(self, x):
        y, state = self.cell(x)
        return self.cell(y, (state[0], state[1][0]))[0]


def test_a_module_that_does_something_else_at_another_call_is_refused():
    with pytest.raises(port.PortError) as caught:
        port.port(Started(), (2, 6))
    assert "Cell in cell (" in str(caught.value)
    assert str(caught.value).endswith("a module that does something else at another call")


class Rows(torch.nn.Module):
    """Python makes a constant of the number of rows."""

    def forward(self, x):
        return x[:, :, [1, 0, *range(2, x.shape[2])]]


class RowsInTraining(Rows):
    """There is something else to say of it too."""

    def forward(self, x):
        return super().forward(x + 1 if self.training else x)


@pytest.mark.parametrize(("kind", "notes"), [(Rows, 1), (RowsInTraining, 2)])
def test_a_size_that_is_a_constant_is_said(kind, notes):
    *others, note = port.port(kind(), (2, 4, 3, 5)).notes
    assert len(others) == notes - 1
    assert note == (
        "input 0: torch traced these sizes of the example as constants, others may give something "
        "else: axis 2: 3"
    )


REFUSED = {
    "a norm in another dtype": lambda x: torch.linalg.vector_norm(x, dim=1, dtype=torch.float64),
    "the norm of a matrix": lambda x: torch.linalg.norm(x, 1, dim=(2, 3)),
}


@pytest.mark.parametrize("why", REFUSED)
def test_norms_that_have_no_counterpart(why):
    with pytest.raises(port.PortError) as caught:
        port.port(Function(REFUSED[why]), (2, 3, 4, 5))
    (missing,) = caught.value.missing
    assert missing.why == why
