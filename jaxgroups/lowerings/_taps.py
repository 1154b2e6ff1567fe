"""A convolution as a sum over its taps of shifted slices, without a multiplication by a zero hole.

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

from jaxgroups.lowerings._views import Forward, Ints, WeightGradient


@dataclass(frozen=True)
class Tap:
    """One tap: its place in the kernel, the input phase it reads and the shift in that phase."""

    kernel: Ints
    phase: Ints
    shift: Ints


@dataclass(frozen=True)
class OutputPhase:
    """The outputs ``phase + q u`` with ``0 <= q < out``."""

    phase: Ints
    out: Ints
    taps: tuple[Tap, ...]


def output_phases(view: Forward | WeightGradient) -> tuple[OutputPhase, ...]:
    """The convolution of a view, phase by phase; one phase where nothing is dilated."""
    dilated = view.lhs_dilation if isinstance(view, Forward) else (1,) * view.rank
    phases = []
    for at in product(*map(range, dilated)):
        axes = []
        for r, u, p, k, s, d, (lo, _) in zip(
            at,
            dilated,
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
        phases.append(OutputPhase(at, out, taps))
    return tuple(phases)


def slicer(
    view: Forward | WeightGradient, phases: tuple[OutputPhase, ...], x: jax.Array, axis: int = 1
) -> Callable[[Tap, Ints], jax.Array]:
    """``slice(tap, out)``: the part of x, from `axis` on spatial, that a tap multiplies.

    x is padded once and split into the phases that are read. The barrier makes XLA keep these as
    arrays: fused into the sum, every term would test each index for the border again.
    """
    read = [(tap, phase.out) for phase in phases for tap in phase.taps]
    low, high, strides = [], [], []
    for a, (size, stride) in enumerate(zip(view.size, view.stride, strict=True)):
        shifts = [(tap.shift[a], out[a]) for tap, out in read]
        low.append(max(0, -min(i for i, _ in shifts)))
        high.append(max(i + n for i, n in shifts) * stride - size)
        strides.append(stride)
    none = (0, 0, 0)
    config = [(lo * s, hi, 0) for lo, hi, s in zip(low, high, strides, strict=True)]
    behind = x.ndim - axis - view.rank
    config = [none] * axis + config + [none] * behind
    moved = any(lo or hi for lo, hi, _ in config)
    padded = lax.pad(x, jnp.zeros((), x.dtype), config) if moved else x

    def split(phase: Ints) -> jax.Array:
        if max(strides) == 1:
            return padded
        start = (0,) * axis + phase + (0,) * behind
        steps = (1,) * axis + tuple(strides) + (1,) * behind
        return lax.slice(padded, start, padded.shape, steps)

    sources = {phase: split(phase) for phase in sorted({tap.phase for tap, _ in read})}
    if moved or max(strides) > 1:
        sources = dict(zip(sources, lax.optimization_barrier(tuple(sources.values())), strict=True))

    def of_tap(tap: Tap, out: Ints) -> jax.Array:
        source = sources[tap.phase]
        start = [lo + i for lo, i in zip(low, tap.shift, strict=True)]
        stop = [b + n for b, n in zip(start, out, strict=True)]
        tail = source.shape[axis + view.rank :]
        return lax.slice(
            source,
            (0,) * axis + tuple(start) + (0,) * behind,
            source.shape[:axis] + tuple(stop) + tail,
        )

    return of_tap


def interleave(view: Forward, parts: list[jax.Array], axis: int = 1) -> jax.Array:
    """Output phases, in the order of `output_phases`, put together: ``y[q u + r] = part_r[q]``."""
    if len(parts) == 1:
        return parts[0]
    dilated, rank = view.lhs_dilation, view.rank
    longest = tuple(-(-n // u) for n, u in zip(view.out, dilated, strict=True))
    grown = []
    for part in parts:
        sizes = part.shape[axis : axis + rank]
        config = [(0, 0, 0)] * part.ndim
        config[axis : axis + rank] = [(0, n - m, 0) for n, m in zip(longest, sizes, strict=True)]
        grown.append(lax.pad(part, jnp.zeros((), part.dtype), config))
    y = jnp.stack(grown, axis).reshape(*grown[0].shape[:axis], *dilated, *grown[0].shape[axis:])
    # (..., u1, u2, q1, q2, ...) -> (..., q1, u1, q2, u2, ...)
    order = list(range(axis))
    for a in range(rank):
        order += [axis + rank + a, axis + a]
    order += range(axis + 2 * rank, y.ndim)
    y = jnp.transpose(y, order)
    whole = tuple(n * u for n, u in zip(longest, dilated, strict=True))
    y = y.reshape(*y.shape[:axis], *whole, *y.shape[axis + 2 * rank :])
    return lax.slice(y, (0,) * y.ndim, (*y.shape[:axis], *view.out, *y.shape[axis + rank :]))
