"""Dropout of whole channels, and alpha dropout, with torch's names; channels last."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxgroups._functional.dropout import alpha_dropped
from jaxgroups._types import Shape
from jaxgroups.nnx._base import FeatureLayer


class _Dropout(FeatureLayer, nnx.Dropout):
    """Flax's Dropout with torch's name of the rate."""

    shown = ("p",)

    def _build(self, p: float, deterministic: bool, rngs: Any, broadcast_dims: Shape = ()) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        nnx.Dropout.__init__(
            self, p, broadcast_dims=broadcast_dims, deterministic=deterministic, rngs=rngs
        )

    @property
    def p(self) -> float:
        """The probability of a dropped element, ``rate`` in Flax."""
        return self.rate


class _ChannelDropout(_Dropout):
    """Dropout of whole channels over channels-last input, as ``torch.nn.{name}``.

    The same as ``flax.nnx.Dropout`` with `broadcast_dims` for the spatial axes. ``model.train()``
    and ``model.eval()`` switch it on and off.

    Shape: input and output ``(*batch, {axes}, C)``, with any number of batch axes, also none. Each
    batch element drops channels of its own.

    Args:
      p: the probability of a channel to be dropped.
      deterministic: whether to begin in evaluation mode, without dropout.
      rngs: ``nnx.Rngs``, whose ``dropout`` stream draws. None: the call needs `rngs`.

    Raises:
      ValueError: a `p` outside of [0, 1]; at the call, an input without a spatial axis, or no
        `rngs`.
    """

    def __init__(
        self,
        p: float = 0.5,
        *,
        deterministic: bool = False,
        rngs: nnx.Rngs | nnx.RngStream | None = None,
    ) -> None:
        self._build(p, deterministic, rngs, tuple(range(-self.rank - 1, -1)))

    def __call__(
        self,
        inputs: Any,
        *,
        deterministic: bool | None = None,
        rngs: nnx.Rngs | nnx.RngStream | jax.Array | None = None,
    ) -> jax.Array:
        """An array of the shape and dtype of the input.

        Args:
          inputs: ``(*batch, *spatial, C)``.
          deterministic: overrides the layer's setting.
          rngs: overrides the layer's random stream.
        """
        x = jnp.asarray(inputs)
        rank = self.rank
        if x.ndim <= rank:
            raise ValueError(
                f"dropout{rank}d: Expected {rank + 1}D or {rank + 2}D input, but received a "
                f"{x.ndim}D input: {type(self).__name__} drops whole channels of channels-last "
                f"input, got shape {x.shape}"
            )
        return super().__call__(x, deterministic=deterministic, rngs=rngs)


class Dropout1d(_ChannelDropout):
    rank = 1


class Dropout2d(_ChannelDropout):
    rank = 2


class Dropout3d(_ChannelDropout):
    rank = 3


class AlphaDropout(_Dropout):
    """Dropout that preserves mean 0 and variance 1, for SELU: ``torch.nn.AlphaDropout``.

    A dropped element becomes ``-1.7580993408473766``, the limit of SELU at minus infinity. Then all
    elements are scaled and shifted. ``model.train()`` and ``model.eval()`` switch it on and off.

    Shape: input and output have any shape.

    Args:
      p: the probability of an element to be dropped.
      deterministic: whether to begin in evaluation mode, without dropout.
      rngs: ``nnx.Rngs``, whose ``dropout`` stream draws. None: the call needs `rngs`.

    Raises:
      ValueError: a `p` outside of [0, 1]; at the call, no `rngs`.
      TypeError: at the call, an input that does not hold floating-point numbers.
    """

    def __init__(
        self,
        p: float = 0.5,
        *,
        deterministic: bool = False,
        rngs: nnx.Rngs | nnx.RngStream | None = None,
    ) -> None:
        self._build(p, deterministic, rngs)

    def __call__(
        self,
        inputs: Any,
        *,
        deterministic: bool | None = None,
        rngs: nnx.Rngs | nnx.RngStream | jax.Array | None = None,
    ) -> jax.Array:
        """An array of the shape and dtype of the input.

        Args:
          inputs: any shape.
          deterministic: overrides the layer's setting.
          rngs: overrides the layer's random stream.
        """
        x = jnp.asarray(inputs)
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise TypeError(
                "result type Float can't be cast to the desired output type: "
                f"{type(self).__name__} needs floating-point numbers, got {x.dtype.name}"
            )
        ones = jnp.ones(self._mask_shape(x.shape), x.dtype)
        mask = super().__call__(ones, deterministic=deterministic, rngs=rngs)
        # Flax's dropout returns its argument itself where it drops nothing
        return x if mask is ones else alpha_dropped(x, mask != 0, self.rate)

    def _mask_shape(self, shape: Shape) -> Shape:
        return shape


class FeatureAlphaDropout(AlphaDropout):
    """Alpha dropout of whole channels, channels last, as ``torch.nn.FeatureAlphaDropout``.

    A dropped channel becomes ``-1.7580993408473766``. Then all elements are scaled and shifted, so
    that mean 0 and variance 1 are preserved. ``model.train()`` and ``model.eval()`` switch it on
    and off.

    Shape: input and output ``(N, *, C)``.

    Args:
      p: the probability of a channel to be dropped.
      deterministic: whether to begin in evaluation mode, without dropout.
      rngs: ``nnx.Rngs``, whose ``dropout`` stream draws. None: the call needs `rngs`.

    Raises:
      ValueError: a `p` outside of [0, 1]; at the call, fewer than two axes, or no `rngs`.
      TypeError: at the call, an input that does not hold floating-point numbers.
    """

    def _mask_shape(self, shape: Shape) -> Shape:
        if len(shape) < 2:
            raise ValueError(
                "Feature dropout requires at least 2 dimensions in the input: FeatureAlphaDropout "
                f"got shape {shape}"
            )
        return (shape[0], *(1,) * (len(shape) - 2), shape[-1])
