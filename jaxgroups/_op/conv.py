"""The functions conv1d, conv2d and conv3d: arguments and meaning of ``torch.nn.functional``.

The three differ in the number of spatial axes only; `tests/core` compares their docstrings.
"""

from typing import Any

import jax

from jaxgroups._op.functional import call
from jaxgroups._types import IntOrInts


def conv1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: IntOrInts = 1,
    padding: IntOrInts | str = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    data_format: str = "channels_first",
    precision: Any = None,
    preferred_element_type: Any = None,
    implementation: str | None = None,
    activation: Any = None,
    residual: Any = None,
) -> jax.Array:
    """1-D convolution with groups: ``torch.nn.functional.conv1d``.

    The channels are split into `groups` blocks. Each filter reads the ``C_in / groups`` channels of
    its block. As in torch this is a cross-correlation: the kernel is not flipped.

    Args:
      input: ``(N, C_in, L)`` or ``(C_in, L)``; with channels_last
        ``(*batch, L, C_in)`` with any number of batch axes.
      weight: ``(C_out, C_in / groups, k)``; with channels_last
        ``(k, C_in / groups, C_out)``.
      bias: ``(C_out,)``, or None.
      stride: stride of the window, an int or a sequence of one.
      padding: values added on both sides, an int or a sequence of one; or ``"valid"``,
        or ``"same"`` (stride 1 only; an odd element is added at the high side).
      dilation: distance between kernel elements, an int or a sequence of one.
      groups: number of blocks, a divisor of C_in and of C_out.
      padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
      data_format: ``"channels_first"`` or ``"channels_last"``.
      precision: as in ``lax.conv_general_dilated``.
      preferred_element_type: dtype to accumulate in and to return. By default the result has the
        dtype of the input, and float16 and bfloat16 are accumulated in float32.
      implementation: name of the implementation, None for the best. `jaxgroups.explain` names it.
      activation: what is applied to the result in the same operation: ``"relu"``, ``"relu6"``,
        ``"silu"``, ``"hardswish"``, ``"hardsigmoid"``, ``"sigmoid"``, ``"leaky_relu"`` or
        ``"hardtanh"``; for the last two a tuple gives the numbers, as ``("leaky_relu", 0.2)`` and
        ``("hardtanh", -2, 2)``.
      residual: an array of the shape and dtype of the result, added to it before the activation.

    Returns:
      ``(N, C_out, L_out)``, laid out like the input, where
      ``L_out = floor((L + 2 padding - dilation (k - 1) - 1) / stride) + 1``.

    Raises:
      ValueError: shapes, dtypes or numbers that torch refuses, with torch's sentence; an unknown
        activation, or a residual that does not fit.
      TypeError: an argument of the wrong type, or a dtype that torch does not convolve.

    >>> import jax.numpy as jnp
    >>> conv1d(jnp.ones((1, 4, 5)), jnp.ones((6, 2, 3)), groups=2).shape
    (1, 6, 3)
    """
    return call(
        "conv1d",
        input,
        weight,
        bias,
        stride,
        padding,
        dilation,
        groups,
        padding_mode=padding_mode,
        data_format=data_format,
        precision=precision,
        preferred_element_type=preferred_element_type,
        implementation=implementation,
        activation=activation,
        residual=residual,
    )


def conv2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: IntOrInts = 1,
    padding: IntOrInts | str = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    data_format: str = "channels_first",
    precision: Any = None,
    preferred_element_type: Any = None,
    implementation: str | None = None,
    activation: Any = None,
    residual: Any = None,
) -> jax.Array:
    """2-D convolution with groups: ``torch.nn.functional.conv2d``.

    The channels are split into `groups` blocks. Each filter reads the ``C_in / groups`` channels of
    its block. As in torch this is a cross-correlation: the kernel is not flipped.

    Args:
      input: ``(N, C_in, H, W)`` or ``(C_in, H, W)``; with channels_last
        ``(*batch, H, W, C_in)`` with any number of batch axes.
      weight: ``(C_out, C_in / groups, kH, kW)``; with channels_last
        ``(kH, kW, C_in / groups, C_out)``.
      bias: ``(C_out,)``, or None.
      stride: stride of the window, an int or one for each of H, W.
      padding: values added on both sides, an int or one for each of H, W; or ``"valid"``,
        or ``"same"`` (stride 1 only; an odd element is added at the high side).
      dilation: distance between kernel elements, an int or one for each of H, W.
      groups: number of blocks, a divisor of C_in and of C_out.
      padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
      data_format: ``"channels_first"`` or ``"channels_last"``.
      precision: as in ``lax.conv_general_dilated``.
      preferred_element_type: dtype to accumulate in and to return. By default the result has the
        dtype of the input, and float16 and bfloat16 are accumulated in float32.
      implementation: name of the implementation, None for the best. `jaxgroups.explain` names it.
      activation: what is applied to the result in the same operation: ``"relu"``, ``"relu6"``,
        ``"silu"``, ``"hardswish"``, ``"hardsigmoid"``, ``"sigmoid"``, ``"leaky_relu"`` or
        ``"hardtanh"``; for the last two a tuple gives the numbers, as ``("leaky_relu", 0.2)`` and
        ``("hardtanh", -2, 2)``.
      residual: an array of the shape and dtype of the result, added to it before the activation.

    Returns:
      ``(N, C_out, H_out, W_out)``, laid out like the input, where
      ``H_out = floor((H + 2 padding - dilation (kH - 1) - 1) / stride) + 1``,
      the same for W.

    Raises:
      ValueError: shapes, dtypes or numbers that torch refuses, with torch's sentence; an unknown
        activation, or a residual that does not fit.
      TypeError: an argument of the wrong type, or a dtype that torch does not convolve.

    >>> import jax.numpy as jnp
    >>> conv2d(jnp.ones((1, 4, 5, 5)), jnp.ones((6, 2, 3, 3)), groups=2).shape
    (1, 6, 3, 3)
    """
    return call(
        "conv2d",
        input,
        weight,
        bias,
        stride,
        padding,
        dilation,
        groups,
        padding_mode=padding_mode,
        data_format=data_format,
        precision=precision,
        preferred_element_type=preferred_element_type,
        implementation=implementation,
        activation=activation,
        residual=residual,
    )


def conv3d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: IntOrInts = 1,
    padding: IntOrInts | str = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    data_format: str = "channels_first",
    precision: Any = None,
    preferred_element_type: Any = None,
    implementation: str | None = None,
    activation: Any = None,
    residual: Any = None,
) -> jax.Array:
    """3-D convolution with groups: ``torch.nn.functional.conv3d``.

    The channels are split into `groups` blocks. Each filter reads the ``C_in / groups`` channels of
    its block. As in torch this is a cross-correlation: the kernel is not flipped.

    Args:
      input: ``(N, C_in, D, H, W)`` or ``(C_in, D, H, W)``; with channels_last
        ``(*batch, D, H, W, C_in)`` with any number of batch axes.
      weight: ``(C_out, C_in / groups, kD, kH, kW)``; with channels_last
        ``(kD, kH, kW, C_in / groups, C_out)``.
      bias: ``(C_out,)``, or None.
      stride: stride of the window, an int or one for each of D, H, W.
      padding: values added on both sides, an int or one for each of D, H, W; or ``"valid"``,
        or ``"same"`` (stride 1 only; an odd element is added at the high side).
      dilation: distance between kernel elements, an int or one for each of D, H, W.
      groups: number of blocks, a divisor of C_in and of C_out.
      padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
      data_format: ``"channels_first"`` or ``"channels_last"``.
      precision: as in ``lax.conv_general_dilated``.
      preferred_element_type: dtype to accumulate in and to return. By default the result has the
        dtype of the input, and float16 and bfloat16 are accumulated in float32.
      implementation: name of the implementation, None for the best. `jaxgroups.explain` names it.
      activation: what is applied to the result in the same operation: ``"relu"``, ``"relu6"``,
        ``"silu"``, ``"hardswish"``, ``"hardsigmoid"``, ``"sigmoid"``, ``"leaky_relu"`` or
        ``"hardtanh"``; for the last two a tuple gives the numbers, as ``("leaky_relu", 0.2)`` and
        ``("hardtanh", -2, 2)``.
      residual: an array of the shape and dtype of the result, added to it before the activation.

    Returns:
      ``(N, C_out, D_out, H_out, W_out)``, laid out like the input, where
      ``D_out = floor((D + 2 padding - dilation (kD - 1) - 1) / stride) + 1``,
      the same for H and W.

    Raises:
      ValueError: shapes, dtypes or numbers that torch refuses, with torch's sentence; an unknown
        activation, or a residual that does not fit.
      TypeError: an argument of the wrong type, or a dtype that torch does not convolve.

    >>> import jax.numpy as jnp
    >>> conv3d(jnp.ones((1, 4, 5, 5, 5)), jnp.ones((6, 2, 3, 3, 3)), groups=2).shape
    (1, 6, 3, 3, 3)
    """
    return call(
        "conv3d",
        input,
        weight,
        bias,
        stride,
        padding,
        dilation,
        groups,
        padding_mode=padding_mode,
        data_format=data_format,
        precision=precision,
        preferred_element_type=preferred_element_type,
        implementation=implementation,
        activation=activation,
        residual=residual,
    )
