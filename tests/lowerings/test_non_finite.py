"""NaN and infinity in one operand: they reach the results that they are a factor of, no other.

The judge is a NumPy loop over the products of the definition. It gives two sums: of the products
that meet an element, and of those with the zeros of padding as well. The kernels give the first.
The others give for each result the first or the second; they differ where a NaN or an infinity of
the weights or of a cotangent meets padding. So does torch: its float32 kernels leave padding out,
its general ones multiply it.

XLA's own convolution is lax's result, whatever that is. Its CPU compiler rewrites some convolutions
with groups as dense ones with zeros, which a NaN spoils.
"""

from functools import cache
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import arguments, run, unsupported_reason

from jaxgroups import ConvSpec
from jaxgroups._lowerings import LOWERINGS
from jaxgroups._problem.problem import problem_of

BY_NAME = {lowering.name: lowering for lowering in LOWERINGS}
SPECS = {
    "padded": "conv2d in=4 out=6 kernel=3 padding=1 groups=2 batch=2 size=5x4",
    "strided": "conv2d in=4 out=6 kernel=3 stride=2 padding=1 groups=2 batch=1 size=6x5",
    "dilated": "conv1d in=4 out=4 kernel=3 padding=2 dilation=2 groups=2 batch=2 size=8",
    "depthwise": "conv2d in=4 out=8 kernel=3 padding=1 groups=4 batch=2 size=4x5",
    "ordinary": "conv2d in=3 out=4 kernel=3 padding=1 batch=2 size=5x4",
    "1x1": "conv2d in=6 out=4 kernel=1 groups=2 batch=2 size=3x4",
    "rest": "conv1d in=4 out=6 kernel=2 stride=3 groups=2 batch=2 size=10",
    "transposed": (
        "conv_transpose2d in=4 out=6 kernel=3 stride=2 padding=1 output_padding=1 groups=2 "
        "batch=1 size=3x4"
    ),
    "gaps": "conv_transpose1d in=4 out=6 kernel=2 stride=3 groups=2 batch=2 size=5",
    "many taps": "conv_transpose1d in=2 out=2 kernel=140 stride=20 padding=10 batch=1 size=9",
    "many taps, grouped": (
        "conv_transpose1d in=4 out=4 kernel=70 stride=20 padding=3 groups=2 batch=1 size=6"
    ),
}
NAN = np.nan  # one object, as a key of a cache
OPERANDS = ("input", "weight", "cotangent")
VALUES, PLACES = (NAN, -np.inf), ("first", "middle", "last")
RESULTS = ("output", "input gradient", "weight gradient")


def products(spec, x, w, ct):
    """Result and both gradients: of the products without padding, and of all of them."""
    large, small = (ct, x) if spec.transposed else (x, ct)  # of the convolution that has padding
    per_group, outputs = large.shape[1] // spec.groups, small.shape[1] // spec.groups
    to_small, to_large, to_w = (np.zeros((2, *a.shape)) for a in (small, large, w))
    window = tuple(zip(spec.stride, spec.dilation, spec.padding, strict=True))

    def inside(index, shape):
        return all(0 <= i < n for i, n in zip(index, shape, strict=True))

    for n, o, c in product(range(len(large)), range(small.shape[1]), range(per_group)):
        channel = o // outputs * per_group + c
        for t in np.ndindex(*spec.kernel_size):
            weight = w[o, c, *t]
            for p in np.ndindex(small.shape[2:]):
                axes = zip(p, t, window, strict=True)
                at = tuple(i * s + j * d - low for i, j, (s, d, (low, _)) in axes)
                here = inside(at, large.shape[2:])
                sums = slice(0 if here else 1, 2)
                element = large[n, channel, *at] if here else 0.0
                to_small[sums, n, o, *p] += element * weight
                to_w[sums, o, c, *t] += element * small[n, o, *p]
                if here:
                    to_large[:, n, channel, *at] += small[n, o, *p] * weight
            for at in np.ndindex(large.shape[2:]):  # the padding of `small`, in a scattered sum
                axes = zip(at, t, window, small.shape[2:], strict=True)
                where = [(i + low - j * d, s, m) for i, j, (s, d, (low, _)), m in axes]
                if not all(i % s == 0 and 0 <= i // s < m for i, s, m in where):
                    to_large[1, n, channel, *at] += 0 * weight
    return (to_large, to_small, to_w) if spec.transposed else (to_small, to_large, to_w)


def agrees(ours, right):
    return (ours == right) | (np.isnan(ours) & np.isnan(right))


@cache
def spoiled(name, operand, value, where):
    """Whole numbers, of which one is replaced, and what `products` makes of them."""
    spec = ConvSpec.parse(SPECS[name])
    rng = np.random.default_rng(0)
    shapes = spec.input_shape, spec.torch_weight_shape, spec.output_shape
    arrays = [rng.integers(1, 4, shape).astype(float) for shape in shapes]
    array = arrays[OPERANDS.index(operand)]
    array[tuple({"first": 0, "middle": n // 2, "last": n - 1}[where] for n in array.shape)] = value
    with np.errstate(invalid="ignore"):
        return arrays, products(spec, *arrays)


@cache
def compiled(name, implementation, dtype):
    spec = ConvSpec.parse(SPECS[name])

    @jax.jit
    def both(x, w, ct):
        y, back = jax.vjp(lambda *a: run(spec, *a, implementation=implementation), x, w)
        return y, *back(ct)

    return lambda *arrays: [np.asarray(y) for y in both(*(jnp.asarray(a, dtype) for a in arrays))]


CASES = [
    pytest.param(name, implementation, id=f"{name}-{implementation}")
    for name, implementation in product(SPECS, BY_NAME)
    if implementation != "xla"
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "implementation"), CASES)
def test_they_reach_their_own_results_only(name, implementation, dtype):
    spec = ConvSpec.parse(SPECS[name])
    if unsupported_reason(BY_NAME[implementation], problem_of(spec)):
        pytest.skip(f"{implementation} does not take it")
    wrong = []
    for operand, value, where in product(OPERANDS, VALUES, PLACES):
        arrays, right = spoiled(name, operand, value, where)
        computed = compiled(name, implementation, dtype)(*arrays)
        for result, ours, sums in zip(RESULTS, computed, right, strict=True):
            either = agrees(ours, sums[0])
            if implementation != "native":
                either |= agrees(ours, sums[1])
            if not either.all():
                wrong.append((operand, value, where, result, int((~either).sum())))
    assert wrong == []


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SPECS)
def test_torch_gives_one_of_the_two_sums(name, dtype):
    """Of a scattered sum (an input gradient, a transposed convolution) always the first."""
    torch = pytest.importorskip("torch")
    spec = ConvSpec.parse(SPECS[name])
    how = arguments(spec)
    how.pop("padding_mode", None)
    scattered = 0 if spec.transposed else 1
    for operand, value, where in product(OPERANDS, VALUES, PLACES):
        arrays, right = spoiled(name, operand, value, where)
        x, w, ct = (torch.tensor(a, dtype=getattr(torch, dtype)) for a in arrays)
        x.requires_grad_(), w.requires_grad_()
        y = getattr(torch.nn.functional, spec.op)(x, w, None, **how)
        for i, theirs in enumerate((y, *torch.autograd.grad(y, (x, w), ct))):
            one, all_of_them = (agrees(theirs.detach().numpy(), sums) for sums in right[i])
            assert (one if i == scattered else one | all_of_them).all()
