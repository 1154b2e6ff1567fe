"""The taps of ``interpolate`` along one axis: which inputs an output reads, with which weights.

Coordinates are computed in torch's precision, so that nearest neighbours and rounded fractions are
torch's: float32, and float64 for float64 input.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from jaxgroups._functional.resample import Taps, of_pairs

LINEAR = ("linear", "bilinear", "trilinear")


@lru_cache(256)
def taps_of(
    mode: str,
    size: int,
    outputs: int,
    scale: float | None,
    align_corners: bool,
    antialias: bool,
    double: bool,
) -> Taps | None:
    """The taps of an axis; None where the axis is unchanged.

    Args:
      mode: torch's name.
      size: number of inputs.
      outputs: number of outputs.
      scale: the scale factor; None for the ratio of the sizes.
      align_corners: whether the centres of the corner elements are aligned.
      antialias: whether the width of the filter grows with the step.
      double: whether coordinates are float64.
    """
    real = np.float64 if double else np.float32
    if mode == "area":
        return _area(size, outputs)
    if antialias:
        return _antialiased(mode, size, outputs, _step(real, size, outputs, scale, align_corners))
    if mode in ("nearest", "nearest-exact"):
        return _nearest(mode, size, outputs, _step(real, size, outputs, scale, False))
    step = _step(real, size, outputs, scale, align_corners)
    if mode in LINEAR:
        return _linear(size, outputs, step, align_corners)
    return _cubic(size, outputs, step, align_corners)


def _step(real: Any, size: int, outputs: int, scale: float | None, align_corners: bool) -> Any:
    """The distance of two neighbouring outputs, in inputs."""
    if align_corners:
        return real(size - 1) / real(outputs - 1) if outputs > 1 else real(0)
    if scale is not None and scale > 0:
        return real(1.0 / scale)
    return real(size) / real(outputs)


def _floor(value: Any) -> Any:
    """The floor, after rounding to float32: torch does so in double precision too."""
    return np.floor(value.astype(np.float32)).astype(np.int32)


def _nearest(mode: str, size: int, outputs: int, step: Any) -> Taps | None:
    at = np.arange(outputs).astype(step.dtype)
    if mode == "nearest-exact":
        at = at + step.dtype.type(0.5)
    index = np.minimum(_floor(at * step), size - 1)
    if outputs == size and (index == np.arange(size)).all():
        return None
    return Taps(size, index[None], None)


def _places(outputs: int, step: Any, align_corners: bool) -> Any:
    # rounded once, as by the fused multiply-add in torch's kernels
    at = np.arange(outputs, dtype=np.float64)
    place = at * float(step) if align_corners else (at + 0.5) * float(step) - 0.5
    return place.astype(step.dtype)


def _linear(size: int, outputs: int, step: Any, align_corners: bool) -> Taps:
    # where the sizes are equal torch reads every input twice, with the weights 1 and 0
    if outputs == size:
        low = high = np.arange(size, dtype=np.int32)
        fraction = np.zeros(size)
    else:
        place = np.maximum(_places(outputs, step, align_corners), 0)
        low = np.minimum(_floor(place), size - 1)
        high = np.minimum(low + 1, size - 1)
        fraction = np.clip(place - low.astype(step.dtype), 0, 1)
    return Taps(size, np.stack([low, high]), np.stack([1 - fraction, fraction]).astype("float64"))


def _near(x: Any, a: float) -> Any:
    return ((a + 2) * x - (a + 3)) * x * x + 1


def _far(x: Any, a: float) -> Any:
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a


def cubic_weights(t: Any) -> list[Any]:
    """The weights of the four inputs around a point at the distance `t` from the second one."""
    return [_far(t + 1, -0.75), _near(t, -0.75), _near(1 - t, -0.75), _far(2 - t, -0.75)]


def _cubic(size: int, outputs: int, step: Any, align_corners: bool) -> Taps:
    place = _places(outputs, step, align_corners)
    low = np.minimum(_floor(place), size - 1)
    fraction = np.clip(place - low.astype(step.dtype), 0, 1)
    index = np.clip(low + np.arange(-1, 3, dtype=np.int32)[:, None], 0, size - 1)
    return Taps(size, index, np.stack(cubic_weights(fraction)).astype("float64"))


def _area(size: int, outputs: int) -> Taps | None:
    """The bins of torch's adaptive average pooling."""
    if outputs == size:
        return None
    bins = [(o * size // outputs, -(-(o + 1) * size // outputs)) for o in range(outputs)]
    return of_pairs(size, [[(i, 1 / (hi - lo)) for i in range(lo, hi)] for lo, hi in bins])


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(x), 0)


def _cubic_filter(x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    return np.where(x < 1, _near(x, -0.5), np.where(x < 2, _far(x, -0.5), 0))


def _lanczos(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


# mode -> the filter and its width in inputs
_FILTERS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int]] = {
    "bilinear": (_triangle, 2),
    "bicubic": (_cubic_filter, 4),
    "lanczos": (_lanczos, 6),
}


def _antialiased(mode: str, size: int, outputs: int, step: Any) -> Taps | None:
    if outputs == size:
        return None
    filter_of, width = _FILTERS[mode]
    real = step.dtype.type
    reach = real(width * 0.5 * float(step) if step >= 1 else width * 0.5)
    shrink = float(real(1 / float(step) if step >= 1 else 1))
    pairs = []
    for output in range(outputs):
        center = real(float(step) * (output + 0.5))
        first = max(int(float(center - reach) + 0.5), 0)
        last = min(int(float(center + reach) + 0.5), size)
        inputs = np.arange(first, last)
        weights = filter_of((inputs - float(center) + 0.5) * shrink)
        total = weights.sum()
        weights = weights / total if total else weights
        pairs.append(list(zip(inputs.tolist(), weights.tolist(), strict=True)))
    return of_pairs(size, pairs)
