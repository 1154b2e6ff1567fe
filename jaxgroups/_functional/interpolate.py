"""Resizing a feature map: ``torch.nn.functional.interpolate``."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxgroups._functional.dtypes import widened
from jaxgroups._functional.feature_map import FeatureMap, check_format
from jaxgroups._functional.observed import observed
from jaxgroups._functional.resample import resample
from jaxgroups._functional.resize_taps import LINEAR, taps_of
from jaxgroups._functional.row_major import row_major
from jaxgroups._spec.arguments import integer, integers
from jaxgroups._types import IntOrInts, Ints

# mode -> the numbers of spatial axes that it is defined for
RANKS: dict[str, Ints] = {
    "nearest": (1, 2, 3),
    "nearest-exact": (1, 2, 3),
    "area": (1, 2, 3),
    "linear": (1,),
    "bilinear": (2,),
    "bicubic": (2,),
    "trilinear": (3,),
    "lanczos": (2,),
}
_UNALIGNED = ("nearest", "area", "nearest-exact")
_EXACT = ("nearest", "nearest-exact")
_FILTERED = ("bilinear", "bicubic", "lanczos")


@observed
def interpolate(
    input: Any,
    size: IntOrInts | None = None,
    scale_factor: float | tuple[float, ...] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
    *,
    data_format: str = "channels_first",
) -> jax.Array:
    """Resize the spatial axes: ``torch.nn.functional.interpolate``.

    Exactly one of `size` and `scale_factor` is given.

    Args:
      input: ``(N, C, *spatial)`` with 1 to 3 spatial axes; with channels_last
        ``(N, *spatial, C)``. Floating point; any dtype for the nearest modes.
      size: size of the output, an int or one for each spatial axis.
      scale_factor: a number or one for each spatial axis; the output has
        ``floor(size * scale_factor)`` elements.
      mode: ``"nearest"``, ``"nearest-exact"`` or ``"area"`` for any rank, ``"linear"`` for one
        spatial axis, ``"bilinear"``, ``"bicubic"`` or ``"lanczos"`` for two, ``"trilinear"`` for
        three. ``"area"`` averages as adaptive pooling does.
      align_corners: whether the centres of the corner elements of input and output are aligned. It
        must be None, which is False, for the nearest modes and area.
      recompute_scale_factor: whether to use the ratio of the sizes in place of `scale_factor`.
      antialias: whether downsampling averages over all inputs, for bilinear, bicubic and lanczos;
        lanczos requires it.
      data_format: ``"channels_first"`` or ``"channels_last"``.

    Returns:
      The resized feature map, laid out like the input and with its dtype. float16 and bfloat16 are
      computed in float32.

    Raises:
      ValueError: arguments that torch refuses.
      NotImplementedError: a mode that is not defined for the rank of the input.
      TypeError: an argument of the wrong type, or integers for a mode that has weights.
    """
    image = _image(input, mode, data_format)
    align = _align_corners(mode, align_corners)
    sizes, scales = _outputs(image, size, scale_factor, mode, recompute_scale_factor)
    _check_filter(image, mode, align, antialias)
    _check_sizes(image, sizes, mode)
    dtype = image.array.dtype
    if mode not in _EXACT and not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"\"interpolate\" not implemented for {dtype.name} with mode='{mode}': convert the "
            "input to a floating point dtype, and round the result"
        )
    double = dtype == jnp.float64
    array = row_major(image.array.astype(widened(dtype)))
    axes = zip(image.spatial, image.sizes, sizes, scales, strict=True)
    # axes that shrink first, so that the others process fewer elements
    for axis, before, after, scale in sorted(axes, key=lambda item: item[2] / item[1]):
        taps = taps_of(mode, before, after, scale, align, antialias, double)
        if taps is not None:
            array = resample(array, axis, taps)
    return row_major(array).astype(dtype)


def _image(input: Any, mode: str, data_format: str) -> FeatureMap:
    check_format("interpolate", data_format)
    if not hasattr(input, "shape") and not isinstance(input, (list, tuple)):
        raise TypeError(
            f"interpolate(): argument 'input' must be an array, not {type(input).__name__}"
        )
    array = jnp.asarray(input)
    rank = array.ndim - 2
    expected = RANKS.get(mode) if isinstance(mode, str) else None
    if mode in LINEAR and rank in (1, 2, 3) and rank not in RANKS[mode]:
        raise NotImplementedError(
            f"Got {rank + 2}D input, but {mode} mode needs {RANKS[mode][0] + 2}D input: "
            f"got shape {list(array.shape)}"
        )
    if expected is None or rank not in expected:
        raise NotImplementedError(
            f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {array.ndim}D) for the "
            "modes: nearest | linear | bilinear | bicubic | trilinear | lanczos | area | "
            f"nearest-exact (got {mode}): got shape {list(array.shape)}"
        )
    if data_format == "channels_last":
        image = FeatureMap(array, tuple(range(1, rank + 1)), rank + 1)
    else:
        image = FeatureMap(array, tuple(range(2, rank + 2)), 1)
    if not all(isinstance(n, int) for n in image.sizes):
        raise ValueError(f"interpolate(): spatial sizes must be known, got {list(array.shape)}")
    return image


def _align_corners(mode: str, align_corners: bool | None) -> bool:
    if mode in _UNALIGNED and align_corners is not None:
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear "
            f"| bicubic | trilinear: got align_corners={align_corners}, mode='{mode}'"
        )
    return bool(align_corners)


def _outputs(
    image: FeatureMap, size: Any, scale_factor: Any, mode: str, recompute: bool | None
) -> tuple[Ints, tuple[float | None, ...]]:
    """The output sizes, and the scale factors, None where the sizes give them."""
    rank = len(image.spatial)
    got = f"got size={size!r}, scale_factor={scale_factor!r}"
    if size is not None and scale_factor is not None:
        raise ValueError(f"only one of size or scale_factor should be defined: {got}")
    if size is None and scale_factor is None:
        raise ValueError(f"either size or scale_factor should be defined: {got}")
    if size is not None:
        sizes = _sizes(image, size)
        if recompute:
            raise ValueError(
                f"recompute_scale_factor is not meaningful with an explicit size: {got}"
            )
        return sizes, (None,) * rank
    scales = _scales(image, scale_factor)
    sizes = tuple(int(n * s) for n, s in zip(image.sizes, scales, strict=True))
    if recompute or mode == "area":
        return sizes, (None,) * rank
    return sizes, scales


def _sizes(image: FeatureMap, size: Any) -> Ints:
    rank = len(image.spatial)
    if not isinstance(size, (list, tuple)):
        return (integer("interpolate", "size", size),) * rank
    if len(size) != rank:
        raise ValueError(
            "Input and output must have the same number of spatial dimensions, but got input with "
            f"spatial dimensions of {list(image.sizes)} and output size of {size}. Please provide "
            "one int, or one for each spatial dimension"
        )
    return integers("interpolate", "size", size)


def _scales(image: FeatureMap, scale_factor: Any) -> tuple[float, ...]:
    rank = len(image.spatial)
    several = isinstance(scale_factor, (list, tuple))
    if several and len(scale_factor) != rank:
        raise ValueError(
            "Input and scale_factor must have the same number of spatial dimensions, but got input "
            f"with spatial dimensions of {list(image.sizes)} and scale_factor of shape "
            f"{scale_factor}. Please provide one number, or one for each spatial dimension"
        )
    try:
        return tuple(map(float, scale_factor if several else (scale_factor,) * rank))
    except (TypeError, ValueError) as error:
        raise TypeError(
            "interpolate(): argument 'scale_factor' must be a number or a tuple of numbers: got "
            f"scale_factor={scale_factor!r}"
        ) from error


def _check_filter(image: FeatureMap, mode: str, align_corners: bool, antialias: bool) -> None:
    if antialias and not (mode in _FILTERED and image.array.ndim == 4):
        raise ValueError(
            "Anti-alias option is restricted to bilinear, bicubic, and lanczos modes and requires "
            f"a 4-D tensor as input: got mode='{mode}' and shape {list(image.array.shape)}"
        )
    if mode == "lanczos" and align_corners:
        raise ValueError("Lanczos mode does not support align_corners=True")
    if mode == "lanczos" and not antialias:
        raise ValueError("Lanczos mode requires antialias=True")


def _check_sizes(image: FeatureMap, sizes: Ints, mode: str) -> None:
    def named(numbers: Ints) -> str:
        names = "DHW"[-len(numbers) :]
        return f"({', '.join(f'{n}: {v}' for n, v in zip(names, numbers, strict=True))})"

    if min(*image.sizes, *sizes) <= 0:
        and_ = " and" if len(sizes) == 1 else ""
        raise ValueError(
            "Input and output sizes should be greater than 0, but got input "
            f"{named(image.sizes)}{and_} output {named(sizes)}"
        )
    if image.channels == 0 and mode != "area":
        raise ValueError(
            f"Non-empty {image.array.ndim}D data tensor expected but got a tensor with sizes "
            f"{list(image.torch_shape)}"
        )
