"""Patches times kernel: one matrix product for each group, all groups in one batched product.

The patches of a kernel of one tap (1x1) are x itself. The weight gradient is the product of the
patches with y, summed over the pixels.

Two kinds of convolutions are first rewritten with more channels and fewer taps: windows of whole
strides (`stride_to_channels`), and output phases (`phases_to_channels`). So patches that do not
overlap, and their gradients, become one matrix product.
"""

from collections.abc import Callable
from functools import lru_cache

import jax
import jax.numpy as jnp
from jax import lax

from jaxgroups._lowerings import phases_to_channels, stride_to_channels
from jaxgroups._lowerings.base import on_views
from jaxgroups._lowerings.taps import OutputPhase, Tap, interleave, output_phases, slicer
from jaxgroups._lowerings.views import View, WeightGradient
from jaxgroups._problem import ynnpack
from jaxgroups._types import Ints

MOST_TAPS = 64


@lru_cache(maxsize=256)
def plain_view(view: View) -> View | None:
    """The view with strides or output phases as channels; None where it is not rewritten.

    Phases become channels where each has one tap, which is a patch, or where the kernel has more
    than MOST_TAPS taps.
    """
    if stride_to_channels.convertible(view):
        return stride_to_channels.plain(view)
    if phases_to_channels.convertible(view):
        plain = phases_to_channels.plain(view)
        if view.taps > MOST_TAPS or (plain.taps == 1 and view.taps == view.phases):
            return plain
    return None


def unsupported_reason(view: View) -> str | None:
    if max(view.lhs_dilation) > 1 and max(view.stride) > 1:
        return "strided and dilated input at once"
    if jnp.issubdtype(view.dtype, jnp.integer):
        return "integers, which XLA's matrix product does not vectorise"
    computed = plain_view(view) or view
    if computed.taps > MOST_TAPS:
        return f"{computed.taps} taps, more than {MOST_TAPS}, to copy"
    if computed.phases > MOST_TAPS:
        return f"{computed.phases} output phases, more than {MOST_TAPS}, one by one"
    if view.c == view.o == 1:
        return "one channel in a group, no matrix"
    return None


def _grouped(array: jax.Array, groups: int) -> jax.Array:
    """(N, *P, g c) -> (g, N P, c)."""
    array = array.reshape(-1, groups, array.shape[-1] // groups)
    return jnp.swapaxes(array, 0, 1) if groups > 1 else array.reshape(1, -1, array.shape[-1])


def _patches(view: View, phase: OutputPhase, of_tap: Callable[[Tap, Ints], jax.Array]) -> jax.Array:
    """(g, N P, taps c)."""
    parts = [_grouped(of_tap(tap, phase.out), view.groups) for tap in phase.taps]
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, -1)


def apply(view: View, x: jax.Array, other: jax.Array) -> jax.Array:
    plain = plain_view(view)
    if plain is None:
        return _product(view, x, other)
    if phases_to_channels.convertible(view):
        y = _product(plain, x, phases_to_channels.plain_kernel(view, other))
        return phases_to_channels.restored(view, y, x, other)
    x = stride_to_channels.plain_input(view, x)
    if isinstance(view, WeightGradient):
        return stride_to_channels.to_kernel(view, _product(plain, x, other))
    return _product(plain, x, stride_to_channels.plain_kernel(view, other))


def _product(view: View, x: jax.Array, other: jax.Array) -> jax.Array:
    dtype = view.accumulator
    phases = output_phases(view)
    of_tap = slicer(view, phases, x)

    def product(a: jax.Array, b: jax.Array, over: tuple[int, int]) -> jax.Array:
        numbers = (((over[0],), (over[1],)), ((0,), (0,)))
        c = lax.dot_general(a, b, numbers, view.precision, preferred_element_type=dtype)
        return ynnpack.apart(c)

    if isinstance(view, WeightGradient):
        w = product(_patches(view, phases[0], of_tap), _grouped(other, view.groups), (1, 1))
        return jnp.moveaxis(w, 0, 1).reshape(*view.kernel, view.c, view.groups * view.o)
    w = other.reshape(*view.kernel, view.c, view.groups, view.o)
    parts = []
    for phase in phases:
        shape = (view.batch, *phase.out, view.groups * view.o)
        if not phase.taps or 0 in shape:
            parts.append(jnp.zeros(shape, dtype))
            continue
        rows = jnp.concatenate([w[tap.kernel] for tap in phase.taps], 0)  # (taps c, g, o)
        y = product(_patches(view, phase, of_tap), jnp.swapaxes(rows, 0, 1), (2, 1))
        parts.append(jnp.swapaxes(y, 0, 1).reshape(shape))
    return interleave(view, parts)


LOWERING = on_views(
    name="matmul",
    summary="patches and one batched matrix product",
    unsupported_reason=unsupported_reason,
    apply=apply,
)
