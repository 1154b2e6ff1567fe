"""The functions conv_transpose1d, 2d and 3d: arguments and meaning of ``torch.nn.functional``.

The three differ in the number of spatial axes only; `tests/core` compares their docstrings.
"""

from collections.abc import Iterable
from typing import Any

import jax

from jaxgroups._op.functional import call
from jaxgroups._types import IntOrInts


def conv_transpose1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: IntOrInts = 1,
    padding: IntOrInts = 0,
    output_padding: IntOrInts = 0,
    groups: int = 1,
    dilation: IntOrInts = 1,
    *,
    output_size: Iterable[int] | None = None,
    data_format: str = "channels_first",
    precision: Any = None,
    preferred_element_type: Any = None,
    implementation: str | None = None,
) -> jax.Array:
    """1-D transposed convolution with groups: ``torch.nn.functional.conv_transpose1d``.

    The adjoint of `conv1d` with the same weight, stride, padding, dilation and groups.

    Args:
      input: ``(N, C_in, L)`` or ``(C_in, L)``; with channels_last
        ``(*batch, L, C_in)`` with any number of batch axes.
      weight: ``(C_in, C_out / groups, k)``; with channels_last
        ``(k, C_out / groups, C_in)``.
      bias: ``(C_out,)``, or None.
      stride: stride of the adjoint's window, an int or a sequence of one.
      padding: padding of the adjoint, which crops this output on both sides; an int or
        a sequence of one.
      output_padding: length added at the high side of the output, less than the stride or the
        dilation; an int or a sequence of one.
      groups: number of blocks, a divisor of C_in and of C_out.
      dilation: distance between kernel elements, an int or a sequence of one.
      output_size: the spatial sizes or the whole shape of the output, instead of `output_padding`.
      data_format: ``"channels_first"`` or ``"channels_last"``.
      precision: as in ``lax.conv_general_dilated``.
      preferred_element_type: dtype to accumulate in and to return. By default the result has the
        dtype of the input, and float16 and bfloat16 are accumulated in float32.
      implementation: name of the implementation, None for the best. `jaxgroups.explain` names it.

    Returns:
      ``(N, C_out, L_out)``, laid out like the input, where
      ``L_out = (L - 1) stride - 2 padding + dilation (k - 1) + output_padding + 1``.

    Raises:
      ValueError: shapes, dtypes or numbers that torch refuses, with torch's sentence.
      TypeError: an argument of the wrong type, or a dtype that torch does not convolve.

    >>> import jax.numpy as jnp
    >>> conv_transpose1d(jnp.ones((1, 4, 5)), jnp.ones((4, 3, 3)), groups=2).shape
    (1, 6, 7)
    """
    return call(
        "conv_transpose1d",
        input,
        weight,
        bias,
        stride,
        padding,
        dilation,
        groups,
        output_padding=output_padding,
        output_size=output_size,
        data_format=data_format,
        precision=precision,
        preferred_element_type=preferred_element_type,
        implementation=implementation,
    )


def conv_transpose2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: IntOrInts = 1,
    padding: IntOrInts = 0,
    output_padding: IntOrInts = 0,
    groups: int = 1,
    dilation: IntOrInts = 1,
    *,
    output_size: Iterable[int] | None = None,
    data_format: str = "channels_first",
    precision: Any = None,
    preferred_element_type: Any = None,
    implementation: str | None = None,
) -> jax.Array:
    """2-D transposed convolution with groups: ``torch.nn.functional.conv_transpose2d``.

    The adjoint of `conv2d` with the same weight, stride, padding, dilation and groups.

    Args:
      input: ``(N, C_in, H, W)`` or ``(C_in, H, W)``; with channels_last
        ``(*batch, H, W, C_in)`` with any number of batch axes.
      weight: ``(C_in, C_out / groups, kH, kW)``; with channels_last
        ``(kH, kW, C_out / groups, C_in)``.
      bias: ``(C_out,)``, or None.
      stride: stride of the adjoint's window, an int or one for each of H, W.
      padding: padding of the adjoint, which crops this output on both sides; an int or
        one for each of H, W.
      output_padding: length added at the high side of the output, less than the stride or the
        dilation; an int or one for each of H, W.
      groups: number of blocks, a divisor of C_in and of C_out.
      dilation: distance between kernel elements, an int or one for each of H, W.
      output_size: the spatial sizes or the whole shape of the output, instead of `output_padding`.
      data_format: ``"channels_first"`` or ``"channels_last"``.
      precision: as in ``lax.conv_general_dilated``.
      preferred_element_type: dtype to accumulate in and to return. By default the result has the
        dtype of the input, and float16 and bfloat16 are accumulated in float32.
      implementation: name of the implementation, None for the best. `jaxgroups.explain` names it.

    Returns:
      ``(N, C_out, H_out, W_out)``, laid out like the input, where
      ``H_out = (H - 1) stride - 2 padding + dilation (kH - 1) + output_padding + 1``,
      the same for W.

    Raises:
      ValueError: shapes, dtypes or numbers that torch refuses, with torch's sentence.
      TypeError: an argument of the wrong type, or a dtype that torch does not convolve.

    >>> import jax.numpy as jnp
    >>> conv_transpose2d(jnp.ones((1, 4, 5, 5)), jnp.ones((4, 3, 3, 3)), groups=2).shape
    (1, 6, 7, 7)
    """
    return call(
        "conv_transpose2d",
        input,
        weight,
        bias,
        stride,
        padding,
        dilation,
        groups,
        output_padding=output_padding,
        output_size=output_size,
        data_format=data_format,
        precision=precision,
        preferred_element_type=preferred_element_type,
        implementation=implementation,
    )


def conv_transpose3d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: IntOrInts = 1,
    padding: IntOrInts = 0,
    output_padding: IntOrInts = 0,
    groups: int = 1,
    dilation: IntOrInts = 1,
    *,
    output_size: Iterable[int] | None = None,
    data_format: str = "channels_first",
    precision: Any = None,
    preferred_element_type: Any = None,
    implementation: str | None = None,
) -> jax.Array:
    """3-D transposed convolution with groups: ``torch.nn.functional.conv_transpose3d``.

    The adjoint of `conv3d` with the same weight, stride, padding, dilation and groups.

    Args:
      input: ``(N, C_in, D, H, W)`` or ``(C_in, D, H, W)``; with channels_last
        ``(*batch, D, H, W, C_in)`` with any number of batch axes.
      weight: ``(C_in, C_out / groups, kD, kH, kW)``; with channels_last
        ``(kD, kH, kW, C_out / groups, C_in)``.
      bias: ``(C_out,)``, or None.
      stride: stride of the adjoint's window, an int or one for each of D, H, W.
      padding: padding of the adjoint, which crops this output on both sides; an int or
        one for each of D, H, W.
      output_padding: length added at the high side of the output, less than the stride or the
        dilation; an int or one for each of D, H, W.
      groups: number of blocks, a divisor of C_in and of C_out.
      dilation: distance between kernel elements, an int or one for each of D, H, W.
      output_size: the spatial sizes or the whole shape of the output, instead of `output_padding`.
      data_format: ``"channels_first"`` or ``"channels_last"``.
      precision: as in ``lax.conv_general_dilated``.
      preferred_element_type: dtype to accumulate in and to return. By default the result has the
        dtype of the input, and float16 and bfloat16 are accumulated in float32.
      implementation: name of the implementation, None for the best. `jaxgroups.explain` names it.

    Returns:
      ``(N, C_out, D_out, H_out, W_out)``, laid out like the input, where
      ``D_out = (D - 1) stride - 2 padding + dilation (kD - 1) + output_padding + 1``,
      the same for H and W.

    Raises:
      ValueError: shapes, dtypes or numbers that torch refuses, with torch's sentence.
      TypeError: an argument of the wrong type, or a dtype that torch does not convolve.

    >>> import jax.numpy as jnp
    >>> conv_transpose3d(jnp.ones((1, 4, 5, 5, 5)), jnp.ones((4, 3, 3, 3, 3)), groups=2).shape
    (1, 6, 7, 7, 7)
    """
    return call(
        "conv_transpose3d",
        input,
        weight,
        bias,
        stride,
        padding,
        dilation,
        groups,
        output_padding=output_padding,
        output_size=output_size,
        data_format=data_format,
        precision=precision,
        preferred_element_type=preferred_element_type,
        implementation=implementation,
    )
