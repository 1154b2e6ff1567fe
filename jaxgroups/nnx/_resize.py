"""Resizing layers with torch's names and arguments, channels last. They have no parameters."""

from typing import Any

import jax

from jaxgroups import _functional as functional
from jaxgroups._functional.interpolate import RANKS
from jaxgroups._types import IntOrInts
from jaxgroups.nnx._base import FeatureLayer


class Upsample(FeatureLayer):
    """Resizing of channels-last input, with the arguments of ``torch.nn.Upsample``.

    Shape: input ``(*batch, *spatial, C)``, output ``(*batch, *spatial_out, C)``. The number of
    spatial axes follows from `mode` (linear 1, bilinear and bicubic 2, trilinear 3), else from the
    length of `size` or `scale_factor`, else there is one batch axis.

    Args:
      size: size of the output, an int or one for each spatial axis.
      scale_factor: a number or one for each spatial axis; the output has
        ``floor(size * scale_factor)`` elements.
      mode: ``"nearest"``, ``"nearest-exact"``, ``"area"``, ``"linear"``, ``"bilinear"``,
        ``"bicubic"`` or ``"trilinear"``.
      align_corners: whether the centres of the corner elements of input and output are aligned.
      recompute_scale_factor: whether to use the ratio of the sizes in place of `scale_factor`.

    Raises:
      ValueError: at the call, arguments that torch refuses.
      NotImplementedError: at the call, a mode that is not defined for the rank of the input.
      TypeError: at the call, an argument of the wrong type.
    """

    def __init__(
        self,
        size: IntOrInts | None = None,
        scale_factor: float | tuple[float, ...] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        # nnx treats a list as a part of the model, so it becomes a tuple
        self.size = tuple(size) if isinstance(size, (list, tuple)) else size
        factors = scale_factor
        self.scale_factor = tuple(factors) if isinstance(factors, (list, tuple)) else factors
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    @property
    def shown(self) -> tuple[str, ...]:  # type: ignore[override]
        """The settings that ``repr`` prints."""
        return ("scale_factor" if self.size is None else "size", "mode")

    def _rank(self, ndim: int) -> int:
        of_mode = RANKS.get(self.mode, ())
        if len(of_mode) == 1:
            return of_mode[0]
        given = self.scale_factor if self.size is None else self.size
        return len(given) if isinstance(given, tuple) else ndim - 2

    def __call__(self, x: Any) -> jax.Array:
        """``(*batch, *spatial, C)`` -> ``(*batch, *spatial_out, C)``."""
        inner = self._rank(x.ndim) + 1
        batch = x.shape[: x.ndim - inner] if x.ndim > inner else ()
        if x.ndim >= inner:
            x = x.reshape(-1, *x.shape[x.ndim - inner :])
        y = functional.interpolate(
            x,
            self.size,
            self.scale_factor,
            self.mode,
            self.align_corners,
            self.recompute_scale_factor,
            data_format="channels_last",
        )
        return y.reshape(*batch, *y.shape[1:])


class UpsamplingNearest2d(Upsample):
    """Nearest resizing of two spatial axes: ``torch.nn.UpsamplingNearest2d``.

    Shape: input ``(*batch, H, W, C)``, output ``(*batch, H_out, W_out, C)``.

    Args:
      size: size of the output, an int or one for each of H, W.
      scale_factor: a number or one for each of H, W; the output has
        ``floor(size * scale_factor)`` elements.

    Raises:
      ValueError: at the call, arguments that torch refuses.
      TypeError: at the call, an argument of the wrong type.
    """

    def __init__(
        self,
        size: IntOrInts | None = None,
        scale_factor: float | tuple[float, ...] | None = None,
    ) -> None:
        super().__init__(size, scale_factor, "nearest")

    def _rank(self, ndim: int) -> int:
        return 2


class UpsamplingBilinear2d(Upsample):
    """Bilinear resizing with aligned corners: ``torch.nn.UpsamplingBilinear2d``.

    Shape: input ``(*batch, H, W, C)``, output ``(*batch, H_out, W_out, C)``.

    Args:
      size: size of the output, an int or one for each of H, W.
      scale_factor: a number or one for each of H, W; the output has
        ``floor(size * scale_factor)`` elements.

    Raises:
      ValueError: at the call, arguments that torch refuses.
      TypeError: at the call, an argument of the wrong type.
    """

    def __init__(
        self,
        size: IntOrInts | None = None,
        scale_factor: float | tuple[float, ...] | None = None,
    ) -> None:
        super().__init__(size, scale_factor, "bilinear", True)
