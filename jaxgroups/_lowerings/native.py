"""C++ kernels, called through XLA's FFI: the sources are in ``jaxgroups/_native/src``.

They compute float32 and float64. 16-bit floats are converted to float32.
"""

from collections.abc import Iterable

import jax
import numpy as np

from jaxgroups import _native as native
from jaxgroups._lowerings.base import Fused, on_views
from jaxgroups._lowerings.views import View, Weights
from jaxgroups._native import packing
from jaxgroups._spec.epilogue import KINDS, PLACES

RESULTS = {
    "float32": ("float32",),
    "float64": ("float64",),
    "bfloat16": ("bfloat16", "float32"),
    "float16": ("float16", "float32"),
}
# limits of the handlers: see `check_axis` in problem.cc
LARGEST, MOST_DILATED = 2**28, 4096


def unsupported_reason(view: View) -> str | None:
    if view.result not in RESULTS.get(view.dtype, ()):
        return f"the kernels compute real floats, not {view.dtype} to {view.result}"
    if view.rank > 3:
        return "the kernels take up to three spatial axes"
    paddings = (abs(n) for pair in view.padding for n in pair)
    sizes = (view.batch, view.groups * view.c, view.groups * view.o, *view.size, *view.out)
    if max(*sizes, *view.kernel, *view.stride, *view.dilation, *paddings) > LARGEST:
        return f"the kernels take no value above {LARGEST}"
    if max(view.lhs_dilation) > MOST_DILATED:
        return f"the kernels take dilations of the input up to {MOST_DILATED}"
    return native.status().missing


def _high(view: View) -> list[int]:
    """The padding after x that windows read, without the part that a stride leaves over."""
    return [
        (p - 1) * s + (k - 1) * d - (n - 1) * u - lo
        for p, s, k, d, n, u, (lo, _) in zip(
            view.out,
            view.stride,
            view.kernel,
            view.dilation,
            view.size,
            view.lhs_dilation,
            view.padding,
            strict=True,
        )
    ]


def pack(view: View, weights: np.ndarray) -> tuple[np.ndarray, int] | None:
    """The packed weights (*kernel, c, g o) of a `Forward` view, and the number of the layout."""
    x = (view.batch, *view.size, view.groups * view.c)
    y = (view.batch, *view.out, view.groups * view.o)
    low = [low for low, _ in view.padding]
    shapes = (x, weights.shape, y, view.stride, low, _high(view), view.dilation)
    return packing.pack(weights, view.groups, *shapes, view.lhs_dilation)


def apply(
    view: View,
    first: jax.Array,
    second: jax.Array,
    weights: Weights | None = None,
    bias: jax.Array | None = None,
    fused: Fused | None = None,
) -> jax.Array:
    operands = [first, second] if bias is None else [first, second, bias]
    dtype = view.accumulator
    kernel = (*view.kernel, view.c, view.groups * view.o)
    attributes = {
        "groups": np.int64(view.groups),
        "stride": _array(view.stride),
        "low": _array(low for low, _ in view.padding),
        "high": _array(_high(view)),
        "dilation": _array(view.dilation),
        "lhs_dilation": _array(view.lhs_dilation),
    }
    if weights is None:
        target, shape = native.WEIGHT_GRADIENT, kernel
    else:
        target, shape = native.FORWARD, (view.batch, *view.out, view.groups * view.o)
        attributes["weight_shape"] = _array(kernel)
        attributes["weight_strides"] = _array(weights.strides)
        attributes["weight_offset"] = np.int64(weights.offset)
    if fused is not None:
        target, epilogue = native.FUSED, fused.epilogue
        attributes["activation"] = np.int64(KINDS.index(epilogue.kind))
        attributes["alpha"] = np.float64(epilogue.alpha)
        attributes["beta"] = np.float64(epilogue.beta)
        attributes["packed"] = np.int64(fused.layout)
        attributes["residual"] = np.int64(PLACES.index(epilogue.residual))
        if fused.packed is not None:
            operands[1] = fused.packed
        if fused.residual is not None:
            operands.append(fused.residual)
    call = jax.ffi.ffi_call(target, jax.ShapeDtypeStruct(shape, dtype))
    return call(*(operand.astype(dtype) for operand in operands), **attributes)


def _array(numbers: Iterable[int]) -> np.ndarray:
    return np.array(list(numbers), np.int64)


LOWERING = on_views(
    name="native",
    summary="C++ kernels through XLA's FFI",
    unsupported_reason=unsupported_reason,
    apply=apply,
    platforms=("cpu",),
    portable=False,
    reads_views=True,
    fuses=True,
)
