"""The sum over the taps of (shifted slice of x) times (entry of the kernel), lanes over groups.

It is for groups of few channels. XLA fuses the sum into one loop over the output, whose innermost
axis is the groups. For that x (..., g c) is transposed to (..., c, g), and
``y[p, o, g] = sum over k, c of x[p + k, c, g] w[k, c, o, g]``. A depthwise convolution needs no
transpose. The weight gradient multiplies the same slices with y and sums over the pixels, tap by
tap.
"""

from functools import partial

import jax
import jax.numpy as jnp

from jaxgroups._lowerings.base import on_views
from jaxgroups._lowerings.taps import Tap, interleave, output_phases, slicer
from jaxgroups._lowerings.views import View, WeightGradient
from jaxgroups._problem import ynnpack

# The sum is unrolled, so its length determines the size of the program.
MOST_TERMS = 160
MOST_CHANNELS = 8


def unsupported_reason(view: View) -> str | None:
    if max(view.lhs_dilation) > 1 and max(view.stride) > 1:
        return "strided and dilated input at once"
    if max(view.c, view.o) > MOST_CHANNELS:
        return f"more than {MOST_CHANNELS} channels in a group"
    terms = view.taps * (1 if isinstance(view, WeightGradient) else view.c)
    if terms > MOST_TERMS:
        return f"{terms} terms, more than {MOST_TERMS}, to unroll"
    if view.phases > MOST_TERMS:
        return f"{view.phases} output phases, more than {MOST_TERMS}, to unroll"
    if view.groups == 1:
        return "groups=1"
    return None


def _lanes(array: jax.Array, groups: int, channels: int) -> jax.Array:
    """(..., g c) -> (..., c, g)."""
    if channels == 1:
        return array[..., None, :]
    return jnp.swapaxes(array.reshape(*array.shape[:-1], groups, channels), -1, -2)


def apply(view: View, x: jax.Array, other: jax.Array) -> jax.Array:
    dtype = view.accumulator
    x = _lanes(x, view.groups, view.c)
    if isinstance(view, WeightGradient):
        return _weight_gradient(view, x, _lanes(other, view.groups, view.o), dtype)
    w = _lanes(other, view.groups, view.o).astype(dtype)  # (*k, c, o, g)

    def entry(tap: Tap, c: int) -> jax.Array:
        return jnp.expand_dims(w[(*tap.kernel, c)], range(view.rank + 1))

    phases = output_phases(view)
    of_tap = slicer(view, phases, x)
    parts = []
    for phase in phases:
        y = jnp.zeros((view.batch, *phase.out, view.o, view.groups), dtype)
        for tap in phase.taps:
            part = of_tap(tap, phase.out).astype(dtype)
            for c in range(view.c):
                y = y + part[..., c : c + 1, :] * entry(tap, c)
        parts.append(y)
    y = interleave(view, parts)
    return jnp.swapaxes(y, -1, -2).reshape(view.batch, *view.out, view.groups * view.o)


def _weight_gradient(view: WeightGradient, x: jax.Array, y: jax.Array, dtype: str) -> jax.Array:
    phases = output_phases(view)
    of_tap = slicer(view, phases, ynnpack.apart(x))
    flat = partial(ynnpack.one_axis, first=view.rank + 1)
    y = flat(ynnpack.apart(y).astype(dtype))
    pixels = tuple(range(y.ndim - 2))
    rows = []
    for tap in phases[0].taps:
        part = flat(of_tap(tap, view.out).astype(dtype))
        rows.append(jnp.sum(part[..., :, None, :] * y[..., None, :, :], pixels))
    w = jnp.stack(rows).reshape(*view.kernel, view.c, view.o, view.groups)
    return jnp.swapaxes(w, -1, -2).reshape(*view.kernel, view.c, view.groups * view.o)


LOWERING = on_views(
    name="shift",
    summary="a sum of shifted products, lanes over the groups",
    unsupported_reason=unsupported_reason,
    apply=apply,
)
