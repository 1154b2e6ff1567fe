"""Convolutions and their gradients in float64, one tap of the kernel at a time.

Written from the definition, with NumPy alone. `tests/fuzz/test_fuzz.py` compares it with the loops
of `support.reference`, which are slower. The layout is torch's.
"""

from itertools import product

import numpy as np

MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def of_spec(spec, x, w, ct):
    """The result for a spec, and the gradients of ``sum(ct(result) * result)`` to x and w.

    `ct` makes the cotangent of the result.
    """
    compute = _transposed if spec.transposed else _forward
    return compute(spec, x, w, ct)


def _taps(spec, w, spatial):
    """For each tap its index, and where it reads, as a slice of each padded axis."""
    for tap in product(*map(range, w.shape[2:])):
        where = [
            slice(t * d, t * d + s * (n - 1) + 1, s)
            for t, d, s, n in zip(tap, spec.dilation, spec.stride, spatial, strict=True)
        ]
        yield tap, (Ellipsis, *where)


def _split(array, groups, axis):
    """The axis as two: groups, and the channels of a group."""
    shape = array.shape
    return array.reshape(*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])


def _joined(array, axis):
    shape = array.shape
    return array.reshape(*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])


def _places(spec):
    """For each axis, which element of the input each element of the padded input is; -1 is 0."""
    for size, pads in zip(spec.size, spec.padding, strict=True):
        if spec.padding_mode == "zeros":
            yield np.pad(np.arange(size), pads, constant_values=-1)
        else:
            yield np.pad(np.arange(size), pads, mode=MODES[spec.padding_mode])


def _forward(spec, x, w, ct):
    g = spec.groups
    places = list(_places(spec))
    padded = x
    for axis, place in enumerate(places, 2):
        padded = np.take(padded, np.maximum(place, 0), axis)
        keep = (place >= 0).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
        padded = np.where(keep, padded, 0)
    spatial = [
        (len(p) - d * (k - 1) - 1) // s + 1
        for p, d, k, s in zip(places, spec.dilation, w.shape[2:], spec.stride, strict=True)
    ]
    padded, weight = _split(padded, g, 1), _split(w, g, 0)
    out = np.zeros((len(x), g, len(w) // g, *spatial))
    for tap, where in _taps(spec, w, spatial):
        out += np.einsum("ngc...,goc->ngo...", padded[where], weight[(..., *tap)])
    out = _joined(out, 1)
    given = _split(ct(out), g, 1)
    to_padded, to_w = np.zeros_like(padded), np.zeros_like(weight)
    for tap, where in _taps(spec, w, spatial):
        to_padded[where] += np.einsum("ngo...,goc->ngc...", given, weight[(..., *tap)])
        to_w[(..., *tap)] = np.einsum("ngox,ngcx->goc", _flat(given), _flat(padded[where]))
    to_x = _joined(to_padded, 1)
    for axis, place in enumerate(places, 2):
        sums = np.zeros((*to_x.shape[:axis], spec.size[axis - 2], *to_x.shape[axis + 1 :]))
        kept = np.flatnonzero(place >= 0)
        np.add.at(np.moveaxis(sums, axis, 0), place[kept], np.moveaxis(to_x, axis, 0)[kept])
        to_x = sums
    return out, to_x, _joined(to_w, 0)


def _transposed(spec, x, w, ct):
    g = spec.groups
    full = [
        (n - 1) * s + d * (k - 1) + 1 + o
        for n, s, d, k, o in zip(
            spec.size, spec.stride, spec.dilation, w.shape[2:], spec.output_padding, strict=True
        )
    ]
    crop = tuple(slice(lo, n - hi) for n, (lo, hi) in zip(full, spec.padding, strict=True))
    given, weight = _split(x, g, 1), _split(w, g, 0)
    out = np.zeros((len(x), g, w.shape[1], *full))
    for tap, where in _taps(spec, w, spec.size):
        out[where] += np.einsum("ngi...,gio->ngo...", given, weight[(..., *tap)])
    result = _joined(out, 1)[(slice(None), slice(None), *crop)]
    cotangent = np.zeros_like(_joined(out, 1))
    cotangent[(slice(None), slice(None), *crop)] = ct(result)
    cotangent = _split(cotangent, g, 1)
    to_x, to_w = np.zeros_like(given), np.zeros_like(weight)
    for tap, where in _taps(spec, w, spec.size):
        to_x += np.einsum("ngo...,gio->ngi...", cotangent[where], weight[(..., *tap)])
        to_w[(..., *tap)] = np.einsum("ngix,ngox->gio", _flat(given), _flat(cotangent[where]))
    return result, _joined(to_x, 1), _joined(to_w, 0)


def _flat(array):
    """The spatial axes as one."""
    return array.reshape(*array.shape[:3], -1)
