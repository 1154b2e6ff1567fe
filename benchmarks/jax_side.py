"""One convolution by lax and by jaxgroups, compiled ahead of time."""

import re
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxgroups as jg
from benchmarks.data import Data
from benchmarks.guard import predicted_seconds
from benchmarks.prepared import Prepared


def last(array: np.ndarray) -> np.ndarray:
    """(N, C, *spatial) -> (N, *spatial, C)."""
    return np.moveaxis(array, 1, -1)


def weight_last(array: np.ndarray) -> np.ndarray:
    """Torch's weight as a Flax kernel: its axes in the order (2.., 1, 0)."""
    return np.transpose(array, (*range(2, array.ndim), 1, 0))


def weight_first(array: np.ndarray) -> np.ndarray:
    """The inverse of `weight_last`: (*k, I, O) -> (O, I, *k)."""
    return np.transpose(array, (array.ndim - 1, array.ndim - 2, *range(array.ndim - 2)))


def plain_weight(array: np.ndarray, groups: int) -> np.ndarray:
    """The weight of the plain convolution that computes a transposed one; its own inverse.

    ``(in, out / g, *k) -> (out, in / g, *k)``, flipped in space. lax has no transposed convolution
    with groups. A user of lax converts the weight once, so the conversion is not timed.
    """
    first, second, *kernel = array.shape
    array = array.reshape(groups, first // groups, second, *kernel)
    array = np.swapaxes(array, 1, 2).reshape(groups * second, first // groups, *kernel)
    return np.flip(array, tuple(range(2, array.ndim)))


def lax_function(spec: jg.ConvSpec) -> Callable:
    """The convolution as a call of lax, channels last."""
    axes = "DHW"[3 - spec.rank :]
    pads, strides, lhs_dilation = spec.padding, spec.stride, (1,) * spec.rank
    if spec.transposed:
        full = [d * (k - 1) for d, k in zip(spec.dilation, spec.kernel_size, strict=True)]
        sides = zip(full, spec.padding, spec.output_padding, strict=True)
        pads = [(f - low, f - high + extra) for f, (low, high), extra in sides]
        strides, lhs_dilation = lhs_dilation, spec.stride

    def function(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            x,
            kernel,
            strides,
            pads,
            lhs_dilation=lhs_dilation,
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


def results_of(function: Callable, mode: str) -> Callable:
    """What a mode computes: "forward", "gradients" or one of them, "input" or "weight"."""
    if mode == "forward":
        return lambda x, weight, cotangent: (function(x, weight),)
    gradients = gradients_of(function)
    which = {"gradients": slice(2), "input": slice(1), "weight": slice(1, 2)}[mode]
    return lambda x, weight, cotangent: gradients(x, weight, cotangent)[which]


def by_jax(name: str, function: Callable, spec: jg.ConvSpec, data: Data, mode: str) -> Prepared:
    """A compiled function of x and kernel; the notes have its compile time and its memory."""
    converted = spec.transposed and name == "lax"
    kernel = plain_weight(data.weight, spec.groups) if converted else data.weight
    arrays = [last(data.x), weight_last(kernel), last(data.cotangent)]
    function = results_of(function, mode)
    arguments = [jnp.asarray(np.ascontiguousarray(a), dtype=spec.dtype) for a in arrays]
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    notes = memory_of(compiled) | {"compile_seconds": time.perf_counter() - start}
    notes["lowerings"] = lowerings_in(compiled)

    def call() -> object:
        return jax.block_until_ready(compiled(*arguments))

    def in_torchs_axes(array: np.ndarray, of_weight: bool) -> np.ndarray:
        if not of_weight:
            return np.moveaxis(array, -1, 1)
        array = weight_first(array)
        return plain_weight(array, spec.groups) if converted else array

    def results() -> list[np.ndarray]:
        found = [np.asarray(a.astype(data.x.dtype)) for a in jax.tree.leaves(call())]
        if mode == "weight":
            return [in_torchs_axes(found[0], True)]
        return [in_torchs_axes(array, i > 0) for i, array in enumerate(found)]

    return Prepared(call, results, notes)


def prepare(request: dict[str, Any]) -> Prepared | str:
    """The contestant ``lax``, ``jaxgroups`` or ``jaxgroups.IMPLEMENTATION`` in a worker.

    Other names are those of jaxgroups with another environment. A contestant is left out if a
    single call would take more than ``request["limit"]`` seconds.
    """
    spec = jg.ConvSpec.parse(request["spec"])
    if spec.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    name, mode = request["contestant"], request["mode"]
    first, _, implementation = name.partition(".")
    if implementation:
        try:
            jg.explain(spec, implementation=implementation)
        except ValueError as reason:
            return str(reason)

    def function(spec: jg.ConvSpec) -> Callable:
        if first == "lax":
            return lax_function(spec)
        return jaxgroups_function(spec, implementation or None)

    def trial(part: jg.ConvSpec) -> Callable[[], object]:
        return by_jax(name, function(part), part, Data.random(part), mode).call

    guarded = "forward" if mode == "forward" else "gradients"
    seconds = predicted_seconds(spec, guarded, trial)
    if seconds is not None and seconds > request["limit"]:
        return f"a call would take about {seconds:.0f} s"
    return by_jax(name, function(spec), spec, Data.load(request["data"]), mode)


def lowerings_in(compiled: Any) -> list[str]:
    """The lowerings of jaxgroups in a program: each one is the name of a scope."""
    return sorted(set(re.findall(r"jaxgroups\.(\w+)", compiled.as_text() or "")))


def memory_of(compiled: Any) -> dict[str, Any]:
    """Bytes that XLA allocates besides the arguments: scratch memory and results."""
    memory = compiled.memory_analysis()
    if memory is None:
        return {}
    return {"temp_bytes": memory.temp_size_in_bytes, "output_bytes": memory.output_size_in_bytes}
