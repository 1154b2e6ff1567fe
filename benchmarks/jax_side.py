"""One convolution by lax and by jaxgroups, compiled ahead of its calls."""

import re
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxgroups as jg
from benchmarks.data import Contestant, Data


def last(array: np.ndarray) -> np.ndarray:
    """(N, C, *spatial) -> (N, *spatial, C)."""
    return np.moveaxis(array, 1, -1)


def weight_last(array: np.ndarray) -> np.ndarray:
    """Torch's weight with its axes turned round, (2.., 1, 0): what Flax calls a kernel."""
    return np.transpose(array, (*range(2, array.ndim), 1, 0))


def weight_first(array: np.ndarray) -> np.ndarray:
    """The way back: (*k, I, O) -> (O, I, *k)."""
    return np.transpose(array, (array.ndim - 1, array.ndim - 2, *range(array.ndim - 2)))


def plain_weight(array: np.ndarray, groups: int) -> np.ndarray:
    """A transposed convolution's weight as that of the plain one which computes it, and back.

    ``(in, out / g, *k) -> (out, in / g, *k)``, flipped in space. lax has no transposed convolution
    with groups, so its user does this once, and it stays out of the measurement.
    """
    first, second, *kernel = array.shape
    array = array.reshape(groups, first // groups, second, *kernel)
    array = np.swapaxes(array, 1, 2).reshape(groups * second, first // groups, *kernel)
    return np.flip(array, range(2, array.ndim))


def lax_function(spec: jg.ConvSpec) -> Callable:
    """The convolution in lax's own words, channels last."""
    axes = "DHW"[3 - spec.rank :]
    pads, strides, dilated = spec.padding, spec.stride, (1,) * spec.rank
    if spec.transposed:
        full = [d * (k - 1) for d, k in zip(spec.dilation, spec.kernel_size, strict=True)]
        sides = zip(full, spec.padding, spec.output_padding, strict=True)
        pads = [(f - low, f - high + extra) for f, (low, high), extra in sides]
        strides, dilated = dilated, spec.stride

    def function(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            x,
            kernel,
            strides,
            pads,
            lhs_dilation=dilated,
            rhs_dilation=spec.dilation,
            dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
            feature_group_count=spec.groups,
        )

    return function


def jaxgroups_function(spec: jg.ConvSpec, implementation: str | None) -> Callable:
    """The convolution as a user of jaxgroups calls it, channels last."""
    function = getattr(jg, spec.op)
    how = {
        "stride": spec.stride,
        "padding": tuple(low for low, _ in spec.padding),
        "dilation": spec.dilation,
        "groups": spec.groups,
        "data_format": "channels_last",
        "implementation": implementation,
    }
    if spec.transposed:
        how["output_padding"] = spec.output_padding
    return lambda x, weight: function(x, weight, **how)


def gradients_of(function: Callable) -> Callable:
    """(x, weight, cotangent) -> gradients of x and weight."""
    return lambda x, weight, cotangent: jax.vjp(function, x, weight)[1](cotangent)


def by_jax(name: str, function: Callable, spec: jg.ConvSpec, data: Data, mode: str) -> Contestant:
    """A function of x and kernel, compiled here; how long that took and its memory are noted."""
    turned = spec.transposed and name == "lax"
    kernel = plain_weight(data.weight, spec.groups) if turned else data.weight
    arrays = [last(data.x), weight_last(kernel)]
    if mode == "gradients":
        arrays.append(last(data.cotangent))
        function = gradients_of(function)
    arguments = [jnp.asarray(np.ascontiguousarray(a), dtype=spec.dtype) for a in arrays]
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    notes = {"compile_seconds": time.perf_counter() - start} | memory_of(compiled)
    notes["lowerings"] = lowerings_in(compiled)

    def call() -> object:
        return jax.block_until_ready(compiled(*arguments))

    def results() -> list[np.ndarray]:
        found = [np.asarray(a.astype(data.x.dtype)) for a in jax.tree.leaves(call())]
        first = np.moveaxis(found[0], -1, 1)
        if len(found) == 1:
            return [first]
        gradient = weight_first(found[1])
        return [first, plain_weight(gradient, spec.groups) if turned else gradient]

    return Contestant(name, call, results, notes)


def lowerings_in(compiled: Any) -> list[str]:
    """The lowerings of jaxgroups that a program was made of: each names itself in its scope."""
    return sorted(set(re.findall(r"jaxgroups\.(\w+)", compiled.as_text() or "")))


def memory_of(compiled: Any) -> dict[str, int]:
    """Bytes that XLA sets aside beside the arguments: scratch, and results."""
    memory = compiled.memory_analysis()
    if memory is None:
        return {}
    return {"temp_bytes": memory.temp_size_in_bytes, "output_bytes": memory.output_size_in_bytes}
