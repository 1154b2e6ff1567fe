"""Torch's own test data, and what torch says of layers: values, counts of FLOPs, parameters.

Two corpora that torch ships: the OpInfo samples of the six functions, and the layer entries of
``common_nn``. Their sizes are asserted, so that an empty one cannot pass.
"""

from functools import partial
from itertools import product
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.cases import CASES, TRANSPOSED_GRID
from support.helpers import assert_same, to_first, to_last, tolerance, whole
from support.torch_bridge import LAYERS, convolve, layer, quiet_same, to_numpy, to_torch, torch

import jaxgroups as jg
import jaxgroups.nnx
from jaxgroups.convert import bias_from_torch, kernel_from_torch

pytest.importorskip("expecttest")  # torch's test data imports it
invocations = pytest.importorskip("torch.testing._internal.common_methods_invocations")
common_nn = pytest.importorskip("torch.testing._internal.common_nn")
flop_counter = pytest.importorskip("torch.utils.flop_counter")

SIZES = {  # samples of one dtype
    "conv1d": 10,
    "conv2d": 30,
    "conv3d": 20,
    "conv_transpose1d": 10,
    "conv_transpose2d": 12,
    "conv_transpose3d": 10,
}
HALVES = ("float16", "bfloat16")
DTYPES = ("float64", "float32", "complex64", "complex128", "int64")
SLOW = ("float64", "complex64", "float16")  # another width of what the others test


def by_dtype(names):
    """A parameter for each dtype; those of `SLOW` are slow."""
    marked = [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in names]
    return pytest.mark.parametrize("dtype", marked)


def samples(op, dtype):
    """(x, weight, bias) as tensors and the keyword arguments, of every OpInfo sample."""
    (info,) = [i for i in invocations.op_db if i.name == f"nn.functional.{op}"]
    torch.manual_seed(0)
    for sample in info.sample_inputs("cpu", getattr(torch, dtype)):
        weight, bias = sample.args
        yield (sample.input, weight, bias), sample.kwargs


def ours(op, tensors, kwargs):
    """`jg.<op>` on copies of the tensors, compiled as one."""
    return jax.jit(partial(getattr(jg, op), **kwargs))(*map(to_numpy, tensors))


def theirs(op, tensors, kwargs):
    with quiet_same():
        return getattr(torch.nn.functional, op)(*tensors, **kwargs)


def terms_and_scale(op, tensors):
    """How many products one output sums, the bias with them, and how large they can be."""
    x, weight, bias = tensors
    inputs = weight.shape[0 if "transpose" in op else 1]
    scale = x.abs().max() * weight.abs().max()
    if bias is not None:
        scale = max(scale, bias.abs().max())
    return inputs * prod(weight.shape[2:]) + 1, float(scale)


def test_corpus_is_whole():
    for dtype in DTYPES + HALVES:
        sizes = {op: len(list(samples(op, dtype))) for op in SIZES}
        assert sizes == SIZES
        assert sum(sizes.values()) == 92


@by_dtype(DTYPES)
@pytest.mark.parametrize("op", SIZES)
def test_samples(op, dtype):
    for tensors, kwargs in samples(op, dtype):
        expected = to_numpy(theirs(op, tensors, kwargs))
        atol = 0.0 if dtype == "int64" else tolerance(dtype, *terms_and_scale(op, tensors))
        assert_same(ours(op, tensors, kwargs), expected, atol)


@by_dtype(HALVES)
@pytest.mark.parametrize("op", SIZES)
def test_samples_in_half_precision(op, dtype):
    """Against float64: sums in float32, then one rounding, which errs by half an eps at most."""
    for tensors, kwargs in samples(op, dtype):
        wide = [None if t is None else t.double() for t in tensors]
        truth = to_numpy(theirs(op, wide, kwargs))
        y = ours(op, tensors, kwargs)
        assert y.dtype == dtype
        rounding = float(jnp.finfo(dtype).eps) / 2 * np.abs(truth).max()
        atol = rounding + tolerance("float32", *terms_and_scale(op, wide))
        assert_same(y.astype("float64"), truth, atol)


@by_dtype(HALVES)
@pytest.mark.parametrize("op", SIZES)
def test_samples_in_half_precision_round_once(rng, op, dtype):
    """Whole numbers in the samples' shapes: the exact result, rounded once, bit for bit."""
    for tensors, kwargs in samples(op, dtype):
        values = [None if t is None else whole(rng, t.shape, bound=4) for t in tensors]
        truth = to_numpy(theirs(op, map(to_torch, values), kwargs))
        half = [None if v is None else to_torch(v.astype(jnp.dtype(dtype))) for v in values]
        assert_same(ours(op, half, kwargs), truth.astype(jnp.dtype(dtype)))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("op", ["conv2d", "conv_transpose2d"])
def test_half_precision_accumulates_in_float32(rng, op, dtype):
    """Long sums of one sign, whose parts no longer fit the dtype: it would round at every step."""
    x = np.abs(whole(rng, (2, 256, 6, 5), bound=4))
    weight = np.abs(whole(rng, (256, 128, 3, 3), bound=4))
    bias = whole(rng, (256,), bound=4)
    kwargs = {"padding": 1, "groups": 2}
    truth = to_numpy(theirs(op, map(to_torch, (x, weight, bias)), kwargs))
    half = [to_torch(v.astype(jnp.dtype(dtype))) for v in (x, weight, bias)]
    expected = truth.astype(jnp.dtype(dtype))
    assert np.mean(expected.astype("float64") == truth) < 0.5, "the dtype must be too short"
    assert_same(ours(op, half, kwargs), expected)


# --- integers ------------------------------------------------------------------------------------


INTEGERS = [  # torch transposes convolutions of int64 only, and so does jaxgroups
    *product(("conv1d", "conv2d", "conv3d"), ("int8", "uint8", "int16", "int32", "int64")),
    *product(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), ("int64",)),
]


@pytest.mark.parametrize(("op", "dtype"), INTEGERS)
@pytest.mark.parametrize("large", [False, True])
def test_integers(rng, op, dtype, large):
    """Exact, and where the dtype overflows, modulo its range as torch's."""
    rank = int(op[-2])
    bound = np.iinfo(dtype).max if large else 2
    channels = (4, 3) if "transpose" in op else (6, 2)
    shapes = (2, 4, *(5, 6, 4)[:rank]), (*channels, *(3, 2, 2)[:rank]), (6,)
    x, weight, bias = (whole(rng, shape, dtype, bound) for shape in shapes)
    kwargs = {"stride": 2, "padding": 1, "groups": 2}
    expected = to_numpy(theirs(op, map(to_torch, (x, weight, bias)), kwargs))
    wide = [to_torch(a.astype("float64")) for a in (x, weight, bias)]
    overflows = np.any(to_numpy(theirs(op, wide, kwargs)) != expected)
    assert overflows == (large or dtype == "uint8")
    assert_same(ours(op, map(to_torch, (x, weight, bias)), kwargs), expected)


# --- layers --------------------------------------------------------------------------------------


def assert_layer(rng, name, args, kwargs, shape):
    """A torch layer in float64, our layer of the same arguments, our function: equal exactly."""
    theirs = getattr(torch.nn, name)(*args, **kwargs).double()
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(to_torch(whole(rng, tuple(p.shape))))
    x = whole(rng, shape)
    with torch.no_grad(), quiet_same():
        expected = to_numpy(theirs(to_torch(x)))

    rank = int(name[-2])
    layer = getattr(jaxgroups.nnx, name)(*args, **kwargs, rngs=nnx.Rngs(0), param_dtype="float64")
    layer.kernel[...] = jnp.asarray(kernel_from_torch(theirs.weight, layer))
    assert (layer.bias is None) == (theirs.bias is None)
    if layer.bias is not None:
        layer.bias[...] = jnp.asarray(bias_from_torch(theirs.bias))
    assert_same(to_first(nnx.jit(layer)(to_last(x, rank)), rank), expected)

    how = {k: getattr(theirs, k) for k in ("stride", "padding", "dilation", "groups")}
    if theirs.transposed:
        how["output_padding"] = theirs.output_padding
    else:
        how["padding_mode"] = theirs.padding_mode
    op = name.lower().replace("transpose", "_transpose")
    assert_same(ours(op, (to_torch(x), theirs.weight, theirs.bias), how), expected)


def entries():
    for entry in common_nn.get_new_module_tests():
        name = entry.get("fullname") or "_".join([entry["module_name"], entry.get("desc", "")])
        if name.startswith("Conv"):
            yield pytest.param(entry, id=name)


ENTRIES = list(entries())


def test_entries_are_all_there():
    assert len(ENTRIES) == 62
    assert len({p.id for p in ENTRIES}) == 62


@pytest.mark.parametrize("entry", ENTRIES)
def test_entry(rng, monkeypatch, entry):
    calls = []

    def recorder(name, cls):
        def record(*args, **kwargs):
            calls.append((name, args, kwargs))
            return cls(*args, **kwargs)

        return record

    if "constructor" in entry:  # a lambda: listen to what it asks torch for
        with monkeypatch.context() as patch:
            for name in LAYERS:
                patch.setattr(torch.nn, name, recorder(name, getattr(torch.nn, name)))
            entry["constructor"]()
    else:
        calls.append((entry["module_name"], entry["constructor_args"], {}))
    ((name, args, kwargs),) = calls
    assert_layer(rng, name, args, kwargs, entry["input_size"])


PADDINGS = {"by-axis": ((2, 1, 3), (3, 3, 2)), "same": ("same", (4, 2, 3)), "valid": ("valid", 2)}


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("rank", "batch"), [(1, (2,)), (2, (2,)), (2, ()), (3, (2,))])
def test_padding_modes(rng, mode, padding, rank, batch):
    pads, kernel = (v[:rank] if isinstance(v, tuple) else v for v in PADDINGS[padding])
    kwargs = {"padding": pads, "padding_mode": mode, "groups": 2}
    assert_layer(rng, f"Conv{rank}d", (4, 6, kernel), kwargs, (*batch, 4, *(5, 4, 6)[:rank]))


# --- counts --------------------------------------------------------------------------------------

COUNTED = [
    *(pytest.param(spec, id=name) for name, spec in CASES.items()),
    *(pytest.param(spec, id=str(spec)) for spec in TRANSPOSED_GRID),
]


@pytest.mark.parametrize("spec", COUNTED)
def test_flops_and_parameters_are_torchs(spec):
    theirs = layer(spec)
    assert spec.parameters == sum(p.numel() for p in theirs.parameters())
    assert spec.torch_weight_shape == tuple(theirs.weight.shape)
    x = torch.zeros(*spec.batch, spec.in_channels, *spec.size, dtype=torch.float64)
    with flop_counter.FlopCounterMode(display=False) as counter:
        y = convolve(spec, x, theirs.weight, theirs.bias)
    assert spec.flops == counter.get_total_flops()
    assert spec.output_shape == tuple(y.shape)
    assert spec.flops > 0 or 0 in spec.batch
