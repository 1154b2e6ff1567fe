"""Wrong calls of the handlers of convolutions through the FFI: errors with their texts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import distinct

from jaxgroups import _native as native

pytestmark = pytest.mark.skipif(
    native.status().missing is not None, reason=f"NO KERNELS to call: {native.status().missing}"
)
X, W, Y = (2, 5, 6, 4), (3, 2, 2, 6), (2, 4, 7, 6)
ATTRIBUTES = {
    "groups": 2,
    "stride": (1, 1),
    "low": (1, 1),
    "high": (0, 1),
    "dilation": (1, 1),
    "lhs_dilation": (1, 1),
}
IN_ORDER = {  # of the weights of a forward convolution: (*kernel, c, g, o)
    "weight_strides": (24, 12, 6, 3, 1),
    "weight_offset": 0,
}
HUGE = 2**62


def array(values):
    return np.array(values, np.int64)


def call(target, x=X, w=W, y=Y, dtypes=("float32",) * 3, without=None, bias=(), **attributes):
    """The handler's result for operands of these shapes, dtypes in the order x, w, y."""
    ordered = {"weight_shape": w} | IN_ORDER if target == native.FORWARD else {}
    attributes = {
        name: array(value) if isinstance(value, tuple) else value
        for name, value in (ATTRIBUTES | ordered | attributes).items()
        if name != without
    }
    dtypes = dict(zip("xwy", dtypes, strict=True))
    shapes = {"x": x, "w": w, "y": y}
    first, second, third = "xwy" if target == native.FORWARD else "xyw"
    rng = np.random.default_rng(0)
    operands = [jnp.asarray(distinct(rng, shapes[n], dtypes[n])) for n in (first, second)]
    operands += [jnp.asarray(b) for b in bias]
    ours = jax.ffi.ffi_call(target, jax.ShapeDtypeStruct(shapes[third], dtypes[third]))
    return jax.block_until_ready(jax.jit(lambda *a: ours(*a, **attributes))(*operands))


INTEGERS, MIXED = ("int32",) * 3, ("float32", "float32", "float64")
AXES = "jaxgroups: there should be 1, 2 or 3 spatial axes, but got "
NUMBERS = "jaxgroups: an attribute should have one number per axis, but got "
POSITIVE = "jaxgroups: strides and dilations should be from 1 to 268435456, but got "
DILATED = "jaxgroups: a dilation of the input should be from 1 to 4096, but got "
PADDING = "jaxgroups: a padding is too large, but got "
INPUTS = "jaxgroups: input channels should be groups times the channels of the kernel, but got "
LARGE = "jaxgroups: an array is too large"
REFUSED = {
    "integers": ({"dtypes": INTEGERS}, "jaxgroups: the arrays should be float32 or float64"),
    "16 bits": (
        {"dtypes": ("bfloat16",) * 3},
        "jaxgroups: the arrays should be float32 or float64",
    ),
    "two dtypes": ({"dtypes": MIXED}, "jaxgroups: dtypes differ"),
    "no axis": ({"x": (2, 4), "w": (2, 6), "y": (2, 6)}, AXES + "0"),
    "a scalar": ({"x": ()}, AXES + "-2"),
    "four axes": ({"x": (1,) * 5 + (4,), "w": (1,) * 4 + (2, 6), "y": (1,) * 5 + (6,)}, AXES + "4"),
    "rank of x": ({"x": (2, 5, 4)}, "jaxgroups: ranks differ"),
    "rank of w": ({"w": (3, 2, 6)}, "jaxgroups: ranks differ"),
    "rank of y": ({"y": (2, 4, 7, 1, 6)}, "jaxgroups: ranks differ"),
    "one stride": ({"stride": (1,)}, NUMBERS + "1"),
    "no low": ({"low": ()}, NUMBERS + "0"),
    "three high": ({"high": (0, 1, 0)}, NUMBERS + "3"),
    "one dilation": ({"dilation": (1,)}, NUMBERS + "1"),
    "one lhs_dilation": ({"lhs_dilation": (1,)}, NUMBERS + "1"),
    "a long axis": ({"x": (0, 2**28 + 1, 6, 4)}, LARGE),
    "groups=0": ({"groups": 0}, "jaxgroups: groups should be positive, but got 0"),
    "groups=-2": ({"groups": -2}, "jaxgroups: groups should be positive, but got -2"),
    "batch of y": (
        {"y": (3, 4, 7, 6)},
        "jaxgroups: batches differ: the result should have the input's, but got 3",
    ),
    "no inputs": ({"x": (2, 5, 6, 0), "w": (3, 2, 0, 6)}, "jaxgroups: there are no channels"),
    "no outputs": ({"w": (3, 2, 2, 0), "y": (2, 4, 7, 0)}, "jaxgroups: there are no channels"),
    "fewer groups": ({"groups": 1}, INPUTS + "4"),
    "many groups": ({"groups": HUGE}, INPUTS + "4"),
    "channels of x": ({"x": (2, 5, 6, 5)}, INPUTS + "5"),
    "channels of w": ({"w": (3, 2, 3, 6)}, INPUTS + "4"),
    "odd outputs": (
        {"w": (3, 2, 2, 5), "y": (2, 4, 7, 5)},
        "jaxgroups: outputs should be a multiple of groups, but got 5",
    ),
    "channels of y": ({"y": (2, 4, 7, 8)}, "jaxgroups: output channels differ, but got 8"),
    "empty kernel": ({"w": (0, 2, 2, 6)}, "jaxgroups: an axis is empty"),
    "empty image": ({"x": (2, 5, 0, 4)}, "jaxgroups: an axis is empty"),
    "empty result": ({"y": (2, 0, 7, 6)}, "jaxgroups: an axis is empty"),
    "stride=0": ({"stride": (0, 1)}, POSITIVE + "0"),
    "stride=-1": ({"stride": (1, -1)}, POSITIVE + "-1"),
    "huge stride": ({"stride": (HUGE, 1)}, POSITIVE + str(HUGE)),
    "dilation=0": ({"dilation": (1, 0)}, POSITIVE + "0"),
    "huge dilation": ({"dilation": (2**28 + 1, 1)}, POSITIVE + str(2**28 + 1)),
    "lhs_dilation=-3": ({"lhs_dilation": (1, -3)}, DILATED + "-3"),
    "huge lhs_dilation": ({"lhs_dilation": (4097, 1)}, DILATED + "4097"),
    "huge low": ({"low": (2**63 - 1, 1)}, PADDING + str(2**63 - 1)),
    "least low": ({"low": (-(2**63), 1)}, PADDING + str(-(2**63))),
    "huge high": ({"high": (0, HUGE)}, PADDING + str(HUGE)),
    "result too large": (
        {"y": (2, 4, 8, 6)},
        "jaxgroups: an axis of the result should have size 7, but got 8",
    ),
    "result too small": (
        {"y": (2, 3, 7, 6)},
        "jaxgroups: an axis of the result should have size 4, but got 3",
    ),
    "kernel too large": (
        {"w": (9, 2, 2, 6)},
        "jaxgroups: an axis of the result should have size 0, but got 4",
    ),
    "dilated past the image": (
        {"dilation": (2**28, 1)},
        "jaxgroups: an axis of the result should have size 0, but got 4",
    ),
}


@pytest.mark.parametrize("target", [native.FORWARD, native.WEIGHT_GRADIENT])
@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_call_is_refused_in_words(name, target):
    arguments, text = REFUSED[name]
    if 0 in arguments.get(*(("y", Y) if target == native.FORWARD else ("w", W))):
        call(target, **arguments)  # XLA calls nobody for an empty result
        return
    with pytest.raises(jax.errors.JaxRuntimeError) as caught:
        call(target, **arguments)
    assert str(caught.value) == f"INVALID_ARGUMENT: {text}"
    assert call(target).shape == (Y if target == native.FORWARD else W)


def test_a_weight_gradient_has_no_dilated_input():
    arguments = {"y": (2, 8, 7, 6), "lhs_dilation": (2, 1)}
    assert call(native.FORWARD, **arguments).shape == arguments["y"]
    with pytest.raises(jax.errors.JaxRuntimeError) as caught:
        call(native.WEIGHT_GRADIENT, **arguments)
    text = "INVALID_ARGUMENT: jaxgroups: a weight gradient has no dilated input"
    assert str(caught.value) == text


STEPS = "jaxgroups: the weights should have one stride for each of their axes, but got "
SIX = "the bias should have one number for each output channel"
BIASES = {
    "few": ([np.ones(5, "float32")], SIX),
    "many": ([np.ones((2, 6), "float32")], SIX),
    "none": ([np.ones(0, "float32")], SIX),
    "doubles": ([np.ones(6)], "dtypes differ"),
}


@pytest.mark.parametrize("name", BIASES)
def test_a_bias_that_does_not_fit_is_refused(name):
    bias, text = BIASES[name]
    with pytest.raises(jax.errors.JaxRuntimeError, match=f"jaxgroups: {text}"):
        call(native.FORWARD, bias=bias)
    right = np.arange(6, dtype="float32")
    got, bare = (np.asarray(call(native.FORWARD, bias=b)) for b in ([right], []))
    np.testing.assert_array_equal(got, bare + right)


INSIDE = "jaxgroups: the weights should be inside their array, but got 72"
MISPLACED = {  # the 72 weights of W
    "no steps": ({"weight_strides": ()}, "jaxgroups: the weights have no strides"),
    "four steps": ({"weight_strides": (24, 12, 6, 1)}, STEPS + "4"),
    "six steps": ({"weight_strides": (1, 24, 12, 6, 3, 1)}, STEPS + "6"),
    "one behind": ({"weight_offset": 1}, INSIDE),
    "one before": ({"weight_offset": -1}, INSIDE),
    "mirrored, from the first": ({"weight_strides": (-24, 12, 6, 3, 1)}, INSIDE),
    "mirrored, one before": ({"weight_strides": (-24, 12, 6, 3, 1), "weight_offset": 47}, INSIDE),
    "mirrored, one behind": ({"weight_strides": (-24, 12, 6, 3, 1), "weight_offset": 49}, INSIDE),
    "a wide step": ({"weight_strides": (24, 12, 6, 3, 2)}, INSIDE),
    "a huge step": ({"weight_strides": (24, 12, 6, 3, HUGE)}, INSIDE),
    "the least step": ({"weight_strides": (24, 12, 6, 3, -(2**63))}, INSIDE),
    "the largest step": ({"weight_strides": (2**63 - 1, 12, 6, 3, 1)}, INSIDE),
    "steps that cancel out": ({"weight_strides": (HUGE, -HUGE, 6, 3, 1)}, INSIDE),
    "steps that overflow": ({"weight_strides": (HUGE - 1, HUGE, 6, 3, 1)}, INSIDE),
    "the largest offset": ({"weight_offset": 2**63 - 1}, INSIDE),
    "the least offset": ({"weight_offset": -(2**63)}, INSIDE),
    "an offset that overflows": (
        {"weight_strides": (-24, 12, 6, 3, 1), "weight_offset": -(2**63)},
        INSIDE,
    ),
}


@pytest.mark.parametrize("name", MISPLACED)
def test_weights_outside_their_array_are_refused(name):
    attributes, text = MISPLACED[name]
    with pytest.raises(jax.errors.JaxRuntimeError) as caught:
        call(native.FORWARD, **attributes)
    assert str(caught.value) == f"INVALID_ARGUMENT: {text}"
    assert call(native.FORWARD).shape == Y


def test_steps_say_where_the_weights_are():
    """Each order of the 72 numbers gives what the same numbers in order give."""
    rng = np.random.default_rng(0)
    x, flat = distinct(rng, X, "float32"), distinct(rng, (9, 8), "float32")
    ours = jax.ffi.ffi_call(native.FORWARD, jax.ShapeDtypeStruct(Y, "float32"))

    def result(weights, steps, offset):
        attributes = ATTRIBUTES | {"weight_shape": W, "weight_strides": steps}
        attributes = {n: array(v) if isinstance(v, tuple) else v for n, v in attributes.items()}
        return np.asarray(
            jax.jit(lambda *a: ours(*a, **attributes, weight_offset=offset))(x, weights)
        )

    shape, numbers = (3, 2, 2, 2, 3), flat.ravel()
    for steps, offset in (
        ((24, 12, 6, 3, 1), 0),
        ((-24, -12, 6, 3, 1), 60),
        ((2, 1, 6, 12, 24), 0),
        ((-2, 1, -6, 12, -24), 2 * 2 + 6 + 48),
        ((0, 0, 0, 0, 1), 69),
        ((1, 1, 1, 1, 1), 64),
    ):
        at = offset + sum(np.multiply(i, s) for i, s in zip(np.indices(shape), steps, strict=True))
        in_order = numbers[at].reshape(9, 8)
        np.testing.assert_array_equal(
            result(flat, steps, offset), result(in_order, (24, 12, 6, 3, 1), 0)
        )


FOREIGN = {  # XLA's own texts, of which the versions differ in more than these words
    "missing": ({"without": "low"}, "Wrong number of attributes: expected N but got N-1"),
    "extra": ({"more": 1}, "Wrong number of attributes: expected N but got N+1"),
    "renamed": ({"without": "low", "lo": (1, 1)}, "Failed to decode all FFI handler operands"),
    "groups=1.5": ({"groups": np.float32(1.5)}, "Failed to decode all FFI handler operands"),
    "groups=(2,)": ({"groups": (2,)}, "Failed to decode all FFI handler operands"),
    "groups='2'": ({"groups": "2"}, "Failed to decode all FFI handler operands"),
    "stride=1": ({"stride": 1}, "Failed to decode all FFI handler operands"),
    "stride=1.0": ({"stride": np.ones(2)}, "Failed to decode all FFI handler operands"),
}


@pytest.mark.parametrize("target", [native.FORWARD, native.WEIGHT_GRADIENT])
@pytest.mark.parametrize("name", FOREIGN)
def test_attributes_of_another_kind_are_refused(name, target):
    arguments, words = FOREIGN[name]
    n = 9 if target == native.FORWARD else 6
    for symbol, number in (("N-1", n - 1), ("N+1", n + 1), ("N", n)):
        words = words.replace(symbol, str(number)) if words.startswith("Wrong") else words
    with pytest.raises(jax.errors.JaxRuntimeError) as caught:
        call(target, **arguments)
    assert words in str(caught.value)
    assert str(caught.value).startswith("INVALID_ARGUMENT: ")


@pytest.mark.parametrize("counts", [(1, 1), (4, 1), (2, 2)])
def test_another_number_of_arrays_is_refused(counts):
    operands, results = counts
    shapes = [jax.ShapeDtypeStruct(Y, "float32")] * results
    ours = jax.ffi.ffi_call(native.FORWARD, shapes)
    attributes = {n: array(v) for n, v in ATTRIBUTES.items() if n != "groups"} | {"groups": 2}
    attributes |= {"weight_shape": array(W), "weight_strides": array((24, 12, 6, 3, 1))}
    attributes["weight_offset"] = 0
    arrays = [jnp.ones(shape, "float32") for shape in (X, W, (6,), X)[:operands]]
    more = "there should be no more than two arrays and a bias"
    with pytest.raises(
        jax.errors.JaxRuntimeError, match=more if operands > 3 else "Wrong number of"
    ):
        jax.block_until_ready(jax.jit(lambda *a: ours(*a, **attributes))(*arrays))
