"""Windows of whole strides as channels: a strided convolution as one of stride 1.

With stride s and a kernel of ``m s`` taps, ``y[p] = sum over k of x[p s + k - lo] w[k]``.
Write ``k = j s + r`` with ``0 <= r < s``, and cut x, padded, into blocks of s entries:

    y[p] = sum over j, r of blocks[p + j, r] w[j s + r],    blocks[q, r] = x[q s + r - lo]

is a plain convolution with s times as many input channels and m taps. Patches (``m = 1``) become
one matrix product. The weight gradient is the same sum over p. This is space-to-depth, the inverse
of `phases_to_channels`.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from jaxgroups._lowerings.views import View, whole_strides
from jaxgroups._types import Ints


def convertible(view: View) -> bool:
    """Whether `plain` holds for a view, and changes it."""
    if max(view.stride) == 1 or max(view.lhs_dilation) > 1:
        return False
    return whole_strides(view.kernel, view.stride, view.dilation)


def plain(view: View) -> View:
    """The view of the plain convolution. Axes without a stride stay as they are."""
    size, kernel, padding = [], [], []
    for n, k, s, p, pad in zip(
        view.size, view.kernel, view.stride, view.out, view.padding, strict=True
    ):
        taps = k // s
        size.append(n if s == 1 else p - 1 + taps)
        kernel.append(taps)
        padding.append(pad if s == 1 else (0, 0))
    return replace(
        view,
        size=tuple(size),
        kernel=tuple(kernel),
        padding=tuple(padding),
        stride=(1,) * view.rank,
        c=view.c * prod(view.stride),
    )


def plain_input(view: View, x: jax.Array) -> jax.Array:
    """(N, *size, g c) -> (N, *blocks, g s.. c)."""
    config, blocks, shape = [], [], []
    sizes = plain(view).size
    for n, s, q, (lo, _) in zip(view.size, view.stride, sizes, view.padding, strict=True):
        config.append((0, 0, 0) if s == 1 else (lo, q * s - n - lo, 0))
        blocks.append(q)
        shape += [q, s]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *config, (0, 0, 0)])
    x = x.reshape(view.batch, *shape, view.groups, view.c)
    outer, inner = _pairs(1, view.rank)
    x = jnp.transpose(x, (0, *outer, 1 + 2 * view.rank, *inner, 2 + 2 * view.rank))
    return x.reshape(view.batch, *blocks, -1)


def plain_kernel(view: View, w: jax.Array) -> jax.Array:
    """(*k, c, g o) -> (*j, s.. c, g o)."""
    taps = plain(view).kernel
    shape = [n for pair in zip(taps, view.stride, strict=True) for n in pair]
    outer, inner = _pairs(0, view.rank)
    w = w.reshape(*shape, view.c, -1)
    w = jnp.transpose(w, (*outer, *inner, 2 * view.rank, 2 * view.rank + 1))
    return w.reshape(*taps, -1, view.groups * view.o)


def to_kernel(view: View, w: jax.Array) -> jax.Array:
    """(*j, s.. c, g o) -> (*k, c, g o): the inverse of `plain_kernel`."""
    w = w.reshape(*plain(view).kernel, *view.stride, view.c, -1)
    pairs = [axis for a in range(view.rank) for axis in (a, a + view.rank)]
    w = jnp.transpose(w, (*pairs, 2 * view.rank, 2 * view.rank + 1))
    return w.reshape(*view.kernel, view.c, view.groups * view.o)


def _pairs(first: int, rank: int) -> tuple[Sequence[int], Ints]:
    """The axes of the first and the second entries of `rank` pairs that begin at axis `first`."""
    outer = range(first, first + 2 * rank, 2)
    return outer, tuple(axis + 1 for axis in outer)
