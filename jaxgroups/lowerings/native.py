"""C++ kernels, called through XLA's FFI: the sources are in ``jaxgroups/native/src``."""

import jax
import numpy as np

from jaxgroups import native
from jaxgroups.lowerings._base import on_views
from jaxgroups.lowerings._views import Forward, View


def why_not(view: View) -> str | None:
    if view.groups == 1:
        return "groups=1: XLA's own dense convolution is faster"
    if view.dtype not in ("float32", "float64") or view.result != view.dtype:
        return f"the kernels compute float32 and float64, not {view.dtype} to {view.result}"
    if view.rank > 3:
        return "the kernels take up to three spatial axes"
    return native.status().missing


def apply(view: View, first: jax.Array, second: jax.Array) -> jax.Array:
    if isinstance(view, Forward):
        target = native.FORWARD
        shape = (view.batch, *view.out, view.groups * view.o)
        lhs_dilation = view.lhs_dilation
    else:
        target = native.WEIGHT_GRADIENT
        shape = (*view.kernel, view.c, view.groups * view.o)
        lhs_dilation = (1,) * view.rank
    call = jax.ffi.ffi_call(target, jax.ShapeDtypeStruct(shape, first.dtype))
    return call(
        first,
        second,
        groups=np.int64(view.groups),
        stride=np.array(view.stride, np.int64),
        low=np.array([low for low, _ in view.padding], np.int64),
        high=np.array([high for _, high in view.padding], np.int64),
        dilation=np.array(view.dilation, np.int64),
        lhs_dilation=np.array(lhs_dilation, np.int64),
    )


LOWERING = on_views(
    "native",
    "C++ kernels through XLA's FFI",
    why_not,
    apply,
    platforms=("cpu",),
    partitionable=False,
)
