"""Random chains of JAX's transformations: what lax's convolution gives, ours gives.

Both sides get the same operands, whole numbers in float64, so that the results are equal.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxgroups as jg

STEPS = (
    *("jit", "vjp", "vjp", "jvp", "checkpoint", "map"),
    *("vmap x", "vmap w", "vmap both", "vmap both", "linearize"),
)
LARGEST = 2.0**52  # of a result: above, float64 is not exact


def draw(rng) -> dict:
    while True:
        case = _drawn(rng)
        try:
            jax.eval_shape(_conv(lax.conv_general_dilated, case), *_operands(case))
        except (ValueError, TypeError):
            continue
        return case


def _drawn(rng) -> dict:
    rank = int(rng.choice([1, 2, 2, 3]))
    groups, batches = int(rng.choice([1, 2, 3, 4])), int(rng.choice([1, 1, 1, 2]))
    if groups > 1:
        batches = 1
    per = [int(n) for n in rng.integers(1, 4, 2)]
    layouts = {1: ["NCW", "NWC"], 2: ["NCHW", "NHWC"], 3: ["NCDHW", "NDHWC"]}[rank]
    kernels = {1: ["OIW", "WIO"], 2: ["OIHW", "HWIO"], 3: ["OIDHW", "DHWIO"]}[rank]
    each = lambda low, high: [int(n) for n in rng.integers(low, high + 1, rank)]  # noqa: E731
    return {
        "batch": batches * int(rng.integers(1, 3)),
        "size": each(2, 6),
        "in": groups * per[0],
        "out": groups * batches * per[1],
        "kernel": each(1, 3),
        "window_strides": each(1, 2),
        "padding": [[int(n) for n in rng.integers(0, 3, 2)] for _ in range(rank)],
        "lhs_dilation": each(1, int(rng.choice([1, 3]))),
        "rhs_dilation": each(1, int(rng.choice([1, 2]))),
        "feature_group_count": groups,
        "batch_group_count": batches,
        "dimension_numbers": [str(rng.choice(names)) for names in (layouts, kernels, layouts)],
        "steps": [
            [str(rng.choice(STEPS)), int(rng.integers(8)), int(rng.integers(8))]
            for _ in range(rng.integers(1, 4))
        ],
        "seed": int(rng.integers(1000)),
    }


def _conv(function, case: dict):
    names = ("window_strides", "lhs_dilation", "rhs_dilation", "dimension_numbers")
    return partial(
        function,
        padding=tuple(map(tuple, case["padding"])),
        feature_group_count=case["feature_group_count"],
        batch_group_count=case["batch_group_count"],
        **{name: tuple(case[name]) for name in names},
    )


def _operands(case: dict) -> tuple:
    rng = np.random.default_rng(case["seed"])
    image, kernel, _ = case["dimension_numbers"]
    sizes = dict(zip(sorted(set(image) - {"N", "C"}), case["size"], strict=True))
    taps = dict(zip(sorted(set(image) - {"N", "C"}), case["kernel"], strict=True))
    sizes |= {"N": case["batch"], "C": case["in"]}
    taps |= {"O": case["out"], "I": case["in"] // case["feature_group_count"]}
    shapes = [sizes[axis] for axis in image], [taps[axis] for axis in kernel]
    return tuple(_whole(rng, shape) for shape in shapes)


def _whole(rng, shape):
    return jnp.asarray(rng.integers(-3, 4, shape).astype("float64"))


def _like(tree, seed: int):
    """Whole numbers in the shapes of a tree, the same for both sides."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: _whole(rng, leaf.shape), tree)


def _stacked(array, axis: int, seed: int):
    axis %= array.ndim + 1
    return jnp.stack([array, *_like([array] * 2, seed)], axis), axis


def transformed(function, operands: tuple, step: str, a: int, b: int):
    """A step of a chain: the new function and its operands."""
    shape = jax.eval_shape(function, *operands)
    match step:
        case "jit":
            return jax.jit(function), operands
        case "checkpoint":
            return jax.checkpoint(function), operands
        case "vjp":
            return (lambda *x: jax.vjp(function, *x)[1](_like(shape, a))), operands
        case "jvp":
            return (lambda *x: jax.jvp(function, x, _like(x, a))), operands
        case "linearize":
            return (lambda *x: jax.linearize(function, *x)[1](*_like(x, a))), operands
        case "map":
            rows = tuple(_stacked(x, 0, a)[0] for x in operands)
            return (lambda *x: lax.map(lambda row: function(*row), x)), rows
    mapped = {"vmap x": (True, False), "vmap w": (False, True), "vmap both": (True, True)}[step]
    axes, rows = [], []
    for x, yes, axis in zip(operands, mapped, (a, b), strict=True):
        row, axis = _stacked(x, axis, axis) if yes else (x, None)
        axes.append(axis)
        rows.append(row)
    ranks = [leaf.ndim for leaf in jax.tree.leaves(shape)]
    return jax.vmap(function, axes, out_axes=b % (min(ranks) + 1)), tuple(rows)


def _outcome(function, case: dict):
    """The results of the chain, or the kind of error that it raises."""
    function, operands = _conv(function, case), _operands(case)
    try:
        for step in case["steps"]:
            function, operands = transformed(function, operands, *step)
        return jax.jit(function)(*operands)
    except (TypeError, ValueError, NotImplementedError) as error:
        return type(error).__name__


def check(case: dict, folder) -> None:
    expected = _outcome(lax.conv_general_dilated, case)
    actual = _outcome(jg.conv_general_dilated, case)
    if isinstance(expected, str):
        assert actual == expected, f"lax raises {expected}, jaxgroups does not"
        return
    assert not isinstance(actual, str), f"jaxgroups raises {actual}, lax does not"
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    leaves = zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True)
    for i, (ours, lax_own) in enumerate(leaves):
        assert (ours.shape, ours.dtype) == (lax_own.shape, lax_own.dtype), i
        if lax_own.size and float(jnp.abs(lax_own).max()) >= LARGEST:
            continue
        wrong = int((ours != lax_own).sum())
        assert wrong == 0, f"result {i}: {wrong} of {ours.size} elements differ"
