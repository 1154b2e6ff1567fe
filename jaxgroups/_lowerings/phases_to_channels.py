"""Output phases as channels: a transposed convolution as a plain one, for kernels of many taps.

With input dilation u, and no stride nor dilation of the kernel,
``y[p] = sum over k of x[(p + k - lo) / u] w[k]``.
Write ``p = q u + r`` with ``0 <= r < u``. The tap ``k = j u + lo - r`` reads ``x[q + j]``, so

    y[q u + r] = sum over j of x[q + j] v[j, r],    v[j, r] = w[j u + lo - r], zero outside of w

is a plain convolution with u times as many outputs and about k / u taps. This is the sub-pixel
convolution. Overlap-add, as in an inverse short-time Fourier transform, is the same sum in another
order.
"""

from dataclasses import replace
from typing import TypeGuard

import jax
import jax.numpy as jnp
from jax import lax

from jaxgroups._lowerings.views import Forward, View


def convertible(view: View) -> TypeGuard[Forward]:
    """Whether `plain` holds for a view."""
    if not isinstance(view, Forward) or max(view.lhs_dilation) == 1:
        return False
    return max(view.stride) == max(view.dilation) == 1


def _range(k: int, u: int, lo: int) -> tuple[int, int]:
    """The first and the last j for which some r has a tap of w."""
    return -(lo // u), (k - 1 + u - 1 - lo) // u


def plain(view: Forward) -> Forward:
    """The view of the plain convolution."""
    kernel, out, padding, phases = [], [], [], 1
    for k, u, p, n, (lo, _) in zip(
        view.kernel, view.lhs_dilation, view.out, view.size, view.padding, strict=True
    ):
        first, last = _range(k, u, lo)
        taps = last - first + 1
        longest = max(1, min(-(-p // u), n - first))  # behind n - first, no tap meets an input
        kernel.append(taps)
        out.append(longest)
        padding.append((-first, longest - 1 + taps - 1 + first + 1 - n))
        phases *= u
    return replace(
        view,
        kernel=tuple(kernel),
        out=tuple(out),
        padding=tuple(padding),
        lhs_dilation=(1,) * view.rank,
        o=view.o * phases,
    )


def plain_kernel(view: Forward, w: jax.Array) -> jax.Array:
    """(*k, c, g o) -> (*j, c, g u.. o)."""
    rank = view.rank
    shape, config = [], []
    for k, u, (lo, _) in zip(view.kernel, view.lhs_dilation, view.padding, strict=True):
        first, last = _range(k, u, lo)
        # the taps of one j are consecutive in w, from r = u - 1 down to 0
        start = first * u + lo - (u - 1)
        config.append((-start, (last - first + 1) * u + start - k, 0))
        shape += [last - first + 1, u]
    w = lax.pad(w, jnp.zeros((), w.dtype), [*config, (0, 0, 0), (0, 0, 0)])
    w = w.reshape(*shape, view.c, view.groups, view.o)
    w = jnp.flip(w, range(1, 2 * rank, 2))
    w = jnp.transpose(
        w,
        (*range(0, 2 * rank, 2), 2 * rank, 2 * rank + 1, *range(1, 2 * rank, 2), 2 * rank + 2),
    )
    return w.reshape(*shape[::2], view.c, -1)


def to_phases(view: Forward, y: jax.Array) -> jax.Array:
    """(N, *q, g u.. o) -> (N, *out, g o), with zeros behind the last q."""
    rank = view.rank
    batch, *longest = y.shape[: 1 + rank]
    y = y.reshape(batch, *longest, view.groups, *view.lhs_dilation, view.o)
    pairs = [axis for a in range(1, rank + 1) for axis in (a, a + 1 + rank)]
    y = jnp.transpose(y, (0, *pairs, 1 + rank, 2 + 2 * rank))
    whole = [q * u for q, u in zip(longest, view.lhs_dilation, strict=True)]
    y = y.reshape(batch, *whole, view.groups * view.o)
    config = [(0, p - n, 0) for p, n in zip(view.out, whole, strict=True)]
    return lax.pad(y, jnp.zeros((), y.dtype), [(0, 0, 0), *config, (0, 0, 0)])
