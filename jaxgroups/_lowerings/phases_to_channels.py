"""Output phases as channels: a transposed convolution as an ordinary one, for many taps.

With input dilation u, and no stride nor dilation of the kernel,
``y[p] = sum over k of x[(p + k - lo) / u] w[k]``.
Write ``p = q u + r`` with ``0 <= r < u``. The tap ``k = j u + lo - r`` reads ``x[q + j]``, so

    y[q u + r] = sum over j of x[q + j] v[j, r],    v[j, r] = w[j u + lo - r], zero outside of w

is a plain convolution with u times as many outputs and about k / u taps. This is the sub-pixel
convolution. Overlap-add, as in an inverse short-time Fourier transform, is the same sum in another
order.

The zeros of v multiply entries of x that the definition does not read. A NaN or an infinity there
would reach results that do not depend on it, so a result that is not finite is recomputed.
"""

from dataclasses import replace
from math import prod
from typing import TypeGuard

import jax
import jax.numpy as jnp
from jax import lax

from jaxgroups._lowerings.views import Forward, View
from jaxgroups._problem.problem import dimension_numbers
from jaxgroups._problem.xla_conv import plain_conv_p


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
        longest = max(1, min(-(-p // u), n - first))  # after n - first, no tap reads an input
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
    """(N, *q, g u.. o) -> (N, *out, g o), with zeros after the last q."""
    rank = view.rank
    batch, *longest = y.shape[: 1 + rank]
    y = y.reshape(batch, *longest, view.groups, *view.lhs_dilation, view.o)
    pairs = [axis for a in range(1, rank + 1) for axis in (a, a + 1 + rank)]
    y = jnp.transpose(y, (0, *pairs, 1 + rank, 2 + 2 * rank))
    whole = [q * u for q, u in zip(longest, view.lhs_dilation, strict=True)]
    y = y.reshape(batch, *whole, view.groups * view.o)
    config = [(0, p - n, 0) for p, n in zip(view.out, whole, strict=True)]
    return lax.pad(y, jnp.zeros((), y.dtype), [(0, 0, 0), *config, (0, 0, 0)])


def restored(view: Forward, y: jax.Array, x: jax.Array, w: jax.Array) -> jax.Array:
    """`to_phases` of y; if it is not finite and v has zeros, the result by definition."""
    y = to_phases(view, y)
    first_and_last = (
        _range(k, u, lo)
        for k, u, (lo, _) in zip(view.kernel, view.lhs_dilation, view.padding, strict=True)
    )
    taps = prod(last - first + 1 for first, last in first_and_last)
    if taps * view.phases == view.taps:
        return y
    return lax.cond(jnp.isfinite(y).all(), lambda: y, lambda: _by_definition(view, x, w))


def _by_definition(view: Forward, x: jax.Array, w: jax.Array) -> jax.Array:
    """XLA's own convolution, one group at a time: with groups it multiplies zeros too."""

    def one(operands: tuple[jax.Array, jax.Array]) -> jax.Array:
        return plain_conv_p.bind(
            *operands,
            window_strides=view.stride,
            padding=view.padding,
            lhs_dilation=view.lhs_dilation,
            rhs_dilation=view.dilation,
            dimension_numbers=lax.ConvDimensionNumbers(
                *dimension_numbers(view.rank, "channels_last")
            ),
            feature_group_count=1,
            batch_group_count=1,
            precision=view.precision,
            preferred_element_type=jnp.dtype(view.accumulator),
            out_sharding=None,
        )

    x = jnp.moveaxis(x.reshape(*x.shape[:-1], view.groups, view.c), -2, 0)
    w = jnp.moveaxis(w.reshape(*w.shape[:-1], view.groups, view.o), -2, 0)
    y = jnp.moveaxis(lax.map(one, (x, w)), 0, -2)
    return y.reshape(*y.shape[:-2], view.groups * view.o)
