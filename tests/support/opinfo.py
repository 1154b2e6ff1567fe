"""Torch's own samples of a function, run by torch and by jaxgroups: values and gradients.

The samples are those of ``torch.testing``'s OpInfo entries: every argument form that torch's
authors thought of, and the calls that torch refuses.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from support.torch_bridge import to_numpy, torch

pytest.importorskip("expecttest")  # torch's test data imports it
invocations = pytest.importorskip("torch.testing._internal.common_methods_invocations")

HALVES = ("float16", "bfloat16")


def info(name, variant=""):
    """The OpInfo entry of ``torch.nn.functional.<name>``, or of ``torch.<name>``."""
    (found,) = [
        i
        for i in invocations.op_db
        if i.name in (f"nn.functional.{name}", name) and i.variant_test_name == variant
    ]
    return found


def samples(name, dtype, variant="", every=1):
    """Every n-th sample of one dtype."""
    torch.manual_seed(0)
    found = info(name, variant).sample_inputs("cpu", getattr(torch, dtype), requires_grad=False)
    return list(found)[::every]


def refused(name, variant=""):
    """The calls that torch refuses: (sample, torch's error type, a pattern of its message)."""
    return [
        (e.sample_input, e.error_type, e.error_regex)
        for e in info(name, variant).error_inputs("cpu")
    ]


def call(function, sample):
    """`function` on a sample's arguments: tensors as arrays, everything else as it is."""
    values = [sample.input, *sample.args]
    at = [i for i, value in enumerate(values) if isinstance(value, torch.Tensor)]
    named = {k: to_numpy(v) for k, v in sample.kwargs.items() if isinstance(v, torch.Tensor)}
    rest = {k: v for k, v in sample.kwargs.items() if k not in named}

    def run(arrays, by_name):
        given = list(values)
        for place, array in zip(at, arrays, strict=True):
            given[place] = array
        return function(*given, **by_name, **rest)

    return run, [to_numpy(values[i]) for i in at], named


def assert_equal_to_torch(function, name, sample, dtype, variant="", *, gradients=True, eps=16):
    """Values and gradients of a sample against torch's, to `eps` roundings of the largest value.

    In half precision torch in float64 judges, and one rounding of the result is allowed for.
    """
    op = info(name, variant).op
    run, arrays, named = call(function, sample)
    half = dtype in HALVES
    widen = (
        (lambda t: t.double() if t.is_floating_point() else t) if half else (lambda t: t.clone())
    )
    wide = [widen(v) if isinstance(v, torch.Tensor) else v for v in (sample.input, *sample.args)]
    wide_named = {
        k: widen(v) if isinstance(v, torch.Tensor) else v for k, v in sample.kwargs.items()
    }
    leaves = [v for v in (*wide, *wide_named.values()) if isinstance(v, torch.Tensor)]
    differentiable = gradients and all(v.is_floating_point() for v in leaves)
    for leaf in leaves:
        leaf.requires_grad_(differentiable)
    expected = op(*wide, **wide_named)
    several = isinstance(expected, tuple)
    result = jax.jit(run)(arrays, named)
    for got, true in zip(
        result if several else (result,), expected if several else (expected,), strict=True
    ):
        assert_close(got, to_numpy(true), dtype, eps)
    if not differentiable or half:
        return
    first = expected[0] if several else expected
    if not first.requires_grad or first.numel() == 0:
        return
    weights = np.random.default_rng(1).integers(1, 9, tuple(first.shape)).astype(dtype)
    first.backward(torch.from_numpy(np.asarray(weights)))

    def first_result(arrays, named):
        out = run(arrays, named)
        return out[0] if several else out

    _, pullback = jax.vjp(first_result, arrays, named)
    found, found_named = jax.jit(pullback)(jnp.asarray(weights))
    tensors = [v for v in wide if isinstance(v, torch.Tensor)]
    for got, tensor in zip(found, tensors, strict=True):
        assert_close(got, to_numpy(tensor.grad), dtype, eps * 4)
    for key, got in found_named.items():
        assert_close(got, to_numpy(wide_named[key].grad), dtype, eps * 4)


def assert_close(got, expected, dtype, eps):
    """Equal shapes and dtype, NaN at the same places, values to `eps` roundings."""
    if expected is None:  # torch found that nothing depends on it
        np.testing.assert_array_equal(np.asarray(got), 0)
        return
    assert got.shape == expected.shape
    if expected.dtype.kind in "iub":
        np.testing.assert_array_equal(np.asarray(got), expected)
        return
    assert got.dtype == jnp.dtype(dtype)
    found = np.asarray(got.astype("complex128" if expected.dtype.kind == "c" else "float64"))
    finite = np.abs(expected[np.isfinite(expected)])
    scale = float(finite.max()) if finite.size else 1.0
    precision = float(jnp.finfo(dtype).eps)
    atol = (1 if dtype in HALVES else eps) * precision * max(scale, 1e-30)
    np.testing.assert_allclose(found, expected.astype(found.dtype), rtol=0, atol=atol)


def assert_refused(function, sample):
    """jaxgroups refuses a call that torch refuses, at tracing."""
    run, arrays, named = call(function, sample)
    with pytest.raises((ValueError, TypeError)):
        jax.eval_shape(partial(run), arrays, named)
