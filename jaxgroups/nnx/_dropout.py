"""Dropout of whole channels, and alpha dropout, with torch's names; channels last."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxgroups._functional.dropout import alpha_dropped
from jaxgroups._types import Shape
from jaxgroups.nnx._base import FeatureLayer


class _Dropout(FeatureLayer, nnx.Dropout):
    """A dropout that draws, and switches between its modes, as Flax's does."""

    shown = ("p",)

    def _build(self, p: float, deterministic: bool, rngs: Any, broadcast_dims: Shape = ()) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        nnx.Dropout.__init__(
            self, p, broadcast_dims=broadcast_dims, deterministic=deterministic, rngs=rngs
        )

    @property
    def p(self) -> float:
        """The probability of a zero, ``rate`` in Flax."""
        return self.rate


class _ChannelDropout(_Dropout):
    """Dropout of whole channels over channels-last input, as ``torch.nn.{name}``.

    The same as ``flax.nnx.Dropout`` with `broadcast_dims` for the spatial axes. ``model.train()``
    and ``model.eval()`` switch it on and off.

    Shape: input and output ``(*batch, {axes}, C)``, with any number of batch axes, also none. Every
    batch element has channels of its own.

    Args:
      p: the probability of a channel to be zero.
      deterministic: whether to begin in evaluation mode, without dropout.
      rngs: ``nnx.Rngs``, whose ``dropout`` stream draws. None: the call needs `rngs`.

    Raises:
      ValueError: a probability that is none; at the call, an input without a spatial axis, or no
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
          deterministic: in place of the layer's own setting.
          rngs: in place of the layer's own random stream.
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
    """Dropout that keeps mean 0 and variance 1, as ``torch.nn.AlphaDropout``; it belongs to SELU.

    A dropped element becomes ``-1.7580993408473766``, what SELU has for minus infinity. Then all
    are scaled and shifted. ``model.train()`` and ``model.eval()`` switch it on and off.

    Shape: input and output have any shape.

    Args:
      p: the probability of an element to be dropped.
      deterministic: whether to begin in evaluation mode, without dropout.
      rngs: ``nnx.Rngs``, whose ``dropout`` stream draws. None: the call needs `rngs`.

    Raises:
      ValueError: a probability that is none; at the call, no `rngs`.
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
          deterministic: in place of the layer's own setting.
          rngs: in place of the layer's own random stream.
        """
        x = jnp.asarray(inputs)
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise TypeError(
                "result type Float can't be cast to the desired output type: "
                f"{type(self).__name__} needs floating-point numbers, got {x.dtype.name}"
            )
        ones = jnp.ones(self._mask_shape(x.shape), x.dtype)
        mask = super().__call__(ones, deterministic=deterministic, rngs=rngs)
        # Flax's dropout returns its very argument where it drops nothing
        return x if mask is ones else alpha_dropped(x, mask != 0, self.rate)

    def _mask_shape(self, shape: Shape) -> Shape:
        return shape


class FeatureAlphaDropout(AlphaDropout):
    """Alpha dropout of whole channels, channels last, as ``torch.nn.FeatureAlphaDropout``.

    A dropped channel becomes ``-1.7580993408473766``. Then all are scaled and shifted, so that mean
    0 and variance 1 stay. ``model.train()`` and ``model.eval()`` switch it on and off.

    Shape: input and output ``(N, *, C)``.

    Args:
      p: the probability of a channel to be dropped.
      deterministic: whether to begin in evaluation mode, without dropout.
      rngs: ``nnx.Rngs``, whose ``dropout`` stream draws. None: the call needs `rngs`.

    Raises:
      ValueError: a probability that is none; at the call, fewer than two axes, or no `rngs`.
      TypeError: at the call, an input that does not hold floating-point numbers.
    """

    def _mask_shape(self, shape: Shape) -> Shape:
        if len(shape) < 2:
            raise ValueError(
                "Feature dropout requires at least 2 dimensions in the input: FeatureAlphaDropout "
                f"got shape {shape}"
            )
        return (shape[0], *(1,) * (len(shape) - 2), shape[-1])
