"""Calls that would take minutes are foreseen, because nothing can interrupt one.

XLA's weight gradient of a grouped convolution does `groups` times the work there is, and what is
strided multiplies zeros, in a transposed convolution or in the gradients. Where that could be much,
a piece of the problem is timed and the rest reckoned by proportion.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from math import prod

from jaxgroups import ConvSpec

SUSPECT = 2e9  # FLOPs as below; some seconds at what XLA then reaches


def naive_flops(spec: ConvSpec, mode: str) -> int:
    """FLOPs with the work that is done in vain."""
    zeros = prod(spec.stride) if spec.transposed or mode == "gradients" else 1
    return spec.flops * zeros * (spec.groups if mode == "gradients" else 1)


def piece(spec: ConvSpec, share: int = 16) -> ConvSpec:
    """One image of the batch, its sides cut until about a `share`-th of it is left."""
    cut = round(share ** (1 / spec.rank))
    least = [
        1 if spec.transposed else d * (k - 1) + 1 - low - high
        for d, k, (low, high) in zip(spec.dilation, spec.kernel_size, spec.padding, strict=True)
    ]
    size = tuple(
        min(n, max(1, n // cut, enough)) for n, enough in zip(spec.size or (), least, strict=True)
    )
    return replace(spec, batch=(1,), size=size)


def foreseen(
    spec: ConvSpec, mode: str, build: Callable[[ConvSpec], Callable[[], object]]
) -> float | None:
    """Seconds that a call will take, by its `piece`; None where no such trial is called for.

    `build` makes the call of a spec, compiled.
    """
    part = piece(spec)
    if naive_flops(spec, mode) < SUSPECT or part == spec:
        return None
    call = build(part)
    lasted = []
    while not lasted or (len(lasted) < 3 and lasted[-1] < 0.1):  # the first may be cold
        start = time.perf_counter()
        call()
        lasted.append(time.perf_counter() - start)
    return min(lasted) * spec.flops / part.flops
