"""A convolution as a sum of shifted slices over its taps, without products with dilation zeros.

One axis of the `Forward` view is ``y[p] = sum over k of x[(p s + k d - lo) / u] w[k]``.

* Stride (``u = 1``): write ``k d - lo = i s + m`` with ``0 <= m < s``. Then the index is
  ``(p + i) s + m``: entry ``p + i`` of the phase ``m`` of x, a plain shifted slice of it.
* Input dilation (``s = 1``): only outputs ``p = q u + r`` with ``r + k d - lo = i u`` meet entry
  ``q + i`` of x. For each output phase ``r`` the taps that fit are a stride-1 convolution of x;
  the phases are interleaved at the end.

So every output phase is a list of taps, each with an input phase ``m`` and a shift ``i``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import jax
import jax.numpy as jnp
from jax import lax

from jaxgroups._lowerings.views import Forward, WeightGradient
from jaxgroups._types import Ints


@dataclass(frozen=True)
class Tap:
    """One tap: its index in the kernel, the input phase it reads and the shift in that phase."""

    kernel: Ints
    phase: Ints
    shift: Ints


@dataclass(frozen=True)
class OutputPhase:
    """The outputs ``r + q u`` of one ``r``, with ``0 <= q < out``."""

    out: Ints
    taps: tuple[Tap, ...]


def output_phases(view: Forward | WeightGradient) -> tuple[OutputPhase, ...]:
    """The convolution of a view, phase by phase; one phase where nothing is dilated."""
    phases = []
    for at in product(*map(range, view.lhs_dilation)):
        axes = []
        for r, u, p, k, s, d, (lo, _) in zip(
            at,
            view.lhs_dilation,
            view.out,
            view.kernel,
            view.stride,
            view.dilation,
            view.padding,
            strict=True,
        ):
            offsets = [(j, r + j * d - lo) for j in range(k)]
            if u > 1:
                fit = [(j, 0, e // u) for j, e in offsets if e % u == 0]
            else:
                fit = [(j, e % s, e // s) for j, e in offsets]
            axes.append((-(-(p - r) // u), fit))
        out = tuple(max(n, 0) for n, _ in axes)
        taps = tuple(Tap(*zip(*tap, strict=True)) for tap in product(*(fit for _, fit in axes)))
        phases.append(OutputPhase(out, taps))
    return tuple(phases)


def slicer(
    view: Forward | WeightGradient, phases: tuple[OutputPhase, ...], x: jax.Array
) -> Callable[[Tap, Ints], jax.Array]:
    """``slice(tap, out)``: the part of x (N, *size, ...) that a tap multiplies.

    x is padded once and split into the phases that are read. The optimization barrier keeps the
    phases as arrays: if XLA fused the padding into the sum, every term would check each index
    against the border.
    """
    read = [(tap, phase.out) for phase in phases for tap in phase.taps]
    low, high = [], []
    for axis, (size, stride) in enumerate(zip(view.size, view.stride, strict=True)):
        ends = [(tap.shift[axis], tap.shift[axis] + out[axis]) for tap, out in read]
        low.append(max(0, -min(start for start, _ in ends)))
        high.append(max(stop for _, stop in ends) * stride - size)
    trailing = (0,) * (x.ndim - 1 - view.rank)
    config = [(lo * s, hi, 0) for lo, hi, s in zip(low, high, view.stride, strict=True)]
    changed = any(lo or hi for lo, hi, _ in config)
    if changed:
        x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *config, *((n, n, n) for n in trailing)])
    strided = max(view.stride) > 1
    strides = (1, *view.stride, *(1 for _ in trailing))
    sources = {
        phase: lax.slice(x, (0, *phase, *trailing), x.shape, strides) if strided else x
        for phase in sorted({tap.phase for tap, _ in read})
    }
    if changed or strided:
        sources = dict(zip(sources, lax.optimization_barrier(tuple(sources.values())), strict=True))

    def of_tap(tap: Tap, out: Ints) -> jax.Array:
        source = sources[tap.phase]
        start = [lo + i for lo, i in zip(low, tap.shift, strict=True)]
        stop = [b + n for b, n in zip(start, out, strict=True)]
        whole = source.shape[1 + view.rank :]
        return lax.slice(source, (0, *start, *trailing), (source.shape[0], *stop, *whole))

    return of_tap


def interleave(view: Forward, parts: list[jax.Array]) -> jax.Array:
    """Output phases, in the order of `output_phases`, put together: ``y[q u + r] = part_r[q]``."""
    if len(parts) == 1:
        return parts[0]
    rank = view.rank
    longest = [-(-n // u) for n, u in zip(view.out, view.lhs_dilation, strict=True)]
    (batch, *_), tail = parts[0].shape, parts[0].shape[1 + rank :]
    grown = []
    for part in parts:
        missing = [(0, n - m, 0) for n, m in zip(longest, part.shape[1 : 1 + rank], strict=True)]
        config = [(0, 0, 0), *missing, *((0, 0, 0) for _ in tail)]
        grown.append(lax.pad(part, jnp.zeros((), part.dtype), config))
    y = jnp.stack(grown, 1).reshape(batch, *view.lhs_dilation, *longest, *tail)
    # (N, u1, u2, ..., q1, q2, ..., tail) -> (N, q1, u1, q2, u2, ..., tail)
    pairs = [axis for a in range(1, rank + 1) for axis in (a + rank, a)]
    y = jnp.transpose(y, (0, *pairs, *range(1 + 2 * rank, y.ndim)))
    whole = [q * u for q, u in zip(longest, view.lhs_dilation, strict=True)]
    y = y.reshape(batch, *whole, *tail)
    return lax.slice(y, (0,) * y.ndim, (batch, *view.out, *tail))
