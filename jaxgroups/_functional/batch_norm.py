"""Normalization with one mean and variance for each channel, of a batch or of each instance."""

from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgroups._functional.dtypes import accumulator, widened
from jaxgroups._functional.feature_map import along
from jaxgroups._functional.normalize import normalized, scaled
from jaxgroups._types import Ints

Statistics = tuple[jax.Array, jax.Array]  # running mean and variance


def channel_norm(
    where: str,
    x: jax.Array,
    channel: int,
    averaged: Ints,
    instances: Ints,
    statistics: Statistics | None,
    weight: Any,
    bias: Any,
    use_input: bool,
    momentum: Any,
    eps: float,
) -> tuple[jax.Array, Statistics | None]:
    """Batch and instance normalization of an array.

    Args:
      where: name of the function, for errors.
      x: the input.
      channel: the axis of the channels.
      averaged: the axes of the mean; `channel` is not among them.
      instances: the axes along which each element is normalized by itself.
      statistics: running mean and variance, ``(C,)`` each, or None.
      weight, bias: ``(C,)`` or None.
      use_input: whether to normalize by the mean and variance of `x`, not by the running ones.
      momentum: the weight of `x` in the new running statistics.
      eps: added to the variance.

    Returns:
      The normalized input, and the new statistics (None without statistics).
    """
    dtype = accumulator(where, x)
    channels = x.shape[channel]

    def vector(value: Any, name: str) -> jax.Array:
        array = jnp.asarray(value)
        if array.shape != (channels,):
            raise ValueError(
                f"{name} should contain {channels} elements not {array.size}: {where}() got an "
                f"input of {channels} channels and {name} of shape {array.shape}"
            )
        return array

    def broadcast(array: jax.Array) -> jax.Array:
        return along(array.astype(dtype), x.ndim, (channel,))

    one = jnp.ones((1,) * x.ndim, dtype)
    scale = one if weight is None else broadcast(vector(weight, "weight"))
    shift = 0 * one if bias is None else broadcast(vector(bias, "bias"))
    if statistics is not None:
        mean, var = statistics
        statistics = vector(mean, "running_mean"), vector(var, "running_var")
    if not use_input:
        if statistics is None:
            raise ValueError(
                f"running_mean must be defined in evaluation mode: {where}() got running_mean=None"
            )
        mean, var = map(broadcast, statistics)
        return scaled(x.astype(dtype), mean, var, eps, scale, shift).astype(x.dtype), statistics
    y, mean, var = normalized(averaged, eps, x.astype(dtype), scale, shift)
    if statistics is not None:
        count = prod(x.shape[axis] for axis in averaged)
        unbiased = var * jnp.asarray(count / (count - 1), dtype)
        running_mean, running_var = (
            _updated(old, jnp.mean(new, instances, keepdims=True).reshape(channels), momentum)
            for old, new in zip(statistics, (mean, unbiased), strict=True)
        )
        statistics = running_mean, running_var
    return y.astype(x.dtype), statistics


def _updated(old: jax.Array, new: jax.Array, momentum: Any) -> jax.Array:
    """The running statistic after one more batch."""
    dtype = widened(old.dtype)
    part, new = jnp.asarray(momentum, dtype), lax.stop_gradient(new).astype(dtype)
    return ((1 - part) * old.astype(dtype) + part * new).astype(old.dtype)


def pair_of(where: str, running_mean: Any, running_var: Any) -> Statistics | None:
    """Both running statistics, or None.

    Raises:
      ValueError: one is given without the other.
    """
    if running_mean is None and running_var is None:
        return None
    if running_mean is None or running_var is None:
        missing = "running_mean" if running_mean is None else "running_var"
        raise ValueError(
            "running_mean and running_var must either both be None or neither be None: "
            f"{where}() got {missing}=None"
        )
    return running_mean, running_var


def check_batch(where: str, count: Any, shape: Any, eps: float) -> None:
    """Refuse one value a channel and an epsilon that is not positive: torch does in training."""
    if isinstance(count, int) and count == 1:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {shape}: "
            f"{where}() normalizes a single value to 0"
        )
    if eps <= 0:
        raise ValueError(
            f"batch_norm eps must be positive during training, but got {eps}: {where}()"
        )


def check_instance(where: str, count: Any, shape: Any) -> None:
    """Refuse inputs with one position, as torch does."""
    if isinstance(count, int) and count == 1:
        raise ValueError(
            f"Expected more than 1 spatial element when training, got input size {shape}: "
            f"{where}() normalizes a single value to 0"
        )
