"""Predicts which calls would take minutes, because a call cannot be interrupted.

XLA's weight gradient of a grouped convolution does `groups` times the necessary work. A stride
makes XLA multiply zeros, in a transposed convolution and in the gradients. Where the excess could
be large, a part of the problem is timed and the time of the whole is extrapolated.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from math import prod

from jaxgroups import ConvSpec

MIN_FLOPS = 2e9  # of `naive_flops`: fewer take XLA a few seconds at most


def naive_flops(spec: ConvSpec, mode: str) -> int:
    """FLOPs including the unnecessary ones."""
    zeros = prod(spec.stride) if spec.transposed or mode == "gradients" else 1
    return spec.flops * zeros * (spec.groups if mode == "gradients" else 1)


def piece(spec: ConvSpec, share: int = 16) -> ConvSpec:
    """The spec with one image of the batch, reduced to about 1 / `share` of its size."""
    divisor = round(share ** (1 / spec.rank))
    least = [
        1 if spec.transposed else d * (k - 1) + 1 - low - high
        for d, k, (low, high) in zip(spec.dilation, spec.kernel_size, spec.padding, strict=True)
    ]
    size = tuple(
        min(n, max(1, n // divisor, minimum))
        for n, minimum in zip(spec.size or (), least, strict=True)
    )
    return replace(spec, batch=(1,), size=size)


def predicted_seconds(
    spec: ConvSpec, mode: str, build: Callable[[ConvSpec], Callable[[], object]]
) -> float | None:
    """Seconds that a call will take, extrapolated from its `piece`; None if it cannot be slow.

    `build` compiles the call of a spec.
    """
    part = piece(spec)
    if naive_flops(spec, mode) < MIN_FLOPS or part == spec:
        return None
    call = build(part)
    times = []
    while not times or (len(times) < 3 and times[-1] < 0.1):  # the first call may be cold
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times) * spec.flops / part.flops
