"""Every operation between torch's tensors and Flax's leaves: exact, with an exact inverse.

The definition of each is a formula for one element, applied element by element to the raw bits;
data are random bits, so NaNs of every payload, infinities and denormals are among them.
"""

from itertools import pairwise, product
from math import prod

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgroups.convert import Chain, ChannelsLast, Flip, Identity, Part, Permute, Reshape
from jaxgroups.convert._rules import ops, ops_json

DTYPES = [
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
    *("int8", "uint16", "int32", "int64", "bool", "float8_e4m3fn", "float8_e5m2"),
]


def bits(seed, shape, dtype):
    dtype = np.dtype(getattr(ml_dtypes, dtype) if hasattr(ml_dtypes, dtype) else dtype)
    data = np.random.default_rng(seed).bytes(prod(shape) * dtype.itemsize)
    if dtype.kind == "b":
        return (np.frombuffer(data, "u1") % 2).astype(bool).reshape(shape)
    return np.frombuffer(bytearray(data), dtype).reshape(shape)


def raw(array):
    """The bits alone: numpy then neither compares nor converts values."""
    return np.array(array, order="C").view(f"V{array.itemsize}")


# --- the definitions ------------------------------------------------------------------------------


def position(index, shape):
    """Where an element lies in row-major order."""
    place = 0
    for i, n in zip(index, shape, strict=True):
        place = place * n + i
    return place


def at(place, shape):
    """The index of the element that lies there."""
    index = []
    for n in reversed(shape):
        index.append(place % n)
        place //= n
    return tuple(reversed(index))


def source(op, shape, index):
    """Where in torch, in an array of `shape`, the Flax element of `index` comes from."""
    match op:
        case Identity():
            return index
        case Permute(axes):
            there = dict(zip(axes, index, strict=True))
            return tuple(there[axis] for axis in range(len(axes)))
        case Flip(axes):
            return tuple(shape[a] - 1 - i if a in axes else i for a, i in enumerate(index))
        case Reshape(torch, flax):
            return at(position(index, flax), torch)
        case ChannelsLast(axis, (c, *spatial), (before, after)):
            place = index[axis]
            if before <= place < shape[axis] - after:
                *where, channel = at(place - before, (*spatial, c))
                place = before + position((channel, *where), (c, *spatial))
            return (*index[:axis], place, *index[axis + 1 :])
        case Part(number, count):
            return (number * (shape[0] // count) + index[0], *index[1:])
    raise TypeError(op)


def flax_shape(op, shape):
    match op:
        case Permute(axes):
            return tuple(shape[a] for a in axes)
        case Reshape(_, flax):
            return flax
        case Part(_, count):
            return (shape[0] // count, *shape[1:])
    return shape


def defined(op, x):
    """The Flax array by the definition, as bits, one element after the other."""
    x = raw(x)
    for step in op.ops if isinstance(op, Chain) else [op]:
        y = np.zeros(flax_shape(step, x.shape), x.dtype)
        for index in product(*map(range, y.shape)):
            y[index] = x[source(step, x.shape, index)]
        x = y
    return x


# --- strategies -----------------------------------------------------------------------------------

sizes = st.integers(1, 4)
shapes = st.lists(sizes, min_size=0, max_size=5).map(tuple)
dtypes = st.sampled_from(DTYPES)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def reshapes(draw, shape):
    """A reshape of `shape` to any grouping of its prime factors."""
    n, factors = prod(shape), []
    for prime in (2, 3):
        while n % prime == 0:
            factors.append(prime)
            n //= prime
    factors = draw(st.permutations(factors))
    cuts = sorted(draw(st.lists(st.integers(0, len(factors)), max_size=4)))
    ends = [0, *cuts, len(factors)]
    parts = [prod(factors[a:b]) for a, b in pairwise(ends)]
    return Reshape(shape, tuple(parts))


@st.composite
def steps(draw, shape):
    """An operation that fits a torch shape."""
    kinds = ["identity", "permute", "flip", "reshape"]
    kinds += ["flatten"] if shape else []
    kind = draw(st.sampled_from(kinds))
    if kind == "permute":
        return Permute(tuple(draw(st.permutations(range(len(shape))))))
    if kind == "flip":
        axes = st.sets(st.sampled_from(range(len(shape)))) if shape else st.just(set())
        return Flip(tuple(sorted(draw(axes))))
    if kind == "reshape":
        return draw(reshapes(shape))
    if kind == "flatten":
        axis = draw(st.integers(0, len(shape) - 1))
        before = draw(st.integers(0, shape[axis] - 1))
        after = draw(st.integers(0, shape[axis] - 1 - before))
        size = shape[axis] - before - after
        c = draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
        rest = size // c
        h = draw(st.sampled_from([n for n in range(1, rest + 1) if rest % n == 0]))
        spatial = draw(st.sampled_from([(rest,), (h, rest // h)]))
        return ChannelsLast(axis, (c, *spatial), (before, after))
    return Identity()


@st.composite
def chains(draw):
    """A torch shape and a chain of up to four operations."""
    shape = draw(shapes)
    torch, chain = shape, []
    for _ in range(draw(st.integers(0, 4))):
        chain.append(draw(steps(shape)))
        shape = flax_shape(chain[-1], shape)
    return torch, Chain(tuple(chain))


def assert_exact(op, torch, dtype, seed):
    x = bits(seed, torch, dtype)
    before = x.tobytes()
    expected = defined(op, x)
    y = op.to_flax(x)
    assert y.dtype == x.dtype
    assert op.flax_shape(torch) == y.shape == expected.shape
    assert raw(y).tobytes() == expected.tobytes()
    assert op.torch_shape(y.shape) == torch
    kept = np.array(y, order="C", copy=True)  # as Flax holds it
    back = op.to_torch(kept)
    assert (back.shape, back.dtype) == (x.shape, x.dtype)
    assert raw(back).tobytes() == before == x.tobytes()


@given(chains(), dtypes, seeds)
def test_chains_are_their_definition_and_undone_exactly(case, dtype, seed):
    torch, op = case
    assert_exact(op, torch, dtype, seed)
    assert ops_json.from_json(ops_json.to_json(op)) == op


@given(st.data(), shapes, dtypes, seeds)
def test_single_operations_are_their_definition_and_undone_exactly(data, torch, dtype, seed):
    op = data.draw(steps(torch))
    assert_exact(op, torch, dtype, seed)
    assert ops_json.from_json(ops_json.to_json(op)) == op


@given(sizes, sizes, sizes, sizes, dtypes, seeds)
def test_flatten(c, h, w, out, dtype, seed):
    assert_exact(ChannelsLast(1, (c, h, w)), (out, c * h * w), dtype, seed)
    op = Chain((Permute((1, 0)), ChannelsLast(0, (c, h, w), (2, 1))))
    assert_exact(op, (out, c * h * w + 3), dtype, seed)


@given(st.data(), st.integers(1, 4), shapes, dtypes, seeds)
def test_parts_make_the_whole_again(data, count, shape, dtype, seed):
    torch = (count * data.draw(sizes), *shape)
    x = bits(seed, torch, dtype)
    block = flax_shape(Part(0, count), torch)
    step = data.draw(steps(block))
    blocks = []
    for index in range(count):
        op = Chain((Part(index, count), step))
        y = op.to_flax(x)
        assert raw(y).tobytes() == defined(op, x).tobytes()
        assert op.flax_shape(torch) == y.shape
        assert op.torch_shape(y.shape) == torch
        assert ops.part_of(op) == Part(index, count)
        assert ops_json.from_json(ops_json.to_json(op)) == op
        blocks.append(op.to_torch(np.array(y, order="C", copy=True)))
    back = ops.join(blocks)
    assert (back.shape, back.dtype) == (x.shape, x.dtype)
    assert raw(back).tobytes() == raw(x).tobytes()


@given(st.integers(1, 3), sizes, sizes, sizes, st.data(), dtypes, seeds)
def test_the_grouped_kernels_of_the_rules(rank, groups, inputs, outputs, data, dtype, seed):
    """The op that a rule names for a grouped layer, by the definition of its kernel."""
    from flax import nnx

    import jaxgroups.nnx as jnn
    from jaxgroups.convert._rules.layers import apply_rule, rule_of

    k = tuple(data.draw(st.lists(sizes, min_size=rank, max_size=rank)))
    transposed = data.draw(st.booleans())
    kind = getattr(jnn, f"Conv{'Transpose' if transposed else ''}{rank}d")
    layer = nnx.eval_shape(
        lambda: kind(groups * inputs, groups * outputs, k, groups=groups, rngs=nnx.Rngs(0))
    )
    rule = apply_rule(rule_of(layer), layer, {"kernel": layer.kernel.shape, "bias": (1,)})
    op = rule.leaves["kernel"].op
    torch = (groups * inputs, outputs, *k) if transposed else (groups * outputs, inputs, *k)
    x = bits(seed, torch, dtype)
    y = raw(op.to_flax(x))
    assert y.shape == layer.kernel.shape
    for first, second, *t in product(*map(range, torch)):
        assert y[(*t, second, first)] == raw(x)[(first, second, *t)]
    assert raw(op.to_torch(op.to_flax(x))).tobytes() == raw(x).tobytes()


# --- what does not fit ----------------------------------------------------------------------------

MISFITS = [
    (Permute((1, 0)), (2, 3, 4), (3,)),
    (Flip((2,)), (2, 3), (2, 3)),
    (Reshape((2, 3), (6,)), (3, 2), (5,)),
    (Reshape((2, 3), (6,)), (6,), (2, 3)),
    (ChannelsLast(1, (2, 3, 4)), (5, 23), (24, 5)),
    (ChannelsLast(0, (2, 3, 1)), (12, 5), (5, 12)),
    (ChannelsLast(1, (2, 3, 4)), (24,), ()),
    (ChannelsLast(0, (2, 3, 4), (1, 2)), (24,), (26,)),
    (Part(1, 3), (4, 2), ()),
    (Chain((Part(0, 2), Permute((1, 0)))), (5, 3), (3,)),
]


@pytest.mark.parametrize(("op", "torch", "flax"), MISFITS, ids=str)
def test_a_shape_that_does_not_fit_is_refused_both_ways(op, torch, flax):
    with pytest.raises(ops.ShapeRefused, match="but got shape"):
        op.flax_shape(torch)
    with pytest.raises(ops.ShapeRefused, match="but got shape"):
        op.torch_shape(flax)


def test_a_flattened_kernel_of_another_size_is_not_moved_at_all():
    """12 rows divide by 2 * 3 * 1, so a reshape alone would take them and mix rows with columns."""
    op = Chain((Permute((1, 0)), ChannelsLast(0, (2, 3, 1))))
    with pytest.raises(ValueError):
        op.to_torch(np.zeros((12, 5)))
    with pytest.raises(ValueError):
        op.to_flax(np.zeros((5, 12)))


INVALID = [
    lambda: Permute((0, 0)),
    lambda: Permute((1, 2)),
    lambda: Permute((0, -1)),
    lambda: Permute((1.0, 0.0)),
    lambda: Permute("10"),
    lambda: Flip((1, 1)),
    lambda: Flip((-1,)),
    lambda: Reshape((2, 3), (5,)),
    lambda: Reshape((-2, 3), (-6,)),
    lambda: ChannelsLast(0, (0, 1, 1)),
    lambda: ChannelsLast(0, (True, 1, 1)),
    lambda: ChannelsLast(0, (2, 3.5, 1)),
    lambda: ChannelsLast(0, (2,)),
    lambda: ChannelsLast(-1, (2, 3)),
    lambda: ChannelsLast(0, (2, 3), (0,)),
    lambda: ChannelsLast(0, (2, 3), (0, -1)),
    lambda: Part(3, 3),
    lambda: Part(-1, 3),
    lambda: Part(0, 0),
    lambda: Chain((Permute((0,)), Part(0, 2))),
    lambda: Chain((Chain((Part(0, 2),)), Chain((Part(0, 2),)))),
]


@pytest.mark.parametrize("make", INVALID)
def test_no_operation_without_an_inverse_can_be_made(make):
    with pytest.raises(ValueError):
        make()


def test_a_chain_in_a_chain_is_one_chain():
    inner = Chain((Part(0, 2), Permute((1, 0))))
    assert Chain((inner, Flip((0,)))) == Chain((Part(0, 2), Permute((1, 0)), Flip((0,))))
    assert ops.part_of(Chain((inner, Flip((0,))))) == Part(0, 2)


@pytest.mark.parametrize(
    "data",
    [
        ["Exec", {"code": "1"}],
        ["Permute", {"axes": [0, 0]}],
        ["Permute", {"axes": [1.5, 0]}],
        ["Permute", {"axis": [0]}],
        ["Permute", {}],
        ["Permute"],
        ["Chain", {"ops": []}],
        ["Chain", [["Chain", [["Nothing", {}]]]]],
        ["Reshape", {"torch": [2], "flax": [3]}],
        ["ChannelsLast", {"axis": 0, "sizes": ["2", 1], "around": [0, 0]}],
        ["ChannelsLast", {"axis": 0, "sizes": [2], "around": [0, 0]}],
        {"Permute": {"axes": [0]}},
        None,
        "Identity",
        [["Identity"], {}],
    ],
)
def test_json_outside_the_closed_set_is_refused(data):
    with pytest.raises(ValueError):
        ops_json.from_json(data)


def test_an_operation_of_somebody_else_is_not_written_as_json():
    class Identity(ops.Op):
        """Of the name, not of the kind."""

    with pytest.raises(ValueError, match="a plan can only hold Identity, Permute"):
        ops_json.to_json(Identity())
