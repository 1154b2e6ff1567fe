"""Symbolic sizes of ``jax.export``: the result for every size, and the bound that is missing."""

import ast
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from support import reference
from support.helpers import assert_same, run, whole

from jaxgroups import ConvSpec

_2D = "conv2d in=4 out=6 kernel=3x2 groups=2 batch=2"
CASES = {  # the spec for one size, the smallest h and w
    "valid": (f"{_2D} stride=2x1 size=3x4", (3, 2)),
    "dilated": (f"{_2D} dilation=2x3 padding=1 size=5x6", (3, 2)),
    "padded": (f"{_2D} padding=1 size=3x4", (1, 1)),
    "reflect": (f"{_2D} padding=2x1 padding_mode=reflect size=3x4", (3, 2)),
    "replicate": (f"{_2D} padding=2x1 padding_mode=replicate size=3x4", (1, 1)),
    "circular": (f"{_2D} padding=2x3 padding_mode=circular size=3x4", (2, 3)),
    "transposed": (
        "conv_transpose2d in=4 out=6 kernel=3x2 stride=2x3 padding=1 output_padding=1x0 groups=2 "
        "batch=2 size=3x4",
        (1, 2),
    ),
}
SIZES = ((3, 4), (5, 3), (8, 9))


def spec_of(name, size=None):
    spec = ConvSpec.parse(CASES[name][0])
    return spec if size is None else spec.with_input((2, 4, *size))


def exported(spec, constraints):
    n, h, w = export.symbolic_shape("n, h, w", constraints=constraints)
    x = jax.ShapeDtypeStruct((n, 4, h, w), jnp.float64)
    weight = jax.ShapeDtypeStruct(spec.weight_shape, jnp.float64)

    @jax.jit
    def function(x, weight):
        if max(spec.stride) > 1:  # its weight gradient is an error of lax's as well
            return run(spec, x, weight), ()
        y, back = jax.vjp(lambda *a: run(spec, *a), x, weight)
        return y, back(jnp.cos(y))

    return export.export(function)(x, weight), function


@pytest.mark.parametrize("name", CASES)
def test_one_program_for_every_size(rng, name):
    least = CASES[name][1]
    program, function = exported(
        spec_of(name), [f"{axis} >= {n}" for axis, n in zip("hw", least, strict=True) if n > 1]
    )
    for size in SIZES:
        spec = spec_of(name, size)
        x, weight = whole(rng, spec.input_shape), whole(rng, spec.torch_weight_shape)
        y, back = program.call(x, weight)
        assert_same(y, reference.of_spec(spec, x, weight, None))
        for ours, concrete in zip(back, function(x, weight)[1], strict=True):
            np.testing.assert_allclose(ours, concrete, rtol=1e-12, atol=1e-10)


LACKING = {
    "valid": "the kernel must not be larger than the padded input, so h >= 3 and w >= 2 must hold",
    "dilated": (
        "the kernel must not be larger than the padded input, so h >= 3 and w >= 2 must hold"
    ),
    "reflect": "reflect padding must be less than the length, so h >= 3 and w >= 2 must hold",
    "circular": (
        "circular padding must be not more than the length, so h >= 2 and w >= 3 must hold"
    ),
    "transposed": "the output must not be empty, so 3*w - 3 >= 1 must hold",
}


@pytest.mark.parametrize("name", LACKING)
def test_the_error_names_the_bound_and_its_advice_works(name):
    with pytest.raises(ValueError, match=r"^a symbolic size has no lower bound") as caught:
        exported(spec_of(name), [])
    text = str(caught.value)
    start = "a symbolic size has no lower bound that is large enough: "
    assert text.startswith(f"{start}{LACKING[name]}; add jax.export.symbolic_shape(")
    constraints = ast.literal_eval(re.search(r"constraints=(\[.*\])\)$", text)[1])
    exported(spec_of(name), constraints)


def test_a_size_that_is_known_and_too_small_has_torch_s_error():
    (h,) = export.symbolic_shape("h")
    for mode, text in (("zeros", "Kernel size can't be greater"), ("reflect", "Padding size")):
        spec = ConvSpec.parse(
            f"conv2d in=4 out=6 kernel=3 groups=2 padding={int(mode != 'zeros')} "
            f"padding_mode={mode}"
        )
        with pytest.raises(ValueError, match=text):
            run(spec, jnp.ones((2, 4, 5, 1)), jnp.ones(spec.weight_shape))
        shapes = jax.ShapeDtypeStruct((2, 4, h, 1), float), jnp.ones(spec.weight_shape)
        with pytest.raises(ValueError, match=text):
            jax.eval_shape(lambda x, w, spec=spec: run(spec, x, w), *shapes)
