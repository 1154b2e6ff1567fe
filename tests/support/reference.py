"""The reference: grouped convolutions as NumPy loops, from the definition.

It uses neither jaxgroups nor jax. Sums are in the dtype of the arrays, so integers and small whole
floats are exact. The layout is torch's: x (N, C, *spatial), padding in pairs.
"""

from itertools import product

import numpy as np

MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def conv(x, w, b, stride, padding, dilation, groups, mode="zeros"):
    """out[n, o, p] = sum over c, t of w[o, c, t] * x[n, o // (O/g) * (C/g) + c, p s + t d]."""
    x = np.pad(x, [(0, 0), (0, 0), *padding], mode=MODES[mode])
    filters, per_group, *kernel = w.shape
    size = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True)
    ]
    out = np.zeros((len(x), filters, *size), x.dtype)
    for n, o, *p in product(range(len(x)), range(filters), *map(range, size)):
        first = o // (filters // groups) * per_group
        for c, *t in product(range(per_group), *map(range, kernel)):
            at = [i * s + j * d for i, s, j, d in zip(p, stride, t, dilation, strict=True)]
            out[n, o, *p] += w[o, c, *t] * x[n, first + c, *at]
    return _add(out, b)


def conv_transpose(x, w, b, stride, padding, output_padding, dilation, groups):
    """Every input element adds its kernel: out[p s + t d] += x[p] w[t]; then crop."""
    channels, per_group, *kernel = w.shape
    full = [
        (n - 1) * s + d * (k - 1) + 1 + o
        for n, s, d, k, o in zip(x.shape[2:], stride, dilation, kernel, output_padding, strict=True)
    ]
    # output padding can extend beyond the elements that the kernel writes
    out = np.zeros((len(x), per_group * groups, *full), x.dtype)
    for n, c, *p in product(range(len(x)), range(channels), *map(range, x.shape[2:])):
        first = c // (channels // groups) * per_group
        for o, *t in product(range(per_group), *map(range, kernel)):
            at = [i * s + j * d for i, s, j, d in zip(p, stride, t, dilation, strict=True)]
            out[n, first + o, *at] += w[c, o, *t] * x[n, c, *p]
    crop = tuple(slice(lo, n - hi) for n, (lo, hi) in zip(full, padding, strict=True))
    return _add(out[(slice(None), slice(None), *crop)], b)


def _add(out, b):
    return out if b is None else out + b.reshape(-1, *[1] * (out.ndim - 2))


def of_spec(spec, x, w, b):
    """The reference for a ConvSpec; arrays in torch's layout, one batch axis."""
    if spec.transposed:
        return conv_transpose(
            x, w, b, spec.stride, spec.padding, spec.output_padding, spec.dilation, spec.groups
        )
    return conv(x, w, b, spec.stride, spec.padding, spec.dilation, spec.groups, spec.padding_mode)


def gradients_of_conv(x, w, ct, stride, padding, dilation, groups):
    """The gradients of ``sum(ct * conv(x, w))``: every product once, added to both."""
    padded = np.pad(x, [(0, 0), (0, 0), *padding])
    to_x, to_w = np.zeros_like(padded), np.zeros_like(w)
    filters, per_group, *kernel = w.shape
    for n, o, *p in product(range(len(x)), range(filters), *map(range, ct.shape[2:])):
        first = o // (filters // groups) * per_group
        for c, *t in product(range(per_group), *map(range, kernel)):
            at = [i * s + j * d for i, s, j, d in zip(p, stride, t, dilation, strict=True)]
            to_x[n, first + c, *at] += w[o, c, *t] * ct[n, o, *p]
            to_w[o, c, *t] += padded[n, first + c, *at] * ct[n, o, *p]
    crop = (slice(lo, size - hi) for size, (lo, hi) in zip(padded.shape[2:], padding, strict=True))
    return to_x[(slice(None), slice(None), *crop)], to_w


def gradients_of_spec(spec, x, w, ct):
    """The gradients of x and w for a ConvSpec with zero padding.

    A transposed convolution is the input gradient of a convolution whose input has the shape of its
    output. So the gradient of its input is that convolution, and of its weight the same sum.
    """
    settings = (spec.stride, spec.padding, spec.dilation, spec.groups)
    if not spec.transposed:
        return gradients_of_conv(x, w, ct, *settings)
    # what the output padding added meets no kernel where it is longer than the last stride
    to_x = conv(ct, w, None, *settings)[(slice(None), slice(None), *map(slice, x.shape[2:]))]
    return to_x, gradients_of_conv(ct, w, x, *settings)[1]
