"""Faults of YNNPACK in releases of jaxlib: they are as the table says, and `shift` and `matmul`
give it no operation that meets them.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import command, reference
from support.helpers import assert_same, run, whole

from jaxgroups import ConvSpec
from jaxgroups._problem import ynnpack

faulty = pytest.mark.skipif(
    ynnpack.JAXLIB not in ynnpack.WRONG_SUMS, reason="this jaxlib has no fault to avoid"
)
CRASH = """
import jax, jax.numpy as jnp
ones = jnp.ones((3, 1, 2, 2, 8, 8, 8), jnp.float32)
print(jax.jit(lambda a, b: jnp.sum(a * b, 3))(ones, ones).sum())
a, b = jnp.ones((10, 4, 6, 1, 1, 1, 1, 1)), jnp.ones((10, 4, 6, 9, 9, 9, 9, 9))
print(jnp.log(jnp.sum(a * b, 2)).shape)
"""


@pytest.fixture
def version(monkeypatch):
    """A version of jaxlib for the implementations, and programs that were not compiled before."""

    def use(text):
        monkeypatch.setattr(ynnpack, "JAXLIB", text)
        jax.clear_caches()

    yield use
    jax.clear_caches()


def squares(a, b):
    return jnp.sum((a @ b.T) ** 2, 0)


@pytest.mark.skipif(ynnpack.JAXLIB in ynnpack.WRONG_SUMS, reason="it has the fault")
@pytest.mark.parametrize(("dtype", "rows"), [("float32", 40_000), ("float64", 20_000)])
def test_releases_without_the_fault_sum_right(rng, dtype, rows):
    a, b = whole(rng, (3, 3), dtype), whole(rng, (rows, 3), dtype)
    assert_same(jax.jit(squares)(a, b), ((a @ b.T) ** 2).sum(0))


@pytest.mark.skipif(ynnpack.JAXLIB in ynnpack.CRASHES, reason="it has the fault")
def test_releases_without_the_fault_do_not_crash():
    done = command.python("-c", CRASH)
    assert (done.returncode, done.stdout) == (0, "6144.0\n(10, 4, 9, 9, 9, 9, 9)\n")


def lowered(function, *arrays):
    """The program that XLA is given, as StableHLO."""
    return jax.jit(function).lower(*arrays).as_text()


@pytest.mark.parametrize(
    "text",
    [
        "conv1d in=3 out=3 kernel=1 batch=2 size=20000",
        "conv2d in=4 out=6 kernel=2 groups=2 batch=3 size=5x7",
        "conv_transpose1d in=4 out=6 kernel=2 stride=2 groups=2 batch=3 size=7",
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
def test_a_product_is_not_computed_with_what_reads_it(rng, version, text, dtype):
    spec = ConvSpec.parse(f"{text} dtype={dtype}")
    x = whole(rng, (*spec.batch, spec.in_channels, *spec.size), bound=2)
    w = whole(rng, spec.torch_weight_shape, bound=2)
    arrays = [jnp.asarray(array).astype(dtype) for array in (x, w)]
    expected = reference.of_spec(spec, x, w, None)

    def loss(x, w):
        return jnp.sum(run(spec, x, w, implementation="matmul") ** 2, 1)

    counts = []
    for release in ("0.10.2", "0.11.0"):
        version(release)
        text = lowered(loss, *arrays)
        counts.append((text.count("stablehlo.dot_general"), text.count("reduce_precision")))
        y = run(spec, *arrays, implementation="matmul")
        assert_same(y, np.asarray(jnp.asarray(expected).astype(dtype)))
    products = counts[0][0]
    assert products
    assert counts == [(products, 0 if dtype == "complex64" else products), (products, 0)]


@faulty
def test_xla_keeps_them_apart(rng):
    """In no fusion is a product with a sum: without the guard the last one here has both."""
    x, w = whole(rng, (1, 3, 40_000), "float32"), whole(rng, (3, 3, 1), "float32")
    spec = ConvSpec.parse("conv1d in=3 out=3 kernel=1 batch=1 size=40000")

    def loss(x, w):
        return jnp.sum(run(spec, x, w, implementation="matmul") ** 2, 1)

    def fusions(function, *arrays):
        text = jax.jit(function).lower(*arrays).compile().as_text()
        return [part for part in text.split("\n}") if " dot(" in part and " reduce(" in part]

    assert fusions(squares, x[0].T, x[0].T[:5])
    assert fusions(loss, x, w) == []
    expected = reference.of_spec(spec, x.astype("float64"), w.astype("float64"), None)
    assert_same(jax.jit(loss)(x, w), (expected**2).sum(1).astype("float32"))


@pytest.mark.parametrize(
    ("release", "rank", "rounded"), [("0.10.2", 4, 2), ("0.11.0", 4, 0), ("0.11.1", 7, 0)]
)
def test_a_weight_gradient_by_shift_sums_over_few_axes(rng, version, release, rank, rounded):
    spec = ConvSpec.parse("conv3d in=4 out=6 kernel=2x1x2 groups=2 batch=2 size=3x4x5")
    x = whole(rng, (2, 4, 3, 4, 5))
    w = whole(rng, spec.torch_weight_shape)
    ct = whole(rng, (2, 6, *spec.output_size))
    version(release)

    def gradient(x, w, ct):
        return jax.vjp(lambda w: run(spec, x, w, implementation="shift"), w)[1](ct)[0]

    text = lowered(gradient, x, w, ct)
    sums = [line for line in text.splitlines() if "stablehlo.reduce(" in line]
    assert len(sums) == 4
    for line in sums:
        shape = line.split(": (tensor<")[1].split(">")[0]
        assert shape.count("x") == rank
    assert text.count("reduce_precision") == rounded
    assert_same(gradient(x, w, ct), reference.gradients_of_spec(spec, x, w, ct)[1])


@pytest.mark.parametrize(
    ("release", "flags", "count"),
    [
        ("0.10.2", "", 2),
        ("0.11.0", "", 1),
        ("0.10.1", "", 0),
        ("0.11.1", "", 0),
        ("0.10.2", "--xla_cpu_experimental_ynn_fusion_type=", 0),
        ("0.10.2", "--a=1 --xla_cpu_experimental_ynn_fusion_type= --b", 0),
        ("0.10.2", "--xla_cpu_experimental_ynn_fusion_type=-reduce", 2),
    ],
)
def test_the_doctor_warns(capsys, monkeypatch, release, flags, count):
    monkeypatch.setattr(ynnpack, "JAXLIB", release)
    monkeypatch.setenv("XLA_FLAGS", flags)
    status, out, err = command.run(capsys, "doctor")
    assert (status, err) == (0, "")
    both = [
        f"warning: jaxlib {release} computes some sums of the squares of a matrix product wrong, "
        "without a word (jax-ml/jax#39103)",
        f"warning: jaxlib {release} crashes in some sums of products of arrays with 7 or more axes "
        "(jax-ml/jax#39257)",
    ]
    more = [
        "  jaxgroups itself avoids these operations; the rest of a program may have them.",
        "  Use another version of jaxlib, or put "
        "XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type= into the environment.",
    ]
    told = out.splitlines()[-4:] if count else out.splitlines()
    assert [line for line in told if line in both] == both[2 - count :]
    assert told[-2:] == more if count else "warning" not in out
