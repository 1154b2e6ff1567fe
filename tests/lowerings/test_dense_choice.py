"""The choice for convolutions without groups, where XLA's own is often the fastest.

Of each network: the choices for the forward convolution, the gradient of the input and that of the
weight, with AVX-512 kernels, with AVX2 kernels, and without kernels. A choice is a measurement:
`benchmarks/dense_layers.csv` has these layers, `python -m benchmarks.versus_lax` measures them.
"""

import jax
import pytest
from jax import lax
from support.layer_tables import ROOT

import jaxgroups as jg
from benchmarks import table, thresholds
from jaxgroups import ConvSpec
from jaxgroups import _native as native
from jaxgroups._lowerings import dispatch

STATUS = {
    "avx512": native.Status(None, instruction_sets=("avx512", "baseline")),
    "avx2": native.Status(None, instruction_sets=("avx2", "baseline")),
    "none": native.Status("the kernels are not compiled"),
}
N, M, X = "native", "matmul", "xla"
# name: descriptor, then forward, input, weight with each of STATUS
CHOSEN = {
    "filter bank": (
        "conv1d in=1 out=512 kernel=1024 stride=256 batch=1 size=16000",
        {"avx512": (X, M, M), "avx2": (X, M, M), "none": (X, M, M)},
    ),
    "short-time Fourier transform": (
        "conv1d in=1 out=1026 kernel=1024 stride=256 batch=1 size=160000",
        {"avx512": (X, M, M), "avx2": (X, M, M), "none": (X, M, M)},
    ),
    "inverse of it": (
        "conv_transpose1d in=1026 out=1 kernel=1024 stride=256 batch=1 size=100",
        {"avx512": (M, X, M), "avx2": (M, X, M), "none": (M, X, M)},
    ),
    "of 8 channels": (
        "conv1d in=8 out=514 kernel=512 stride=128 batch=1 size=8000",
        {"avx512": (X, N, M), "avx2": (X, N, M), "none": (X, M, M)},
    ),
    "ViT, batch 1": (
        "conv2d in=3 out=768 kernel=16 stride=16 batch=1 size=224",
        {"avx512": (M, M, M), "avx2": (M, M, M), "none": (M, M, M)},
    ),
    "ViT, batch 8": (
        "conv2d in=3 out=768 kernel=16 stride=16 batch=8 size=224",
        {"avx512": (M, M, M), "avx2": (M, M, M), "none": (M, M, M)},
    ),
    "video patches": (
        "conv3d in=3 out=768 kernel=2x16x16 stride=2x16x16 batch=1 size=8x160x160",
        {"avx512": (M, M, M), "avx2": (M, M, M), "none": (M, M, M)},
    ),
    "ConvNeXt stem": (
        "conv2d in=3 out=96 kernel=4 stride=4 batch=1 size=224",
        {"avx512": (M, M, M), "avx2": (M, M, M), "none": (M, M, M)},
    ),
    "HiFi-GAN upsampler": (
        "conv_transpose1d in=512 out=256 kernel=16 stride=8 padding=4 batch=1 size=100",
        {"avx512": (N, X, N), "avx2": (X, X, M), "none": (X, X, M)},
    ),
    "DAC": (
        "conv1d in=2048 out=256 kernel=7 padding=3 batch=1 size=200",
        {"avx512": (X, X, N), "avx2": (X, X, X), "none": (X, X, X)},
    ),
    "ResNet stem": (
        "conv2d in=3 out=64 kernel=7 stride=2 padding=3 batch=1 size=224",
        {"avx512": (N, N, X), "avx2": (X, X, X), "none": (X, X, X)},
    ),
    "ResNet 3x3": (
        "conv2d in=64 out=64 kernel=3 padding=1 batch=1 size=56",
        {"avx512": (N, N, N), "avx2": (X, X, X), "none": (X, X, X)},
    ),
    "WaveNet": (
        "conv1d in=64 out=128 kernel=2 dilation=512 batch=1 size=4000",
        {"avx512": (X, N, N), "avx2": (X, X, X), "none": (X, X, X)},
    ),
    "LeNet": (
        "conv2d in=6 out=16 kernel=5 batch=32 size=14",
        {"avx512": (N, N, X), "avx2": (N, N, X), "none": (X, X, X)},
    ),
    "DCGAN discriminator": (
        "conv2d in=64 out=128 kernel=4 stride=2 padding=1 batch=8 size=32",
        {"avx512": (X, N, N), "avx2": (X, X, X), "none": (X, X, X)},
    ),
    "DCGAN generator": (
        "conv_transpose2d in=256 out=128 kernel=4 stride=2 padding=1 batch=1 size=16",
        {"avx512": (N, X, N), "avx2": (X, X, M), "none": (X, X, M)},
    ),
    "three dimensions": (
        "conv3d in=64 out=64 kernel=3 padding=1 batch=1 size=8x28x28",
        {"avx512": (N, N, N), "avx2": (N, N, N), "none": (X, X, X)},
    ),
    "an image from three dimensions": (
        "conv3d in=128 out=3 kernel=3 padding=1 batch=1 size=8x28x28",
        {"avx512": (N, N, N), "avx2": (N, N, N), "none": (X, X, X)},
    ),
    "an image": (
        "conv2d in=64 out=3 kernel=3 padding=1 batch=1 size=128",
        {"avx512": (N, N, N), "avx2": (X, X, N), "none": (X, X, X)},
    ),
    # products of 16-bit floats
    "U-Net in three dimensions, bfloat16": (
        "conv3d in=32 out=64 kernel=1 batch=1 size=16x28x28 dtype=bfloat16",
        {"avx512": (M, M, N), "avx2": (M, M, N), "none": (M, M, M)},
    ),
    "U-Net in three dimensions, float16": (
        "conv3d in=32 out=64 kernel=1 batch=1 size=16x28x28 dtype=float16",
        {"avx512": (X, X, N), "avx2": (X, X, N), "none": (X, X, M)},
    ),
    "ResNet shortcut, bfloat16": (
        "conv2d in=256 out=512 kernel=1 stride=2 batch=1 size=56 dtype=bfloat16",
        {"avx512": (M, M, N), "avx2": (M, M, N), "none": (M, M, M)},
    ),
    "ResNet 1x1, bfloat16": (
        "conv2d in=256 out=64 kernel=1 batch=1 size=56 dtype=bfloat16",
        {"avx512": (N, N, N), "avx2": (N, N, N), "none": (M, M, M)},
    ),
    # with groups: what the kernels win stays with the kernels
    "wav2vec 2.0": (
        "conv1d in=768 out=768 kernel=128 padding=64 groups=16 batch=1 size=499",
        {"avx512": (N, N, N), "avx2": (X, X, N)},
    ),
    "groups of filter banks": (
        "conv1d in=8 out=4112 kernel=512 stride=128 groups=8 batch=1 size=8000",
        {"avx512": (X, M, M), "avx2": (X, M, M), "none": (X, M, M)},
    ),
    "groups of patches": (
        "conv2d in=64 out=96 kernel=2 stride=2 groups=4 batch=4 size=56",
        {"avx512": (N, N, N), "avx2": (N, N, N), "none": (X, M, M)},
    ),
    "groups in three dimensions": (
        "conv3d in=16 out=16 kernel=3 padding=1 groups=2 batch=1 size=16x28x28",
        {"avx512": (N, N, N), "avx2": (N, N, N)},
    ),
    "ResNeXt": (
        "conv2d in=128 out=128 kernel=3 padding=1 groups=32 batch=1 size=56",
        {"avx512": (N, N, N), "avx2": (N, N, N)},
    ),
    "MobileNet": (
        "conv2d in=128 out=128 kernel=3 stride=2 padding=1 groups=128 batch=1 size=56",
        {"avx512": (N, N, N), "avx2": (N, N, N)},
    ),
}


def choices(spec):
    """The choices for the forward convolution, the gradient of the input and of the weight."""
    forward, weight, input_ = thresholds.problems(spec)
    return tuple(
        dispatch.choose(problem, None, "cpu").lowering.name for problem in (forward, input_, weight)
    )


@pytest.mark.parametrize("kernels", STATUS)
@pytest.mark.parametrize("name", CHOSEN)
def test_the_choice_for_a_named_layer(monkeypatch, name, kernels):
    monkeypatch.setattr(native, "status", lambda: STATUS[kernels])
    text, expected = CHOSEN[name]
    if kernels not in expected:
        pytest.skip("measured with kernels only")
    spec = ConvSpec.parse(text)
    assert choices(spec) == expected[kernels]


@pytest.mark.parametrize("name", [n for n, (_, e) in CHOSEN.items() if e["avx2"] != (X, X, X)])
def test_a_refusal_names_its_reason(monkeypatch, name):
    monkeypatch.setattr(native, "status", lambda: STATUS["avx2"])
    for problem in thresholds.problems(ConvSpec.parse(CHOSEN[name][0])):
        chosen, _, refused = dispatch.choose(problem, None, "cpu")
        before = dispatch.names()[: dispatch.names().index(chosen.name)]
        assert tuple(name for name, _ in refused) == before
        assert all(reason for _, reason in refused)


def test_the_table_has_the_named_layers():
    rows = {
        str(layer.problem(layer.batch or 1)).replace(" bias=False", "")
        for layer in table.read(ROOT / "benchmarks" / "dense_layers.csv")
    }
    own = {"three dimensions": 1, "an image from three dimensions": 0, "ResNeXt": 0, "MobileNet": 0}
    for name, (text, _) in CHOSEN.items():
        text, _, _ = text.partition(" dtype=")
        found = f"{ConvSpec.parse(text)} data_format=channels_last" in rows
        assert found == bool(own.get(name, 1)), name


@pytest.mark.parametrize(("size", "name"), [(4, "matmul"), (3, "xla")])
def test_accelerate_makes_the_same_choice(monkeypatch, size, name):
    """A call of lax: patches by a product, other windows by XLA's own."""
    monkeypatch.setattr(native, "status", lambda: STATUS["none"])
    x, w = (jax.ShapeDtypeStruct(s, "float32") for s in ((1, 3, 32, 32), (8, 3, size, size)))
    called = jax.jit(lambda x, w: lax.conv_general_dilated(x, w, (4, 4), "VALID"))
    with jg.accelerate():
        assert f"jaxgroups.{name}" in called.lower(x, w).as_text(debug_info=True)
