"""The public pooling functions: names, arguments and meaning of ``torch.nn.functional``.

max_pool1d to 3d, avg_pool1d to 3d and lp_pool1d to 3d.
"""

from typing import Any

import jax

from jaxgroups._functional import avg_pool as averages
from jaxgroups._functional import max_pool as maxima
from jaxgroups._functional.ranks import by_rank
from jaxgroups._types import IntOrInts


def max_pool(
    where: str,
    rank: int,
    input: Any,
    kernel_size: IntOrInts,
    stride: IntOrInts | None = None,
    padding: IntOrInts = 0,
    dilation: IntOrInts = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    data_format: str = "channels_first",
) -> Any:
    """{rank}-D max pooling: ``torch.nn.functional.{name}``.

    The maximum of a window with NaN is NaN. Where the maximum occurs more than once, the gradient
    goes to the first one in row-major order, as in torch.

    Args:
      input: ``(N, C, {axes})`` or ``(C, {axes})``; with channels_last ``(*batch, {axes}, C)``
        with any number of batch axes. Real, not bool.
      kernel_size: size of the window, an int or one for each of {axes}.
      stride: distance between windows. None by default: the kernel size.
      padding: elements added on both sides, which are never the maximum; at most half the window.
      dilation: distance between elements of the window.
      ceil_mode: whether a last window may reach beyond the padded input.
      return_indices: whether to return the index of each maximum too, in the flattened spatial
        axes of the input: int64 if JAX has 64-bit numbers enabled, else int32.
      data_format: ``"channels_first"`` or ``"channels_last"``.

    Returns:
      ``(N, C, {out})``, laid out like the input, with
      ``L_out = floor((L + 2 padding - dilation (kernel_size - 1) - 1) / stride) + 1`` (ceil with
      `ceil_mode`, without a window that would start in the padding at the end). With
      `return_indices` a pair with the indices.

    Raises:
      ValueError: shapes or numbers that torch refuses.
      TypeError: an argument of the wrong type, or a dtype without an order.
    """
    return maxima.max_pool(
        where,
        rank,
        input,
        kernel_size,
        stride,
        padding,
        dilation,
        ceil_mode,
        return_indices,
        data_format,
    )


def avg_pool(
    where: str,
    rank: int,
    input: Any,
    kernel_size: IntOrInts,
    stride: IntOrInts | None = None,
    padding: IntOrInts = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    data_format: str = "channels_first",
) -> jax.Array:
    """{rank}-D average pooling: ``torch.nn.functional.{name}``.

    Args:
      input: ``(N, C, {axes})`` or ``(C, {axes})``; with channels_last ``(*batch, {axes}, C)``
        with any number of batch axes. float16 and bfloat16 are summed in float32.
      kernel_size: size of the window, an int or one for each of {axes}.
      stride: distance between windows. None by default: the kernel size.
      padding: zeros added on both sides; at most half the window.
      ceil_mode: whether a last window may reach beyond the padded input. Elements beyond the
        padding are not counted.
      count_include_pad: whether padding is counted in the divisor.
      divisor_override: the divisor, in place of the number of elements. torch's avg_pool1d has no
        such argument; here it means the same for every rank.
      data_format: ``"channels_first"`` or ``"channels_last"``.

    Returns:
      ``(N, C, {out})``, laid out like the input.

    Raises:
      ValueError: shapes or numbers that torch refuses.
      TypeError: an argument of the wrong type, or a bool or complex input.
    """
    return averages.avg_pool(
        where,
        rank,
        input,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
        divisor_override,
        data_format,
    )


def lp_pool(
    where: str,
    rank: int,
    input: Any,
    norm_type: float,
    kernel_size: IntOrInts,
    stride: IntOrInts | None = None,
    ceil_mode: bool = False,
    *,
    data_format: str = "channels_first",
) -> jax.Array:
    """{rank}-D power-average pooling: ``torch.nn.functional.{name}``.

    Each window becomes ``(sum of x ** norm_type) ** (1 / norm_type)``. The gradient of a window of
    zeros is NaN, as in torch.

    Args:
      input: ``(N, C, {axes})`` or ``(C, {axes})``; with channels_last ``(*batch, {axes}, C)``.
      norm_type: the exponent p; 1 gives the sums of the windows.
      kernel_size: size of the window, an int or one for each of {axes}.
      stride: distance between windows. None by default: the kernel size.
      ceil_mode: whether a last window may reach beyond the input.
      data_format: ``"channels_first"`` or ``"channels_last"``.

    Returns:
      ``(N, C, {out})``, laid out like the input.

    Raises:
      ValueError: shapes or numbers that torch refuses.
      TypeError: an argument of the wrong type.
    """
    return averages.lp_pool(
        where, rank, input, norm_type, kernel_size, stride, ceil_mode, data_format
    )


max_pool1d, max_pool2d, max_pool3d = by_rank(max_pool)
avg_pool1d, avg_pool2d, avg_pool3d = by_rank(avg_pool)
lp_pool1d, lp_pool2d, lp_pool3d = by_rank(lp_pool)
