"""BatchNorm and InstanceNorm with torch's names, arguments and running statistics."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from jaxgroups._functional import norm as functional
from jaxgroups._functional.dtypes import widened
from jaxgroups._functional.feature_map import feature_map
from jaxgroups.nnx import _parameters as parameters
from jaxgroups.nnx._base import FeatureLayer


class _ChannelNorm(FeatureLayer):
    """What BatchNorm and InstanceNorm share: parameters, statistics, and the mode of a call."""

    shown = ("num_features", "eps", "momentum", "affine", "track_running_stats")

    def _build(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        bias: bool,
        use_running_average: bool,
        dtype: DTypeLike | None,
        param_dtype: DTypeLike,
    ) -> None:
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.use_running_average = use_running_average
        self.dtype = dtype
        self.param_dtype = param_dtype
        shape = (num_features,)
        self.scale: nnx.Param | None = parameters.scale(affine, shape, param_dtype)
        self.bias: nnx.Param | None = parameters.bias(affine and bias, shape, param_dtype)
        self.mean: nnx.BatchStat | None = nnx.data(None)
        self.var: nnx.BatchStat | None = nnx.data(None)
        self.num_batches_tracked: nnx.BatchStat | None = nnx.data(None)
        if track_running_stats:
            self.mean = nnx.BatchStat(jnp.zeros(shape, param_dtype))
            self.var = nnx.BatchStat(jnp.ones(shape, param_dtype))
            self.num_batches_tracked = nnx.BatchStat(jnp.zeros((), jnp.int32))

    def _uses_input(self, use_running_average: bool | None) -> bool:
        """Whether a call computes the statistics of its input."""
        chosen = self.use_running_average if use_running_average is None else use_running_average
        return not (chosen and self.track_running_stats)

    def _input(self, x: Any) -> jax.Array:
        return jnp.asarray(x, self.dtype)

    def _arrays(self) -> tuple[Any, Any, Any, Any]:
        """Running mean and variance, weight and bias."""
        mean, var, scale, bias = map(parameters.value, (self.mean, self.var, self.scale, self.bias))
        return mean, var, scale, bias

    def _set_statistics(self, mean: jax.Array, var: jax.Array) -> None:
        if self.mean is not None and self.var is not None:
            self.mean[...] = mean
            self.var[...] = var

    def set_view(self, use_running_average: bool | None = None) -> None:
        """Set the mode of a view that ``nnx.view`` has made.

        Args:
          use_running_average: whether calls normalize by the running statistics.
        """
        if use_running_average is not None:
            self.use_running_average = use_running_average


class _BatchNorm(_ChannelNorm):
    """Batch normalization over channels-last input, with the arguments of ``torch.nn.{name}``.

    Unlike in ``flax.nnx.BatchNorm``, the running variance is unbiased, `momentum` is the weight
    of the new batch, and the variance is computed in two passes. ``model.train()`` and
    ``model.eval()`` switch between the statistics of the batch and the running ones.

    Shape: input and output ``(*batch, {axes}, C)``, with at least one batch axis; the mean of a
    channel is over all of them.

    Args:
      num_features: the number of channels C.
      eps: added to the variance.
      momentum: the weight of the new batch in the running statistics. None: the running statistics
        are the mean over all batches so far.
      affine: whether there are `scale` and `bias`.
      track_running_stats: whether there are running statistics. Without them, evaluation too uses
        the statistics of the batch.
      bias: whether there is a `bias`, if `affine`.
      use_running_average: whether to begin in evaluation mode.
      dtype: the dtype that the input is cast to; None for its own. float16 and bfloat16 are
        computed in float32.
      param_dtype: the dtype of parameters and statistics.

    Attributes:
      scale, bias: the ``nnx.Param`` of torch's `weight` and `bias`, or None.
      mean, var: the ``nnx.BatchStat`` of the running statistics, or None.
      num_batches_tracked: the ``nnx.BatchStat`` that counts the batches, int32, or None.

    Raises:
      ValueError: at the call, shapes that torch refuses, such as one value a channel in training.
      TypeError: at the call, an input that does not hold floating-point numbers.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        use_running_average: bool = False,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
    ) -> None:
        self._build(
            num_features,
            eps,
            momentum,
            affine,
            track_running_stats,
            bias,
            use_running_average,
            dtype,
            param_dtype,
        )

    def __call__(self, x: Any, use_running_average: bool | None = None) -> jax.Array:
        """The normalized input. In training mode, the running statistics are updated.

        Args:
          x: ``(*batch, *spatial, C)``.
          use_running_average: overrides the layer's setting.
        """
        x = self._input(x)
        self._check(x)
        training = self._uses_input(use_running_average)
        y, mean, var = functional.batch_norm(
            x,
            *self._arrays(),
            training,
            self._next_momentum() if training else 0.0,
            self.eps,
            data_format="channels_last",
            return_statistics=True,
        )
        if training:
            self._set_statistics(mean, var)
        return y

    def _next_momentum(self) -> Any:
        """The momentum of one more batch; counts the batch."""
        count = self.num_batches_tracked
        if count is None:
            return 0.0
        count[...] = count[...] + 1
        if self.momentum is not None:
            return self.momentum
        return 1 / count[...].astype(widened(self.param_dtype))

    def _check(self, x: jax.Array) -> None:
        # BatchNorm1d takes (N, C) and (N, L, C)
        least = 2 if self.rank == 1 else self.rank + 2
        name = type(self).__name__
        if x.ndim < least:
            expected = "2D or 3D" if self.rank == 1 else f"{least}D"
            raise ValueError(
                f"expected {expected} input (got {x.ndim}D input): {name} needs channels-last "
                f"input with a batch axis, got shape {x.shape}"
            )
        if x.shape[-1] != self.num_features:
            raise ValueError(
                f"running_mean should contain {x.shape[-1]} elements not {self.num_features}: "
                f"{name} with num_features={self.num_features} got channels-last input of shape "
                f"{x.shape}"
            )


class _InstanceNorm(_ChannelNorm):
    """Instance normalization over channels-last input, with the arguments of ``torch.nn.{name}``.

    Every batch element has its own mean and variance. With `track_running_stats`,
    ``model.eval()`` switches to the running ones, and ``model.train()`` back.

    Shape: input and output ``(*batch, {axes}, C)``.

    Args:
      num_features: the number of channels C.
      eps: added to the variance.
      momentum: the weight of the new input in the running statistics; None is 0, as in torch.
      affine: whether there are `scale` and `bias`.
      track_running_stats: whether there are running statistics.
      bias: whether there is a `bias`, if `affine`.
      use_running_average: whether to begin in evaluation mode.
      dtype: the dtype that the input is cast to; None for its own. float16 and bfloat16 are
        computed in float32.
      param_dtype: the dtype of parameters and statistics.

    Attributes:
      scale, bias: the ``nnx.Param`` of torch's `weight` and `bias`, or None.
      mean, var: the ``nnx.BatchStat`` of the running statistics, or None.
      num_batches_tracked: torch's counter, which torch's layer never increments, or None.

    Raises:
      ValueError: at the call, shapes that torch refuses, such as a single position.
      TypeError: at the call, an input that does not hold floating-point numbers.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        bias: bool = True,
        use_running_average: bool = False,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
    ) -> None:
        self._build(
            num_features,
            eps,
            momentum,
            affine,
            track_running_stats,
            bias,
            use_running_average,
            dtype,
            param_dtype,
        )

    def __call__(self, x: Any, use_running_average: bool | None = None) -> jax.Array:
        """The normalized input. In training mode, running statistics are updated.

        Args:
          x: ``(*batch, *spatial, C)``.
          use_running_average: overrides the layer's setting.
        """
        name = type(self).__name__
        expected = f"{name}: expected {self.rank + 1}D or {self.rank + 2}D input, got"
        image = feature_map(name, self._input(x), self.rank, "channels_last", expected)
        if image.channels != self.num_features:
            self._check_channels(name, image.channels, image.array.shape)
        training = self._uses_input(use_running_average)
        y, statistics = functional.instance_norm_of(
            name,
            image,
            *self._arrays(),
            training,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )
        if training and statistics is not None:
            self._set_statistics(*statistics)
        return y

    def _check_channels(self, name: str, channels: int, shape: tuple[int, ...]) -> None:
        if self.affine or self.track_running_stats:
            raise ValueError(
                f"expected input's size at dim=-1 to match num_features ({self.num_features}), but "
                f"got: {channels}: {name} got channels-last input of shape {shape}"
            )
        warnings.warn(
            f"input's size at dim=-1 does not match num_features: {name} with num_features="
            f"{self.num_features}, which is not used because affine=False, got channels-last "
            f"input of shape {shape}",
            stacklevel=3,
        )


class BatchNorm1d(_BatchNorm):
    rank = 1


class BatchNorm2d(_BatchNorm):
    rank = 2


class BatchNorm3d(_BatchNorm):
    rank = 3


class InstanceNorm1d(_InstanceNorm):
    rank = 1


class InstanceNorm2d(_InstanceNorm):
    rank = 2


class InstanceNorm3d(_InstanceNorm):
    rank = 3
