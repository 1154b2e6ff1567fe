"""Kernels and biases between torch and Flax: bit for bit, element by element, and by outputs."""

from itertools import product

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from conftest import TORCH
from flax import linen as flax_linen
from flax import nnx as flax_nnx
from support import reference
from support.helpers import arguments, arrays, assert_same, to_last, whole

import jaxgroups as jg
from jaxgroups import convert, linen, nnx
from jaxgroups.convert import bias_from_torch, bias_to_torch, kernel_from_torch, kernel_to_torch

DTYPES = [
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "complex64",
    "complex128",
    "int8",
    "int64",
]
SPATIAL = {1: (5,), 2: (3, 2), 3: (2, 3, 4)}
CHANNELS, OUT = 6, 12
needs_torch = pytest.mark.skipif(not TORCH, reason="torch is not installed")
dtypes = pytest.mark.parametrize("dtype", DTYPES)
ranks = pytest.mark.parametrize("rank", [1, 2, 3])
kinds = pytest.mark.parametrize("kind", convert.KINDS)


def numpy_dtype(name):
    return np.dtype(getattr(ml_dtypes, name) if name == "bfloat16" else name)


def bits(rng, shape, dtype):
    """Random bits of any dtype, so every kind of NaN, infinity and denormal is among them."""
    dtype = numpy_dtype(dtype)
    size = int(np.prod(shape))
    return np.frombuffer(bytearray(rng.bytes(size * dtype.itemsize)), dtype).reshape(shape)


def nans(dtype):
    """Three NaNs of different payload: quiet, signalling with low bits set, negative."""
    patterns = {
        "float16": ("u2", [0x7E00, 0x7C2A, 0xFE07]),
        "bfloat16": ("u2", [0x7FC0, 0x7F95, 0xFFC7]),
        "float32": ("u4", [0x7FC00000, 0x7F800123, 0xFFC00456]),
        "float64": ("u8", [0x7FF8000000000000, 0x7FF0000000000123, 0xFFF8000000000456]),
    }
    kind, values = patterns[dtype]
    return np.array(values, kind).view(numpy_dtype(dtype))


def torch_shape(kind, rank, groups):
    """Shape of torch's weight: (out, in/g, *k), transposed (in, out/g, *k)."""
    if kind == "conv":
        return (OUT, CHANNELS // groups, *SPATIAL[rank])
    return (CHANNELS, OUT // groups, *SPATIAL[rank])


def kernel_by_elements(weight, kind):
    """The Flax kernel, one element after the other, as bits."""
    raw = weight.view(f"V{weight.itemsize}")
    first, second, *k = raw.shape
    if kind == "flax_conv_transpose":
        kernel = np.zeros((*k, first, second), raw.dtype)
    else:
        kernel = np.zeros((*k, second, first), raw.dtype)
    for f, s, *t in product(*map(range, raw.shape)):
        if kind == "flax_conv_transpose":  # Flax flips no kernel here, torch does
            mirrored = [n - 1 - i for n, i in zip(k, t, strict=True)]
            kernel[*mirrored, f, s] = raw[f, s, *t]
        else:
            kernel[*t, s, f] = raw[f, s, *t]
    return kernel


def assert_bits(actual, expected, dtype):
    """Same shape, dtype and bytes; a new C-ordered array that owns what it holds."""
    assert type(actual) is np.ndarray
    assert actual.dtype == numpy_dtype(dtype)
    assert actual.shape == expected.shape
    assert actual.tobytes() == expected.tobytes()
    assert actual.flags.c_contiguous
    assert actual.flags.writeable
    assert actual.flags.owndata


# --- bit for bit ----------------------------------------------------------------------------------


@dtypes
@ranks
@pytest.mark.parametrize("groups", [1, 2, CHANNELS])
@kinds
def test_kernel_is_the_definition_bit_for_bit(rng, kind, groups, rank, dtype):
    weight = bits(rng, torch_shape(kind, rank, groups), dtype)
    before = weight.tobytes()
    kernel = kernel_from_torch(weight, kind)
    assert_bits(kernel, kernel_by_elements(weight, kind), dtype)
    back = kernel_to_torch(kernel, kind)
    assert_bits(back, weight, dtype)
    for a, b in ((kernel, weight), (back, kernel), (back, weight)):
        assert not np.shares_memory(a, b)
    kernel.view("u1")[...] = 0
    assert weight.tobytes() == before == back.tobytes()


@dtypes
def test_bias_bit_for_bit(rng, dtype):
    bias = bits(rng, (OUT,), dtype)
    before = bias.tobytes()
    for move in (bias_from_torch, bias_to_torch):
        moved = move(bias)
        assert_bits(moved, bias, dtype)
        assert not np.shares_memory(moved, bias)
        moved.view("u1")[...] = 0
        assert bias.tobytes() == before


@kinds
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_nan_payloads_survive(rng, kind, dtype):
    payloads = nans(dtype)
    with np.errstate(invalid="ignore"):  # a signalling NaN may complain
        assert np.isnan(payloads).all()
    weight = np.resize(payloads, 2 * 3 * 5).reshape(2, 3, 5)
    kernel = kernel_from_torch(weight, kind)
    assert kernel.tobytes() == kernel_by_elements(weight, kind).tobytes()
    assert kernel_to_torch(kernel, kind).tobytes() == weight.tobytes()
    assert bias_to_torch(bias_from_torch(payloads)).tobytes() == payloads.tobytes()


@kinds
def test_a_kernel_of_one_element_an_axis_is_still_a_new_array(rng, kind):
    """Where a transpose moves nothing, a view would look contiguous."""
    weight = np.ones((1, 1, 1, 1), "float32")
    for array in (kernel_from_torch(weight, kind), kernel_to_torch(weight, kind)):
        assert array.flags.owndata
        assert not np.shares_memory(array, weight)


@kinds
@pytest.mark.parametrize("layout", ["read-only", "strided", "reversed", "fortran", "big-endian"])
def test_any_memory_layout(rng, kind, layout):
    weight = bits(rng, torch_shape(kind, 2, 2), "int64")
    if layout == "read-only":
        given = weight.copy()
        given.flags.writeable = False
    elif layout == "strided":
        given = np.repeat(weight, 2, axis=1)[:, ::2]
    elif layout == "reversed":
        given = np.ascontiguousarray(weight[::-1, :, ::-1])[::-1, :, ::-1]
    elif layout == "fortran":
        given = np.asfortranarray(weight)
    else:
        given = weight.astype(">i8")
        np.testing.assert_array_equal(
            kernel_from_torch(given, kind), kernel_from_torch(weight, kind)
        )
        return
    assert_bits(kernel_from_torch(given, kind), kernel_by_elements(weight, kind), "int64")
    kernel = np.ascontiguousarray(kernel_from_torch(weight, kind))
    assert_bits(kernel_to_torch(np.asfortranarray(kernel), kind), weight, "int64")


@dtypes
@kinds
def test_jax_arrays_and_params(rng, kind, dtype):
    weight = bits(rng, torch_shape(kind, 2, 2), dtype)
    kernel = kernel_by_elements(weight, kind)
    assert_bits(kernel_from_torch(jnp.asarray(weight), kind), kernel, dtype)
    held = jnp.asarray(kernel.view(numpy_dtype(dtype)))
    assert_bits(kernel_to_torch(held, kind), weight, dtype)
    assert_bits(kernel_to_torch(flax_nnx.Param(held), kind), weight, dtype)
    bias = bits(rng, (OUT,), dtype)
    assert_bits(bias_to_torch(jnp.asarray(bias)), bias, dtype)
    assert_bits(bias_to_torch(flax_nnx.Param(jnp.asarray(bias))), bias, dtype)


# --- torch's tensors ------------------------------------------------------------------------------


def to_tensor(array):
    import torch

    if array.dtype == numpy_dtype("bfloat16"):
        return torch.from_numpy(array.view("int16")).view(torch.bfloat16)
    return torch.from_numpy(array)


@needs_torch
@dtypes
@kinds
def test_torch_tensors(rng, kind, dtype):
    import torch

    weight = bits(rng, torch_shape(kind, 2, 2), dtype)
    tensor = to_tensor(weight.copy())
    assert str(tensor.dtype) == f"torch.{dtype}"
    kernel = kernel_from_torch(tensor, kind)
    assert_bits(kernel, kernel_by_elements(weight, kind), dtype)
    kernel.view("u1")[...] = 0
    assert tensor.view(torch.uint8).numpy().tobytes() == weight.tobytes()
    back = to_tensor(kernel_to_torch(kernel_from_torch(tensor, kind), kind))
    assert back.dtype == tensor.dtype
    assert back.view(torch.uint8).numpy().tobytes() == weight.tobytes()
    turned = to_tensor(np.ascontiguousarray(weight.T)).permute(3, 2, 1, 0)  # not contiguous
    assert_bits(kernel_from_torch(turned, kind), kernel_by_elements(weight, kind), dtype)
    bias = bits(rng, (OUT,), dtype)
    assert_bits(bias_from_torch(to_tensor(bias)), bias, dtype)


@needs_torch
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_torch_parameters_that_require_gradients(dtype):
    import torch

    layer = torch.nn.Conv2d(4, 8, (3, 2), groups=2, dtype=getattr(torch, dtype))
    assert layer.weight.requires_grad
    kernel = kernel_from_torch(layer.weight, "conv")
    assert kernel.shape == (3, 2, 2, 8)
    assert kernel.dtype == numpy_dtype(dtype)
    assert bias_from_torch(layer.bias).dtype == numpy_dtype(dtype)
    with torch.no_grad():
        layer.load_state_dict(
            {"weight": to_tensor(kernel_to_torch(kernel, "conv")), "bias": layer.bias}
        )
    assert kernel_from_torch(layer.weight, "conv").tobytes() == kernel.tobytes()


@needs_torch
def test_torch_tensors_that_are_lazily_conjugated_or_negated(rng):
    """Torch keeps conj() as a bit of the tensor, which its numpy() refuses."""
    import torch

    weight = whole(rng, (6, 2, 3, 3), "complex64")
    tensor = torch.from_numpy(weight)
    assert_same(kernel_from_torch(tensor.conj(), "conv"), kernel_from_torch(weight.conj(), "conv"))
    negative = tensor.conj().imag
    assert negative.is_neg()
    assert_same(kernel_from_torch(negative, "conv"), kernel_from_torch(-weight.imag, "conv"))


# --- the layer decides ----------------------------------------------------------------------------


def layers_of(kind, transpose_kernel=False):
    """Layers of 4 -> 6 channels, kernel (3, 2), one of each library that holds this kind."""
    rngs = flax_nnx.Rngs(0)
    if kind == "conv":
        return [
            nnx.Conv2d(4, 6, (3, 2), groups=2, rngs=rngs),
            linen.Conv2d(6, (3, 2), groups=2),
            linen.Conv2d(6, (3, 2), groups=2, in_channels=4),
            flax_nnx.Conv(4, 6, (3, 2), feature_group_count=2, rngs=rngs),
            flax_linen.Conv(6, (3, 2), feature_group_count=2),
        ]
    transposed = kind == "conv_transpose"
    flax = [
        flax_nnx.ConvTranspose(4, 6, (3, 2), transpose_kernel=transposed, rngs=rngs),
        flax_linen.ConvTranspose(6, (3, 2), transpose_kernel=transposed),
    ]
    ours = [
        nnx.ConvTranspose2d(4, 6, (3, 2), rngs=rngs),
        linen.ConvTranspose2d(6, (3, 2)),
        linen.ConvTranspose2d(6, (3, 2), in_channels=4),
    ]
    return flax + (ours if transposed else [])


@kinds
def test_a_layer_says_its_kind(rng, kind):
    shape = (6, 2, 3, 2) if kind == "conv" else (4, 6, 3, 2)
    weight = bits(rng, shape, "float32")
    expected = kernel_by_elements(weight, kind)
    layers = layers_of(kind)
    assert len(layers) >= 2
    for layer in layers:
        kernel = kernel_from_torch(weight, layer)
        assert_bits(kernel, expected, "float32")
        assert_bits(kernel_to_torch(kernel, layer), weight, "float32")
        if hasattr(layer, "kernel"):
            assert layer.kernel.shape == kernel.shape


@pytest.mark.parametrize("cls", ["Conv1d", "Conv3d", "ConvTranspose1d", "ConvTranspose3d"])
def test_every_rank_of_layer(rng, cls):
    kind = "conv_transpose" if "Transpose" in cls else "conv"
    rank = int(cls[-2])
    layer = getattr(nnx, cls)(CHANNELS, OUT, SPATIAL[rank], groups=2, rngs=flax_nnx.Rngs(0))
    weight = bits(rng, torch_shape(kind, rank, 2), "float32")
    assert_bits(kernel_from_torch(weight, layer), kernel_by_elements(weight, kind), "float32")
    layer.kernel[...] = kernel_from_torch(weight, layer)
    assert_bits(kernel_to_torch(layer.kernel, layer), weight, "float32")


@kinds
def test_a_weight_of_another_shape_than_the_layer_needs(kind):
    shape = (6, 4, 3, 2) if kind == "conv" else (4, 3, 3, 2)  # groups wrong
    knowing = [
        m for m in layers_of(kind) if hasattr(m, "kernel") or getattr(m, "in_channels", None)
    ]
    assert knowing
    for layer in knowing:
        with pytest.raises(ValueError, match=r"does not fit this layer, which needs \(3, 2,"):
            kernel_from_torch(np.ones(shape, "float32"), layer)
        wrong = kernel_from_torch(np.ones(shape, "float32"), kind)
        with pytest.raises(ValueError, match=r"does not fit this layer, which needs \(3, 2,"):
            kernel_to_torch(wrong, layer)


@pytest.mark.parametrize("move", [kernel_from_torch, kernel_to_torch])
def test_what_is_refused(move):
    weight = np.ones((6, 2, 3, 2), "float32")
    for name in ("Conv2d", "conv2d", "", "CONV"):
        with pytest.raises(
            ValueError, match="layer must be one of conv, conv_transpose, flax_conv"
        ):
            move(weight, name)
    for layer in (None, nnx.Conv2d, 2, flax_nnx.Linear(2, 3, rngs=flax_nnx.Rngs(0))):
        with pytest.raises(TypeError, match="layer must say which kind of convolution"):
            move(weight, layer)
    for shape in ((), (3,), (3, 3), (1,) * 6):
        with pytest.raises(ValueError, match="1 to 3 spatial"):
            move(np.ones(shape, "float32"), "conv")


@pytest.mark.parametrize("move", [bias_from_torch, bias_to_torch])
@pytest.mark.parametrize("shape", [(), (1, 3)])
def test_a_bias_has_one_axis(move, shape):
    with pytest.raises(ValueError, match="a bias is 1-dimensional"):
        move(np.ones(shape, "float32"))


# --- into Flax's own layers: what they compute ----------------------------------------------------

CONVS = [
    "conv1d in=6 out=4 kernel=3 stride=2 padding=2 groups=2 batch=2 size=8",
    "conv2d in=4 out=6 kernel=3x2 stride=1x2 padding=1x0 dilation=2x1 groups=2 batch=2 size=5x6",
    "conv2d in=4 out=8 kernel=3 padding=1 groups=4 batch=2 size=4x5",
    "conv2d in=3 out=4 kernel=2 bias=False batch=1 size=4x5",
    "conv3d in=4 out=6 kernel=2x3x1 padding=1x0x1 groups=2 batch=1 size=3x5x4",
]
TRANSPOSES = [
    "conv_transpose1d in=4 out=6 kernel=5 stride=3 padding=2 batch=2 size=4",
    "conv_transpose2d in=4 out=6 kernel=3x2 stride=2x3 padding=1x0 batch=2 size=3x4",
    "conv_transpose2d in=2 out=3 kernel=3x2 stride=2 padding=2 dilation=2x3 batch=1 size=4x5",
    "conv_transpose2d in=3 out=2 kernel=2 bias=False batch=1 size=3x4",
    "conv_transpose3d in=2 out=3 kernel=2x3x1 stride=1x2x3 padding=0x1x0 batch=1 size=2x3x4",
]


def specs(texts):
    return [pytest.param(jg.ConvSpec.parse(text), id=text) for text in texts]


def flax_output(module, spec, x, w, b):
    """What a Flax layer, nnx or linen, computes from torch's weight and bias; torch's layout."""
    x = np.asarray(to_last(x, spec.rank))
    kernel = kernel_from_torch(w, module)
    if isinstance(module, flax_nnx.Module):
        module.kernel[...] = jnp.asarray(kernel)
        if b is not None:
            module.bias[...] = jnp.asarray(bias_from_torch(b))
        y = module(x)
    else:
        params = {"kernel": kernel} | ({} if b is None else {"bias": bias_from_torch(b)})
        y = module.apply({"params": params}, x)
    return np.moveaxis(np.asarray(y), -1, 1)


def torch_output(spec, x, w, b):
    import torch

    kw = {k: v for k, v in arguments(spec).items() if k != "padding_mode"}
    function = getattr(torch.nn.functional, spec.op)
    tensors = [None if a is None else torch.from_numpy(a) for a in (x, w, b)]
    return function(*tensors, **kw).numpy()


@pytest.mark.parametrize("library", ["nnx", "linen"])
@pytest.mark.parametrize("spec", specs(CONVS))
def test_flax_conv_computes_what_torch_does(rng, spec, library):
    x, w, b = arrays(rng, spec, "float32")
    settings = {
        "kernel_size": spec.kernel_size,
        "strides": spec.stride,
        "padding": spec.padding,
        "kernel_dilation": spec.dilation,
        "feature_group_count": spec.groups,
        "use_bias": spec.bias,
    }
    if library == "nnx":
        rngs = flax_nnx.Rngs(0)
        module = flax_nnx.Conv(spec.in_channels, spec.out_channels, **settings, rngs=rngs)
    else:
        module = flax_linen.Conv(spec.out_channels, **settings)
    y = flax_output(module, spec, x, w, b)
    assert_same(y, reference.of_spec(spec, x, w, b))
    if TORCH:
        assert_same(y, torch_output(spec, x, w, b))


@pytest.mark.parametrize("library", ["nnx", "linen"])
@pytest.mark.parametrize("transpose_kernel", [True, False])
@pytest.mark.parametrize("spec", specs(TRANSPOSES))
def test_flax_conv_transpose_computes_what_torch_does(rng, spec, transpose_kernel, library):
    x, w, b = arrays(rng, spec, "float32")
    window = zip(spec.kernel_size, spec.dilation, spec.padding, strict=True)
    settings = {
        "kernel_size": spec.kernel_size,
        "strides": spec.stride,
        "padding": [(d * (k - 1) - lo, d * (k - 1) - hi) for k, d, (lo, hi) in window],
        "kernel_dilation": spec.dilation,
        "use_bias": spec.bias,
        "transpose_kernel": transpose_kernel,
    }
    if library == "nnx":
        rngs = flax_nnx.Rngs(0)
        module = flax_nnx.ConvTranspose(spec.in_channels, spec.out_channels, **settings, rngs=rngs)
    else:
        module = flax_linen.ConvTranspose(spec.out_channels, **settings)
    y = flax_output(module, spec, x, w, b)
    assert_same(y, reference.of_spec(spec, x, w, b))
    if TORCH:
        assert_same(y, torch_output(spec, x, w, b))


@needs_torch
@pytest.mark.parametrize("spec", specs(CONVS + TRANSPOSES))
def test_a_torch_layer_moves_into_ours(spec):
    """A whole torch layer as it stands, random floats and all."""
    import torch

    torch.manual_seed(0)
    name = spec.op.replace("conv_transpose", "ConvTranspose").replace("conv", "Conv")
    kw = {k: v for k, v in arguments(spec).items() if k != "padding_mode"} | {"bias": spec.bias}
    args = (spec.in_channels, spec.out_channels, spec.kernel_size)
    theirs = getattr(torch.nn, name)(*args, **kw, dtype=torch.float64)
    x = torch.randn((*spec.batch, spec.in_channels, *spec.size), dtype=torch.float64)
    expected = theirs(x).detach().numpy()

    layer = getattr(nnx, name)(*args, **kw, param_dtype="float64", rngs=flax_nnx.Rngs(0))
    layer.kernel[...] = kernel_from_torch(theirs.weight, layer)
    if spec.bias:
        layer.bias[...] = bias_from_torch(theirs.bias)
    y = np.moveaxis(np.asarray(layer(np.asarray(to_last(x.numpy(), spec.rank)))), -1, 1)
    assert_same(y, expected, atol=1e-13)
