"""`prove`: right pairs are equal, wrong ones differ at the right module, the rest is not proven."""

import json
import warnings

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgroups.nnx as jnn
from jaxgroups.prove import Check, Proof, prove

torch = pytest.importorskip("torch", reason="torch is NOT installed: there is nothing to compare")
pairs = pytest.importorskip("support.proven_pairs")
tnn, F = torch.nn, torch.nn.functional

pytestmark = pytest.mark.usefixtures("flax_promotion")


def first(proof):
    """Item, subject and place of the first difference."""
    assert proof.verdict == "different", str(proof)
    return proof.first.item, proof.first.what.split(" ")[0], proof.first.where


# --- equal ----------------------------------------------------------------------------------------


def test_a_right_port_is_equal():
    theirs, ours = pairs.net(), pairs.flax_net()
    before = {name: t.clone() for name, t in theirs.state_dict().items()}
    state = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(ours, nnx.Param)))
    proof = prove(theirs, ours, pairs.EXAMPLE)
    assert proof.verdict == "equal", str(proof)
    assert proof.first is None
    assert proof.limits == []
    what = [check.what for check in proof.checks if check.item == "outputs"]
    kinds = ["random", "ramps", "constant", "one-hot", "zeros", "large", "tiny"]
    assert what == [
        *(f"{kind} 2x3x8x8" for kind in kinds),
        "another batch 3x3x8x8",
        "another size 2x3x9x10",
        "random 2x3x8x8 in float32",
        "large 2x3x8x8 in float32",
    ]
    assert [c.item for c in proof.checks if c.item in ("state", "steps")] == [
        *["state"] * 2,
        *["steps"] * 4,
    ]
    wide = [c for c in proof.checks if c.tolerance is not None and "float32" not in c.what]
    assert all(c.difference < 1e-13 and 1e-14 < c.tolerance < 1e-9 for c in wide)
    # neither module is changed, nor are torch's settings
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(tensor, before[name])
    after = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(ours, nnx.Param)))
    jax.tree.map(np.testing.assert_array_equal, after, state)
    assert torch.get_default_dtype() == torch.float32
    text = str(proof)
    assert text.startswith("Net (torch) and FlaxNet (Flax): equal\n")
    assert max(map(len, text.splitlines())) <= 80
    assert json.loads(json.dumps(proof.as_dict()))["verdict"] == "equal"


# --- mutations: what a forward pass shows ---------------------------------------------------------

FORWARD = {
    "epsilon": ({"norm_how": {"epsilon": 1e-3}}, "norm (norm)"),
    "align_corners": ({"align_corners": False}, "up (up)"),
    "ceil_mode": ({"ceil_mode": False}, "pool (pool): shapes (2, 4, 2, 2) and (2, 1, 1, 4)"),
    "SAME": ({"padding": "SAME"}, "stem (stem)"),
    "tanh gelu": ({"approximate": True}, "act (act)"),
    "feature order": ({"transposed": True}, "drop (drop)"),
    "a missing ReLU": ({"relu": False}, "block (block)"),
}


@pytest.mark.parametrize("name", FORWARD)
def test_mutations_of_the_forward_pass(name):
    how, where = FORWARD[name]
    proof = prove(pairs.net(), pairs.flax_net(**how), pairs.EXAMPLE)
    item, kind, found = first(proof)
    assert (item, kind) == ("outputs", "random")
    assert found.split("; ")[0] == where
    skipped = {check.item for check in proof.checks if check.status == "not compared"}
    assert skipped == {"gradients", "state", "steps"}


def test_a_dropped_bias():
    item, _, where = first(prove(pairs.net(), pairs.flax_net(bias=False), pairs.EXAMPLE))
    assert item == "structure"
    assert where == 'Unexpected key(s) in state_dict: "fc.bias".'


# --- mutations: what training shows, and tensors --------------------------------------------------


class Dense(tnn.Module):
    """Two layers of equal shapes, a norm and a dropout; `relu` is False for a linear network."""

    def __init__(self, momentum=0.1, rate=0.25):
        super().__init__()
        self.one = tnn.Linear(4, 4)
        self.norm = tnn.BatchNorm1d(4, momentum=momentum)
        self.drop = tnn.Dropout(rate)
        self.two = tnn.Linear(4, 4)

    def forward(self, x):
        return self.two(self.drop(F.relu(self.norm(self.one(x)))))


class FlaxDense(nnx.Module):
    def __init__(self, *, norm=pairs.TorchBatchNorm, rate=0.25, stuck=False, swapped=False, **how):
        rngs = nnx.Rngs(0)
        self.one = nnx.Linear(4, 4, rngs=rngs)
        self.norm = norm(4, rngs=rngs, **how)
        self.drop = nnx.Dropout(rate, rngs=rngs)
        self.two = nnx.Linear(4, 4, rngs=rngs)
        self.stuck, self.swapped = stuck, swapped

    def __call__(self, x):
        if self.stuck:
            self.norm.use_running_average = True
        one, two = (self.two, self.one) if self.swapped else (self.one, self.two)
        return two(self.drop(nnx.relu(self.norm(one(x)))))


def dense():
    torch.manual_seed(0)
    return Dense()


TRAINING = {
    "momentum": ({"keep": 0.8}, "norm.running_mean (norm.mean)", "2"),
    "unbiased variance": ({"biased": True}, "norm.running_var (norm.var)", "2"),
    "eval mode only": ({"stuck": True}, "norm (norm)", "outputs"),
    "dropout rate": ({"rate": 0.5}, "drop (drop)", "outputs"),
}


@pytest.mark.parametrize("name", TRAINING)
def test_mutations_of_training(name):
    how, where, subject = TRAINING[name]
    proof = prove(dense(), FlaxDense(**how), (5, 4))
    assert first(proof) == ("state", subject, where)
    equal = {check.item for check in proof.checks if check.status == "equal"}
    assert equal >= {"structure", "outputs", "gradients"}


def test_the_running_variance_of_flax_is_not_torchs():
    model = FlaxDense(norm=nnx.BatchNorm, momentum=0.9, epsilon=1e-5)
    assert first(prove(dense(), model, (5, 4))) == ("state", "2", "norm.running_var (norm.var)")


def test_a_swapped_pair_of_equal_shapes():
    assert first(prove(dense(), FlaxDense(swapped=True), (5, 4)))[::2] == ("outputs", "one (one)")


class Detached(nnx.Linear):
    """Right outputs, no gradient of the kernel."""

    def __call__(self, x):
        return x @ jax.lax.stop_gradient(self.kernel.get_value()) + self.bias.get_value()


def test_gradients_that_stop():
    class Net(nnx.Module):
        def __init__(self):
            self.one = Detached(4, 3, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.one(x)

    theirs = tnn.Sequential()
    theirs.add_module("one", tnn.Linear(4, 3))
    proof = prove(theirs, Net(), (5, 4))
    assert first(proof) == ("gradients", "2", "one.weight (one.kernel)")


class Tied(tnn.Module):
    def __init__(self):
        super().__init__()
        self.one = tnn.Linear(4, 4)
        self.two = self.one

    def forward(self, x):
        return self.two(torch.tanh(self.one(x)))


class FlaxTied(nnx.Module):
    def __init__(self, tied):
        self.one = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
        self.two = self.one if tied else nnx.Linear(4, 4, rngs=nnx.Rngs(1))

    def __call__(self, x):
        return self.two(jnp.tanh(self.one(x)))


def test_shared_tensors():
    assert prove(Tied(), FlaxTied(True), (5, 4)).verdict == "equal"
    item, what, where = first(prove(Tied(), FlaxTied(False), (5, 4)))
    assert (item, what) == ("structure", "shared")
    assert where.endswith("are two in Flax")


def test_a_buffer_that_flax_trains():
    class Theirs(tnn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("scale", torch.full((4,), 2.0))

        def forward(self, x):
            return x * self.scale

    class Ours(nnx.Module):
        def __init__(self, kind):
            self.scale = kind(jnp.ones(4))

        def __call__(self, x):
            return x * self.scale.get_value()

    assert prove(Theirs(), Ours(nnx.BatchStat), (5, 4)).verdict == "equal"
    where = first(prove(Theirs(), Ours(nnx.Param), (5, 4)))
    text = "scale is a buffer in torch, scale is an nnx.Param"
    assert where == ("structure", "what", text)


# --- layouts and arguments ------------------------------------------------------------------------


def test_channels_first_and_integers():
    class Theirs(tnn.Module):
        def __init__(self):
            super().__init__()
            self.embed = tnn.Embedding(7, 4)
            self.fc = tnn.Linear(4, 4)

        def forward(self, tokens, x):
            return {"sum": self.fc(self.embed(tokens) + x), "tokens": tokens + 1}

    class Ours(nnx.Module):
        def __init__(self):
            self.embed = nnx.Embed(7, 4, rngs=nnx.Rngs(0))
            self.fc = nnx.Linear(4, 4, rngs=nnx.Rngs(0))

        def __call__(self, tokens, x):
            return {"tokens": tokens + 1, "sum": self.fc(self.embed(tokens) + x)}

    tokens = np.array([[6, 1, 2, 0], [3, 4, 5, 6]])
    x = np.ones((2, 4, 4), "float32")
    assert prove(Theirs(), Ours(), (tokens, x), channels_last=False).verdict == "equal"
    proof = prove(Theirs(), Ours(), (tokens, x))
    assert proof.verdict == "different", "the axes of the second argument are permuted"


def test_other_sizes_are_those_that_torch_takes():
    theirs = tnn.Sequential(tnn.Conv2d(2, 3, 3, padding=1), tnn.Flatten(), tnn.Linear(48, 2))

    class Ours(nnx.Sequential):
        def __init__(self):
            rngs = nnx.Rngs(0)
            conv = jnn.Conv2d(2, 3, 3, padding=1, rngs=rngs)
            super().__init__(
                conv, lambda x: x.reshape(x.shape[0], -1), nnx.Linear(48, 2, rngs=rngs)
            )

    proof = prove(theirs, Ours(), (1, 2, 4, 4), steps=1)
    assert proof.verdict == "equal", str(proof)
    assert "another size: torch's module does not take it" in proof.notes


def test_a_flax_module_that_raises():
    class Ours(FlaxDense):
        def __call__(self, x):
            raise RuntimeError(f"no {x.ndim}")

    where = "the Flax module raises RuntimeError: no 2"
    assert first(prove(dense(), Ours(), (5, 4))) == ("outputs", "random", where)


# --- limits ---------------------------------------------------------------------------------------


def scaled(function):
    """A pair of a scale and a function of its result, in torch and in Flax."""

    class Theirs(tnn.Module):
        def __init__(self):
            super().__init__()
            self.fc = tnn.Linear(4, 4)

        def forward(self, x):
            return function[0](self.fc(x), self.training)

    class Ours(nnx.Module):
        def __init__(self):
            self.fc = nnx.Linear(4, 4, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return function[1](self.fc(x))

    return Theirs(), Ours()


LIMITS = {
    "random": (
        (lambda x, _: x + torch.rand_like(x), lambda x: x),
        "random operations of torch in evaluation mode: aten.rand_like.default",
    ),
    "random in training": (
        (lambda x, training: F.dropout(x, 0.5, training), lambda x: x),
        "random operations of torch in training: aten.bernoulli_.float",
    ),
    "branch": (
        (lambda x, _: x if x.sum() > -1e9 else -x, lambda x: x),
        "results of torch that may decide what it does next: aten._local_scalar_dense.default",
    ),
    "branch in Flax": (
        (lambda x, _: x, lambda x: x if x.sum() > -1e9 else -x),
        "the Flax module branches on values: jax.jit cannot trace it",
    ),
    "float32 in Flax": (
        (lambda x, _: x, lambda x: x.astype("float32")),
        "the Flax module computes in float32 although its weights are float64",
    ),
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits_are_not_proven(name):
    function, limit = LIMITS[name]
    proof = prove(*scaled(function), (5, 4))
    assert proof.verdict == "not proven", str(proof)
    assert limit in proof.limits
    assert "not compared" in {check.status for check in proof.checks} or "branch" in name
    assert limit.split(":")[0][:40] in str(proof).replace("\n", " ")


def test_a_wrong_module_of_float32_is_different():
    function = (lambda x, _: x, lambda x: (x * 1.01).astype("float32"))
    proof = prove(*scaled(function), (5, 4))
    assert first(proof)[:2] == ("outputs", "random")
    assert proof.first.what.endswith("in float32")


def test_parameters_computed_of_several_tensors():
    theirs = tnn.Sequential(torch.nn.utils.parametrizations.weight_norm(tnn.Linear(4, 3)))
    proof = prove(theirs, nnx.Sequential(nnx.Linear(4, 3, rngs=nnx.Rngs(0))), (5, 4))
    assert proof.verdict == "not proven"
    text = "gradients and training of parameters computed of several tensors: layers.0.kernel"
    assert text in proof.limits
    assert not [check for check in proof.checks if check.status == "different"]


# --- the result -----------------------------------------------------------------------------------


def test_verdicts():
    every = [Check(item, "x", "equal") for item in ("structure", "outputs", "gradients", "state")]
    last = Check("steps", "x", "equal")
    assert Proof("A", "B", [*every, last]).verdict == "equal"
    assert Proof("A", "B", every).verdict == "not proven"
    assert Proof("A", "B", []).verdict == "not proven"
    assert Proof("A", "B", [*every, last], ["random"]).verdict == "not proven"
    assert Proof("A", "B", [*every, last, Check("steps", "y", "not compared")]).verdict == (
        "not proven"
    )
    different = Proof("A", "B", [*every, Check("steps", "x", "different", float("inf"))], ["z"])
    assert different.verdict == "different"
    assert different.as_dict()["checks"][-1]["difference"] is None
    assert repr(different) == "Proof(A, B: different, 5 checks)"


def test_names_are_escaped():
    bad = Check("outputs", "x", "different", 1.0, 0.0, "a\x1b[2J\nb")
    text = str(Proof("N\x1b", "M", [bad], ["l\x1b"], ["n\x1b"]))
    assert "\x1b" not in text
    assert "a\\x1b[2J\\nb" in text
    assert bad.where in Proof("N", "M", [bad]).as_dict()["checks"][0]["where"]


def test_refusals():
    theirs, ours = dense(), FlaxDense()
    for args, kind, text in (
        ((ours, ours, (5, 4)), TypeError, "expected a torch.nn.Module, got FlaxDense"),
        ((theirs, theirs, (5, 4)), TypeError, "expected a flax.nnx.Module, got Dense"),
        ((theirs, ours, "5,4"), TypeError, "example must be a shape such as"),
        ((theirs, ours, (5, 3)), ValueError, "torch cannot run its module on the example"),
    ):
        with pytest.raises(kind, match=text):
            prove(*args)
    with pytest.raises(ValueError, match="steps must be an integer >= 1, got 0"):
        prove(theirs, ours, (5, 4), steps=0)


def test_float64_is_on_for_the_call_only():
    with jax.enable_x64(False), warnings.catch_warnings():
        warnings.simplefilter("error")
        model = nnx.Sequential(nnx.Linear(4, 3, rngs=nnx.Rngs(0)))
        proof = prove(tnn.Sequential(tnn.Linear(4, 3)), model, (5, 4))
        assert proof.verdict == "equal", str(proof)
        assert jnp.ones(2).dtype == "float32"
        assert model.layers[0].kernel.dtype == "float32"
