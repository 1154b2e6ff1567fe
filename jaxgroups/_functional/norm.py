"""The public normalizations: names, arguments and meaning of ``torch.nn.functional``.

batch_norm, instance_norm, group_norm, layer_norm and rms_norm.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgroups._functional.batch_norm import (
    channel_norm,
    check_batch,
    check_instance,
    pair_of,
)
from jaxgroups._functional.dtypes import accumulator
from jaxgroups._functional.feature_map import FeatureMap, along, of_any_rank
from jaxgroups._functional.normalize import normalized
from jaxgroups._functional.observed import observed
from jaxgroups._spec import arguments
from jaxgroups._types import Ints

_AT_LEAST_2 = "Expected at least 2 dimensions for input tensor but received"
_SHAPE = "of same shape as normalized_shape"


@observed
def batch_norm(
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: Any = 0.1,
    eps: float = 1e-5,
    *,
    data_format: str = "channels_first",
    return_statistics: bool = False,
) -> Any:
    """Batch normalization: ``torch.nn.functional.batch_norm``.

    torch updates `running_mean` and `running_var` in place. JAX arrays cannot change, so
    `return_statistics` returns the new ones.

    Args:
      input: ``(N, C, *)``; with channels_last ``(*batch, C)``, where the batch may include spatial
        axes. float16 and bfloat16 are computed in float32.
      running_mean, running_var: the running statistics, ``(C,)`` each; in training they may be
        None.
      weight: the factor of each channel, ``(C,)``; None is 1.
      bias: the summand of each channel, ``(C,)``; None is 0.
      training: whether to normalize by the mean and variance of the batch, not by the running ones.
      momentum: the weight of the batch in the new statistics, a number or a scalar array.
      eps: added to the variance.
      data_format: ``"channels_first"`` or ``"channels_last"``.
      return_statistics: whether to return ``(output, running_mean, running_var)``, where the
        statistics are new in training and the given ones otherwise. The running variance is
        unbiased.

    Returns:
      The normalized input, in its shape and dtype; with `return_statistics` the three arrays.

    Raises:
      ValueError: shapes or numbers that torch refuses, such as one value a channel in training.
      TypeError: an input that does not hold floating-point numbers.
    """
    where = "batch_norm"
    image = of_any_rank(where, input, data_format, _AT_LEAST_2, 2)
    others = tuple(axis for axis in range(image.array.ndim) if axis != image.channel)
    if training:
        count = prod(image.array.shape[axis] for axis in others)
        check_batch(where, count, list(image.torch_shape), eps)
    elif eps < 0:
        raise ValueError(f"batch_norm eps must be non-negative, but got {eps}: {where}()")
    statistics = pair_of(where, running_mean, running_var)
    y, statistics = channel_norm(
        where,
        image.array,
        image.channel,
        others,
        (),
        statistics,
        weight,
        bias,
        training,
        momentum,
        eps,
    )
    return (y, *(statistics or (None, None))) if return_statistics else y


@observed
def instance_norm(
    input: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: Any = 0.1,
    eps: float = 1e-5,
    *,
    data_format: str = "channels_first",
    return_statistics: bool = False,
) -> Any:
    """Instance normalization: ``torch.nn.functional.instance_norm``.

    torch updates `running_mean` and `running_var` in place. JAX arrays cannot change, so
    `return_statistics` returns the new ones.

    Args:
      input: ``(N, C, *)``; with channels_last ``(N, *, C)``. float16 and bfloat16 are computed in
        float32.
      running_mean, running_var: the running statistics, ``(C,)`` each, or None.
      weight: the factor of each channel, ``(C,)``; None is 1.
      bias: the summand of each channel, ``(C,)``; None is 0.
      use_input_stats: whether to normalize by the mean and variance of each instance, not by the
        running ones.
      momentum: the weight of the input in the new statistics, a number or a scalar array.
      eps: added to the variance.
      data_format: ``"channels_first"`` or ``"channels_last"``.
      return_statistics: whether to return ``(output, running_mean, running_var)``, where the
        statistics are new with `use_input_stats` and the given ones otherwise. They are means over
        the instances; the variance is unbiased.

    Returns:
      The normalized input, in its shape and dtype; with `return_statistics` the three arrays.

    Raises:
      ValueError: shapes that torch refuses, such as a single position; running statistics that
        are needed and not given.
      TypeError: an input that does not hold floating-point numbers.
    """
    where = "instance_norm"
    image = of_any_rank(where, input, data_format, _AT_LEAST_2, 2)
    y, statistics = instance_norm_of(
        where,
        image,
        running_mean,
        running_var,
        weight,
        bias,
        use_input_stats,
        momentum,
        eps,
    )
    return (y, *(statistics or (None, None))) if return_statistics else y


def instance_norm_of(
    where: str,
    image: FeatureMap,
    running_mean: Any,
    running_var: Any,
    weight: Any,
    bias: Any,
    use_input_stats: bool,
    momentum: Any,
    eps: float,
) -> Any:
    """Instance normalization of a feature map with any batch axes."""
    statistics = pair_of(where, running_mean, running_var)
    if use_input_stats:
        check_instance(where, prod(image.sizes), list(image.torch_shape))
    elif statistics is None:
        raise ValueError(
            "Expected running_mean and running_var to be defined when use_input_stats is false: "
            f"{where}() got running_mean=None"
        )
    inner = (image.channel, *image.spatial)
    instances = tuple(axis for axis in range(image.array.ndim) if axis not in inner)
    return channel_norm(
        where,
        image.array,
        image.channel,
        image.spatial,
        instances,
        statistics,
        weight,
        bias,
        use_input_stats,
        momentum,
        eps,
    )


@observed
def group_norm(
    input: Any,
    num_groups: int,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    *,
    data_format: str = "channels_first",
) -> jax.Array:
    """Group normalization: ``torch.nn.functional.group_norm``.

    Args:
      input: ``(N, C, *)``; with channels_last ``(N, *, C)``. float16 and bfloat16 are computed in
        float32.
      num_groups: the number of groups; each is ``C / num_groups`` consecutive channels.
      weight: the factor of each channel, ``(C,)``; None is 1.
      bias: the summand of each channel, ``(C,)``; None is 0.
      eps: added to the variance.
      data_format: ``"channels_first"`` or ``"channels_last"``.

    Returns:
      The normalized input, in its shape and dtype.

    Raises:
      ValueError: shapes that torch refuses; channels that `num_groups` does not divide.
      TypeError: an input that does not hold floating-point numbers.
    """
    image = of_any_rank("group_norm", input, data_format, _AT_LEAST_2, 2)
    return group_norm_of("group_norm", image, num_groups, weight, bias, eps)


def group_norm_of(
    where: str, image: FeatureMap, num_groups: int, weight: Any, bias: Any, eps: float
) -> jax.Array:
    """Group normalization of a feature map with any batch axes."""
    x, channels = image.array, image.channels
    if num_groups < 1 or channels % num_groups:
        raise ValueError(
            "Expected number of channels in input to be divisible by num_groups, but got input of "
            f"shape {list(image.torch_shape)} and num_groups={num_groups}: {where}()"
        )
    if x.size == num_groups:
        raise ValueError(
            "Expected more than 1 value per channel when training, got input size "
            f"{list(image.torch_shape)}: {where}() normalizes a single value to 0"
        )
    dtype = accumulator(where, x)
    at = image.channel
    parts = x.reshape(*x.shape[:at], num_groups, channels // num_groups, *x.shape[at + 1 :])
    axes = (at + 1, *(axis + (axis > at) for axis in image.spatial))
    y = _standardized(parts.astype(dtype), axes, eps).reshape(x.shape)
    like = "a vector of size equal to the number of channels in input"
    return _affine(where, like, y, (at,), weight, bias).astype(x.dtype)


def _standardized(x: jax.Array, axes: Ints, eps: float) -> jax.Array:
    one = jnp.ones((1,) * x.ndim, x.dtype)
    return normalized(axes, eps, x, one, 0 * one)[0]


def _affine(where: str, like: str, y: jax.Array, axes: Ints, weight: Any, bias: Any) -> jax.Array:
    """``y * weight + bias`` along some axes; `like` is the expected shape in error messages."""
    shape = tuple(y.shape[axis] for axis in axes)
    for name, value in (("weight", weight), ("bias", bias)):
        if value is None:
            continue
        array = jnp.asarray(value)
        if array.shape != shape:
            raise ValueError(
                f"Expected {name} to be {like}, but got {name} of shape {list(array.shape)}: "
                f"{where}() needs {list(shape)}"
            )
        array = along(array.astype(y.dtype), y.ndim, axes)
        y = y * array if name == "weight" else y + array
    return y


def _trailing(where: str, input: Any, normalized_shape: Any) -> tuple[jax.Array, Ints]:
    """The input, and the axes of `normalized_shape`: the last ones."""
    x = jnp.asarray(input)
    shape = arguments.integers(where, "normalized_shape", normalized_shape)
    if not shape:
        raise ValueError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one "
            f"element, but got normalized_shape = []: {where}()"
        )
    if x.ndim < len(shape) or x.shape[x.ndim - len(shape) :] != shape:
        expected = ", ".join(map(str, ("*", *shape)))
        raise ValueError(
            f"Given normalized_shape={list(shape)}, expected input with shape [{expected}], but "
            f"got input of size{list(x.shape)}: {where}()"
        )
    return x, tuple(range(x.ndim - len(shape), x.ndim))


@observed
def layer_norm(
    input: Any,
    normalized_shape: int | Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
) -> jax.Array:
    """Layer normalization over the last axes: ``torch.nn.functional.layer_norm``.

    Args:
      input: ``(*, *normalized_shape)``. float16 and bfloat16 are computed in float32.
      normalized_shape: the sizes of the last axes, over which the mean is taken; an int for the
        last axis.
      weight: the factor, of shape `normalized_shape`; None is 1.
      bias: the summand, of shape `normalized_shape`; None is 0.
      eps: added to the variance.

    Returns:
      The normalized input, in its shape and dtype.

    Raises:
      ValueError: shapes that torch refuses.
      TypeError: an input that does not hold floating-point numbers.
    """
    x, axes = _trailing("layer_norm", input, normalized_shape)
    dtype = accumulator("layer_norm", x)
    y = _standardized(x.astype(dtype), axes, eps)
    return _affine("layer_norm", _SHAPE, y, axes, weight, bias).astype(x.dtype)


@observed
def rms_norm(
    input: Any,
    normalized_shape: int | Sequence[int],
    weight: Any = None,
    eps: float | None = None,
) -> jax.Array:
    """Root mean square normalization over the last axes: ``torch.nn.functional.rms_norm``.

    Args:
      input: ``(*, *normalized_shape)``. float16 and bfloat16 are computed in float32.
      normalized_shape: the sizes of the last axes, over which the mean is taken; an int for the
        last axis.
      weight: the factor, of shape `normalized_shape`; None is 1.
      eps: added to the mean of squares. None by default: the machine epsilon of the dtype of the
        computation, 1.2e-7 for float32.

    Returns:
      The normalized input, in its shape and dtype.

    Raises:
      ValueError: shapes that torch refuses.
      TypeError: an input that does not hold floating-point numbers.
    """
    x, axes = _trailing("rms_norm", input, normalized_shape)
    dtype = accumulator("rms_norm", x)
    wide = x.astype(dtype)
    added = float(jnp.finfo(dtype).eps) if eps is None else eps
    y = wide * (1 / lax.sqrt(jnp.mean(lax.square(wide), axes, keepdims=True) + added))
    return _affine("rms_norm", _SHAPE, y, axes, weight, None).astype(x.dtype)
