"""RNN, LSTM, GRU and their cells: torch's outputs, states, gradients, dropout and errors."""

import re
import warnings
from math import sqrt

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.torch_bridge import to_numpy, to_torch, torch

from jaxgroups import nnx as jnn

pytest.importorskip("expecttest")  # torch's test data imports it
common_modules = pytest.importorskip("torch.testing._internal.common_modules")
WIDE = {"param_dtype": jnp.float64}
NAMES = ["RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"]
L, N, IN, H = 4, 2, 3, 5


def keys():
    return nnx.Rngs(0)


def pair(name, *args, dtype="float64", **kw):
    """torch's layer in evaluation, and ours with its parameters under its names."""
    theirs = getattr(torch.nn, name)(*args, **kw, dtype=getattr(torch, dtype)).eval()
    ours = getattr(jnn, name)(*args, **kw, param_dtype=jnp.dtype(dtype), rngs=keys())
    for key, tensor in theirs.named_parameters():
        variable = getattr(ours, key)
        assert variable.shape == tuple(tensor.shape), key
        variable[...] = jnp.asarray(to_numpy(tensor))
    ours.eval()
    assert sorted(nnx.to_pure_dict(nnx.state(ours, nnx.Param))) == sorted(theirs.state_dict())
    return theirs, ours


def mapped(function, value):
    """A tensor, or the tuples of a state, with a function on every array; None stays None."""
    if isinstance(value, tuple):
        return tuple(mapped(function, v) for v in value)
    return None if value is None else function(value)


def state_of(rng, name, theirs, batch):
    """A state with torch's shapes; `batch` is the axis N, or nothing."""
    if "Cell" in name:
        shapes = [(*batch, theirs.hidden_size)] * 2
    else:
        count = theirs.num_layers * (1 + theirs.bidirectional)
        shapes = [(count, *batch, s) for s in (theirs.proj_size or H, H)]
    arrays = tuple(rng.normal(size=shape) for shape in shapes)
    return arrays if "LSTM" in name else arrays[0]


def assert_equal(rng, theirs, ours, x, hx):
    """Outputs and states, and the gradients of all arrays of a random sum of these, jitted."""
    given, state = to_torch(x).requires_grad_(), mapped(to_torch, hx)
    leaves = [t.requires_grad_() for t in jax.tree.leaves(state)]
    expected = theirs(given, state)
    weights = mapped(lambda t: rng.normal(size=tuple(t.shape)), expected)
    pairs = zip(jax.tree.leaves(expected), jax.tree.leaves(weights), strict=True)
    torch.stack([(t * torch.from_numpy(w)).sum() for t, w in pairs]).sum().backward()

    @nnx.jit
    def run(layer, x, hx):
        def loss(layer, x, hx):
            out = layer(x, hx)
            products = jax.tree.map(lambda o, w: (o * w).sum(), out, weights)
            return sum(jax.tree.leaves(products)), out

        return nnx.grad(loss, argnums=(0, 1, 2), has_aux=True)(layer, x, hx)

    (of_layer, of_x, of_hx), out = run(ours, x, hx)
    assert jax.tree.structure(out) == jax.tree.structure(mapped(to_numpy, expected))
    compare = [(out, mapped(to_numpy, expected)), (of_x, to_numpy(given.grad))]
    compare += [(of_hx, [to_numpy(t.grad) for t in leaves])] if leaves else []
    for key, tensor in theirs.named_parameters():
        compare.append((of_layer[key][...], to_numpy(tensor.grad)))
    for found, true in compare:
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(true), strict=True):
            assert one.shape == other.shape
            assert one.dtype == other.dtype
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


BOTH, FIRST, WITHOUT = {"bidirectional": True}, {"batch_first": True}, {"bias": False}
SETTINGS = [  # layer, settings, whether there is a batch, whether there is a first state
    ("RNN", {}, True, True),
    ("RNN", {"num_layers": 2, "nonlinearity": "relu", **BOTH}, False, True),
    ("RNN", {"nonlinearity": "relu", **WITHOUT, **FIRST}, True, False),
    ("LSTM", {}, True, False),
    ("LSTM", {"num_layers": 2, **BOTH, **FIRST, "proj_size": 2}, True, True),
    ("LSTM", {**WITHOUT, **FIRST, "proj_size": 4}, False, False),
    ("LSTM", {**BOTH, **WITHOUT}, False, True),
    ("GRU", {}, False, True),
    ("GRU", {"num_layers": 2, **BOTH, **FIRST}, True, False),
    ("GRU", {"num_layers": 3, **WITHOUT}, True, True),
]


def shown(settings):
    return ", ".join(f"{key}={value}" for key, value in settings.items()) or "default"


@pytest.mark.parametrize(
    ("name", "kw", "batched", "state"), SETTINGS, ids=[f"{s[0]} {shown(s[1])}" for s in SETTINGS]
)
def test_layers(rng, name, kw, batched, state):
    theirs, ours = pair(name, IN, H, **kw)
    batch = (N,) if batched else ()
    shape = (*batch, L, IN) if theirs.batch_first else (L, *batch, IN)
    hx = state_of(rng, name, theirs, batch) if state else None
    assert_equal(rng, theirs, ours, rng.normal(size=shape), hx)


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_equal_sizes(rng, name):
    """Where a confused axis would not show in a shape."""
    theirs, ours = pair(name, 2, 2, 2, batch_first=True)
    hx = tuple(rng.normal(size=(2, 2, 2)) for _ in range(2))
    assert_equal(rng, theirs, ours, rng.normal(size=(2, 2, 2)), hx if name == "LSTM" else hx[0])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", ["RNNCell", "RNNCell relu", "LSTMCell", "GRUCell"])
def test_cells(rng, name, bias):
    name, *rest = name.split()
    theirs, ours = pair(name, IN, H, bias, *rest)
    batch = (N,) if bias else ()
    assert_equal(
        rng, theirs, ours, rng.normal(size=(*batch, IN)), state_of(rng, name, theirs, batch)
    )
    got, expected = ours(np.ones((N, IN))), theirs(torch.ones((N, IN), dtype=torch.float64))
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, to_numpy(other), rtol=1e-12)


def corpus(name, every):
    """Torch's own samples: constructor and call."""
    (info,) = [m for m in common_modules.module_db if m.name == f"nn.{name}"]
    torch.manual_seed(0)
    how = {"device": "cpu", "dtype": torch.float64, "requires_grad": False, "training": False}
    return list(info.module_inputs_func(info, **how))[::every], info, how


@pytest.mark.parametrize("name", NAMES)
def test_torchs_samples(name):
    samples, _, _ = corpus(name, 1 if "Cell" in name else 11)
    assert samples
    for sample in samples:
        made, called = sample.constructor_input, sample.forward_input
        theirs, ours = pair(name, *made.args, **made.kwargs)
        got = ours(*(mapped(to_numpy, arg) for arg in called.args), **called.kwargs)
        expected = mapped(to_numpy, theirs(*called.args, **called.kwargs))
        assert jax.tree.structure(got) == jax.tree.structure(expected)
        for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
            assert one.shape == other.shape
            np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_what_torch_refuses(name):
    """With torch's sentence."""
    _, info, how = corpus(name, 1)
    cases = list(info.module_error_inputs_func(info, **how))
    assert cases
    for case in cases:
        sample = case.module_error_input
        made, called = sample.constructor_input, sample.forward_input
        if "Cell" in name and isinstance(made.args[-1], str):
            continue  # these samples give a nonlinearity as the bias
        sentence = case.error_regex.replace(r"\(.*\), or convert model: model\.to\(.*\)", "")
        pattern = sentence.replace(r" Convert input: input\.to", "")
        with pytest.raises((ValueError, TypeError), match=pattern):
            arguments = {k: v for k, v in made.kwargs.items() if k not in ("dtype", "device")}
            layer = getattr(jnn, name)(*made.args, **arguments, **WIDE, rngs=keys())
            args = [mapped(to_numpy, arg) for arg in called.args]
            if "input dtype" in pattern:  # a narrower float is promoted, as in other layers
                args[0] = args[0].astype("int32")
            layer(*args)


class PackedSequence:
    """What is passed on by its name: torch's class needs no import to be recognised."""


REFUSED = [
    ("LSTM", {"dropout": 1.5}, None, "dropout should be a number in range [0, 1] representing the "
     "probability of an element being zeroed, got dropout=1.5"),
    ("LSTM", {"dropout": True}, None, "dropout should be a number in range [0, 1] representing the "
     "probability of an element being zeroed, got dropout=True"),
    ("LSTM", {"proj_size": -1}, None, "proj_size should be a positive integer or zero to disable "
     "projections, got proj_size=-1"),
    ("LSTM", {"proj_size": 5}, None, "proj_size has to be smaller than hidden_size, got "
     "proj_size=5 and hidden_size=5"),
    ("LSTM", {"num_layers": 1.5}, None, "num_layers should be of type int, got: float"),
    ("GRU", {"num_layers": 0}, None, "num_layers must be greater than zero, got num_layers=0"),
    ("GRU", {"bidirectional": 1}, None, "bidirectional should be of type bool, got: int"),
    ("GRU", {"proj_size": 2}, None, "GRU() got an unexpected keyword argument 'proj_size': "
     "proj_size argument is only supported for LSTM, not RNN or GRU"),
    ("GRU", {"rngs": None}, None, "GRU() needs the keyword argument 'rngs': add rngs=nnx.Rngs(0)"),
    ("GRU", {"rngs": 0}, None, "GRU(): rngs must be flax.nnx.Rngs, such as nnx.Rngs(0), not int"),
    ("GRU", {"param_dtype": jnp.int32}, None, "Only Tensors of floating point and complex dtype "
     "can require gradients: GRU takes real ones, got param_dtype=int32"),
    ("RNN", {"nonlinearity": "gelu"}, None, "Unknown nonlinearity 'gelu'. Select from 'tanh' or "
     "'relu'."),
    ("RNNCell", {"nonlinearity": None}, None, "Unknown nonlinearity 'None'. Select from 'tanh' or "
     "'relu'."),
    ("LSTM", {}, [(6, 4, 2, 3)], "LSTM: Expected input to be 2D or 3D, got 4D instead: shape "
     "(6, 4, 2, 3)"),
    ("LSTM", {}, [(0, 2, 3)], "Expected sequence length to be larger than 0 in RNN: LSTM got an "
     "input of shape (0, 2, 3)"),
    ("GRU", {"batch_first": True}, [(4, 2, 6)], "input.size(-1) must be equal to input_size. "
     "Expected 3, got 6: GRU got an input of shape (4, 2, 6)"),
    ("GRU", {"batch_first": True}, [(4, 2, 3), (1, 2, 5)], "Expected hidden size (1, 4, 5), got "
     "[1, 2, 5]: GRU got an input of shape (4, 2, 3)"),
    ("GRU", {}, [(4, 2, 3), (1, 5)], "For batched 3-D input, hx should also be 3-D but got 2-D "
     "tensor"),
    ("GRU", {}, [(4, 3), (1, 2, 5)], "For unbatched 2-D input, hx should also be 2-D but got 3-D "
     "tensor"),
    ("LSTM", {}, [(4, 3), ((1, 2, 5), (1, 5))], "For unbatched 2-D input, hx and cx should also be "
     "2-D but got (3-D, 2-D) tensors"),
    ("LSTM", {"proj_size": 2}, [(4, 2, 3), ((1, 2, 5), (1, 2, 5))], "Expected hidden[0] size "
     "(1, 2, 2), got [1, 2, 5]: LSTM got an input of shape (4, 2, 3)"),
    ("LSTM", {}, [(4, 2, 3), ((1, 2, 5), (1, 2, 4))], "Expected hidden[1] size (1, 2, 5), got "
     "[1, 2, 4]: LSTM got an input of shape (4, 2, 3)"),
    ("LSTM", {}, [(4, 2, 3), (1, 2, 5)], "LSTM: hx must be a pair (h_0, c_0), got ndarray"),
    ("LSTM", {}, [(4, 2, 3), ((1, 2, 5),)], "LSTM: hx must be a pair (h_0, c_0), got 1 of them"),
    ("GRU", {}, [(4, 2, 3), ((1, 2, 5), (1, 2, 5))], "GRU: hx must be one array h_0, got 2 of "
     "them"),
    ("LSTM", {}, [PackedSequence()], "LSTM: a PackedSequence is not supported: call the layer with "
     "the padded sequences, and use no output beyond the length of a sequence"),
    ("LSTM", {}, ["text"], "LSTM: argument 'input' must be an array, not str"),
    ("GRUCell", {}, [(2, 3), (5,)], "GRUCell: input and state must both have a batch axis, or "
     "neither: GRUCell got an input of shape (2, 3) and a state of shape (5,)"),
    ("LSTMCell", {}, [(2, 3), ((2, 5), (3, 5))], "Input batch size 2 doesn't match hidden1 batch "
     "size 3: LSTMCell got an input of shape (2, 3) and a state of shape (3, 5)"),
    ("RNNCell", {}, [(2, 2, 3)], "RNNCell: Expected input to be 1D or 2D, got 3D instead: shape "
     "(2, 2, 3)"),
]  # fmt: skip


def filled(shape):
    if not isinstance(shape, tuple):
        return shape
    return tuple(map(filled, shape)) if isinstance(shape[0], tuple) else np.zeros(shape, "float32")


@pytest.mark.parametrize(("name", "kw", "shapes", "text"), REFUSED)
def test_errors(name, kw, shapes, text):
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(text)}$"):
        layer = getattr(jnn, name)(3, 5, **{"rngs": keys(), **kw})
        layer(*map(filled, shapes))


# --- parameters, dtypes, transformations ----------------------------------------------------------


def test_first_parameters_are_torchs_distribution():
    for layer in (jnn.LSTM(30, 64, 2, rngs=keys()), jnn.GRUCell(30, 64, rngs=keys())):
        params = nnx.to_pure_dict(nnx.state(layer, nnx.Param))
        for value in params.values():
            assert np.abs(value).max() <= 1 / sqrt(64)
            np.testing.assert_allclose(np.std(value), 1 / sqrt(64) / sqrt(3), rtol=0.15)
        assert len({float(value.ravel()[0]) for value in params.values()}) == len(params)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_narrow_dtypes(rng, dtype):
    """Torch in float64 judges: the error is some roundings, and does not grow with the steps."""
    for name in ("LSTM", "GRU"):
        theirs, ours = pair(name, IN, H, 2)
        ours.dtype = jnp.dtype(dtype)
        x = rng.normal(size=(40, N, IN))
        y, state = ours(x)
        expected, _ = theirs(to_torch(x))
        assert {a.dtype for a in jax.tree.leaves((y, state))} == {jnp.dtype(dtype)}
        eps = float(jnp.finfo(dtype).eps)
        np.testing.assert_allclose(y.astype("float64"), to_numpy(expected), atol=4 * eps, rtol=0)


def test_an_integer_state_is_not_the_input():
    """Inputs of integers are refused; a state of another float dtype is cast to `dtype`."""
    layer = jnn.GRU(IN, H, dtype=jnp.float32, rngs=keys())
    y, h = layer(np.ones((L, N, IN), "float16"), np.zeros((1, N, H)))
    assert y.dtype == h.dtype == jnp.float32
    with pytest.raises(ValueError, match=r"^RNN input dtype \(int32\) does not match weight dtype"):
        layer(np.ones((L, N, IN), "int32"))


def test_vmap_and_forward_mode(rng):
    theirs, ours = pair("LSTM", IN, H, bidirectional=True)
    x = rng.normal(size=(3, L, N, IN))
    many, _ = jax.vmap(lambda x: ours(x))(x)
    for got, one in zip(many, x, strict=True):
        np.testing.assert_allclose(got, to_numpy(theirs(to_torch(one))[0]), rtol=1e-11)
    tangent = rng.normal(size=x[0].shape)
    _, got = jax.jvp(lambda x: ours(x)[0], (jnp.asarray(x[0]),), (jnp.asarray(tangent),))
    _, expected = torch.autograd.functional.jvp(
        lambda x: theirs(x)[0], to_torch(x[0]), to_torch(tangent)
    )
    np.testing.assert_allclose(got, to_numpy(expected), rtol=1e-9, atol=1e-12)


def test_one_scan_and_one_product_of_the_inputs():
    """For each layer and direction; the scan has the product of the hidden state alone."""
    layer = jnn.LSTM(IN, H, 2, bidirectional=True, rngs=keys())
    text = jax.make_jaxpr(lambda x: layer(x)[0])(np.ones((L, N, IN), "float32"))
    outside = [e.primitive.name for e in text.eqns]
    assert outside.count("scan") == outside.count("dot_general") == 4
    for equation in text.eqns:
        if equation.primitive.name == "scan":
            inside = [e.primitive.name for e in equation.params["jaxpr"].eqns]
            assert inside.count("dot_general") == 1


# --- dropout --------------------------------------------------------------------------------------


def test_dropout_is_between_the_layers():
    """A layer 1 that passes its positive inputs on shows the mask of layer 0's outputs."""
    layer = jnn.RNN(1, 50, 2, "relu", False, dropout=0.25, **WIDE, rngs=keys())
    layer.weight_ih_l0[...] = jnp.ones((50, 1))
    layer.weight_hh_l0[...] = layer.weight_hh_l1[...] = jnp.zeros((50, 50))
    layer.weight_ih_l1[...] = jnp.eye(50)
    x = np.ones((40, 3, 1))
    y, h = layer(x)
    np.testing.assert_allclose(np.unique(y), [0, 4 / 3], rtol=1e-6)
    assert abs(float((y == 0).mean()) - 0.25) < 0.03  # of 6000
    np.testing.assert_array_equal(h[0], 1)  # the state of layer 0 is without it
    again, _ = layer(x)
    assert (np.asarray(again) != np.asarray(y)).any()
    np.testing.assert_array_equal(layer(x, deterministic=True)[0], 1)
    np.testing.assert_array_equal(nnx.view(layer, deterministic=True)(x)[0], 1)
    layer.eval()
    np.testing.assert_array_equal(layer(x)[0], 1)
    one, two = (layer(x, deterministic=False, rngs=nnx.Rngs(dropout=3))[0] for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert (np.asarray(one) == 0).any()
    layer.train()
    assert (np.asarray(nnx.jit(lambda m, x: m(x)[0])(layer, x)) == 0).any()


def test_dropout_of_everything_and_of_nothing(rng):
    theirs, ours = pair("GRU", IN, H, 2, dropout=1.0)
    theirs.train()
    ours.train()
    x = rng.normal(size=(L, N, IN))
    np.testing.assert_allclose(ours(x)[0], to_numpy(theirs(to_torch(x))[0]), rtol=1e-11)
    without = jnn.GRU(IN, H, 2, rngs=keys())
    assert nnx.state(without, nnx.RngState) == nnx.State({})
    np.testing.assert_array_equal(*(without(x.astype("float32"))[0] for _ in range(2)))


def test_dropout_without_a_second_layer_warns_at_the_users_line():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        jnn.LSTM(IN, H, dropout=0.5, rngs=keys())
    (warning,) = caught
    assert warning.filename == __file__
    assert str(warning.message) == (
        "dropout option adds dropout after all but last recurrent layer, so non-zero dropout "
        "expects num_layers greater than 1, but got dropout=0.5 and num_layers=1"
    )


def test_repr():
    layer = jnn.RNN(3, 5, 2, "relu", rngs=keys())
    assert repr(layer) == (
        "RNN(input_size=3, hidden_size=5, num_layers=2, nonlinearity='relu', bias=True, "
        "batch_first=False, dropout=0.0, bidirectional=False)"
    )
    assert repr(jnn.GRUCell(3, 5, rngs=keys())) == "GRUCell(input_size=3, hidden_size=5, bias=True)"
