"""What the nnx and the linen layers share: spec, initialization, call and docstring, without Flax.

A layer is a `ConvSpec` in channels_last without an input, and two parameters, ``kernel`` and
``bias``. The kernel is the permutation (2.., 1, 0) of torch's weight for every layer kind: one
transpose converts a weight between torch and Flax, whatever the groups.
"""

from collections.abc import Iterable
from math import prod, sqrt
from typing import Any

import jax
import jax.numpy as jnp

from jaxgroups._lowerings import dispatch
from jaxgroups._op import functional
from jaxgroups._spec import arguments, checks
from jaxgroups._spec.spec import ConvSpec
from jaxgroups._types import IntOrInts


def shown_padding(spec: ConvSpec, padding: IntOrInts | str) -> tuple[int, ...] | str:
    """The padding in torch's form, one value an axis or the string, for `repr`.

    The numbers come from the spec, because `padding` may be an iterator that is used up.
    """
    return padding if isinstance(padding, str) else tuple(low for low, _ in spec.padding)


def layer_spec(op: str, in_channels: int, out_channels: int, kernel_size: IntOrInts, **kw: Any):
    """The spec of a Flax layer; raises every argument error of the constructor."""
    return ConvSpec.of(
        op, in_channels, out_channels, kernel_size, data_format="channels_last", **kw
    )


def check_settings(dtype: Any, implementation: str | None) -> None:
    """Refuse an unknown implementation, and a dtype of parameters that has no gradients."""
    dispatch.check_name(implementation)
    if not jnp.issubdtype(dtype, jnp.inexact):
        raise ValueError(
            "Only Tensors of floating point and complex dtype can require gradients: "
            f"got param_dtype={jnp.dtype(dtype).name}"
        )


def channels(spec: ConvSpec, shape: tuple[int, ...]) -> int:
    """Number of channels of an input of the right rank."""
    checks.rank(len(shape), shape, spec.rank, spec.op, True, spec.padding_mode)
    return shape[-1]


def fan_in(spec: ConvSpec) -> int:
    """Torch's fan-in: dimension 1 of the weight times the kernel, also when transposed."""
    return prod(spec.torch_weight_shape[1:])


def torch_uniform(fan_in: int):
    """Torch's default initialiser of convolutions, for weight and bias alike.

    U(-b, b) with ``b = 1 / sqrt(fan_in)``, which is ``kaiming_uniform_(a=sqrt(5))``; of a complex
    dtype both parts. Same distribution as torch's, not the same numbers.
    """
    bound = 1 / sqrt(fan_in)

    def init(key: Any, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None):
        dtype = jnp.dtype(dtype)
        if jnp.issubdtype(dtype, jnp.complexfloating):
            part = jnp.finfo(dtype).dtype
            real, imag = (
                jax.random.uniform(k, shape, part, -bound, bound, out_sharding=out_sharding)
                for k in jax.random.split(key)
            )
            return jax.lax.complex(real, imag)
        return jax.random.uniform(key, shape, dtype, -bound, bound, out_sharding=out_sharding)

    return init


def call(
    spec: ConvSpec,
    x: Any,
    kernel: jax.Array,
    bias: jax.Array | None,
    *,
    dtype: Any = None,
    output_size: Iterable[int] | None = None,
    **how: Any,
) -> jax.Array:
    """Forward of a layer: cast to one dtype as Flax layers do, then convolve."""
    x = functional.array(spec.op, "input", x, (x,))
    if kernel.shape != spec.weight_shape:
        raise ValueError(
            f"kernel has shape {kernel.shape}, but this layer needs {spec.weight_shape}: {spec}"
        )
    if bias is not None and bias.shape != (spec.out_channels,):
        raise ValueError(
            f"bias has shape {bias.shape}, but this layer needs ({spec.out_channels},): {spec}"
        )
    arrays = [x, kernel] if bias is None else [x, kernel, bias]
    dtype = jnp.dtype(dtype) if dtype is not None else jnp.result_type(*arrays)
    x, kernel, *rest = (a.astype(dtype) for a in arrays)
    if output_size is not None:
        sizes = arguments.sizes(arguments.layer_name(spec.op), output_size)
        spec = spec.with_output_size(sizes, x.shape)
    spec = spec.with_input(x.shape, dtype.name)
    return functional.apply(spec, x, kernel, rest[0] if rest else None, **how)


_DOC = """{kind} over channels-last input, with the arguments of ``torch.nn.{name}``.

    Shape:
      input ``(*batch, {axes}, C_in)`` with any number of batch axes, also none;
      output ``(*batch, {out}, C_out)``;
      kernel ``{kernel}``, torch's weight transposed;
      bias ``(C_out,)``.

    Args:
{in_first}      out_channels: channels of the output, a multiple of `groups`.
      kernel_size: size of the kernel. Here and below an int holds for {all_axes}; a tuple has
        one int an axis.
      stride: {stride}. 1 by default.
{padding}      dilation: distance between two elements of the kernel. 1 by default.
      groups: number of groups; each output channel reads ``C_in / groups`` input channels. 1 by
        default; `in_channels` makes the convolution depthwise.
      bias: whether to add a bias. True by default.
      padding_mode: {modes}.
{in_last}      dtype: dtype to compute in. None by default: the common one of input and parameters.
      param_dtype: dtype of the parameters, float or complex. float32 by default.
      precision: as in ``jax.lax.conv_general_dilated``. None by default.
      preferred_element_type: dtype of the result, as in ``jax.lax.conv_general_dilated``. None by
        default.
      implementation: name of the implementation to use, see `jaxgroups.{op}`. None by
        default: jaxgroups chooses.
      kernel_init: Flax initializer of the kernel. None by default: torch's U(-b, b) with
        ``b = 1 / sqrt({fan})``.
      bias_init: Flax initializer of the bias. None by default: the same U(-b, b).
{extra}
    Raises:
      TypeError: at construction, an argument of the wrong type, or an unknown keyword{missing}.
      ValueError: at construction, whatever torch refuses, with torch's sentence; at the call, an
        input of the wrong rank or channel count or smaller than the kernel.
    """
_IN_FIRST = "      in_channels: channels of the input, a multiple of `groups`.\n"
_IN_LAST = (
    "      in_channels: channels of the input, a multiple of `groups`. None by default: taken\n"
    "        from the first input.\n"
)
_METADATA = (
    "      kernel_metadata: keyword arguments of the kernel's ``nnx.Param``, such as sharding.\n"
    "        None by default.\n"
    "      bias_metadata: the same for the bias.\n"
    "      rngs: ``nnx.Rngs``, whose ``params`` stream draws the kernel, then the bias. Required.\n"
)
_PADDING = """      padding: zeros added to both sides of the input; an int, a tuple, ``"same"`` or
        ``"valid"``. 0 by default.
"""
_PADDING_TRANSPOSED = """\
      padding: ``dilation * (kernel_size - 1) - padding`` zeros are added to both sides of the
        input; an int or a tuple. 0 by default.
      output_padding: size added to one side of the output, smaller than stride or dilation. 0 by
        default.
"""


def doc(op: str, framework: str) -> str:
    """Docstring of a layer class."""
    rank, transposed = arguments.op_rank(op)
    sizes = ("D", "H", "W")[-rank:] if rank > 1 else ("L",)
    nnx = framework == "nnx"
    return _DOC.format(
        kind=f"{rank}-D {'transposed ' if transposed else ''}convolution",
        name=arguments.layer_name(op),
        op=op,
        all_axes=("the axis", "both axes", "all 3 axes")[rank - 1],
        axes=", ".join(sizes),
        out=", ".join(f"{s}_out" for s in sizes),
        kernel="(*kernel_size, C_out / groups, C_in)"
        if transposed
        else "(*kernel_size, C_in / groups, C_out)",
        in_first=_IN_FIRST if nnx else "",
        in_last="" if nnx else _IN_LAST,
        stride="distance between two inputs in the output"
        if transposed
        else "distance between two windows",
        padding=_PADDING_TRANSPOSED if transposed else _PADDING,
        modes='``"zeros"``, the only one that torch has'
        if transposed
        else '``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``; zeros by default',
        fan=f"{'C_out' if transposed else 'C_in'} / groups * kernel elements",
        extra=_METADATA if nnx else "",
        missing=", or no `rngs`" if nnx else "",
    )
