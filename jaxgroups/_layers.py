"""What the nnx and the linen layers share: spec, initialisation, call, text. No Flax in here.

A layer is a `ConvSpec` in channels_last without an input, and two parameters, ``kernel`` and
``bias``. The kernel is the pure permutation (2.., 1, 0) of torch's weight for every layer kind, so
a weight moves between torch and Flax by one transpose, whatever the groups.
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
    """The padding as a layer keeps it for show: torch's form, one value an axis or the string.

    Numbers come from the spec: `padding` may be an iterator, which the spec has read already.
    """
    return padding if isinstance(padding, str) else tuple(low for low, _ in spec.padding)


def layer_spec(op: str, in_channels: int, out_channels: int, kernel_size: IntOrInts, **kw: Any):
    """The spec of a Flax layer; raises every argument error of the constructor."""
    return ConvSpec.of(
        op, in_channels, out_channels, kernel_size, data_format="channels_last", **kw
    )


def check_settings(dtype: Any, implementation: str | None) -> None:
    """Parameters have gradients, so they are real or complex floats; lowerings have names."""
    dispatch.check_name(implementation)
    if not jnp.issubdtype(dtype, jnp.inexact):
        raise ValueError(
            "Only Tensors of floating point and complex dtype can require gradients: "
            f"got param_dtype={jnp.dtype(dtype).name}"
        )


def channels(spec: ConvSpec, shape: tuple[int, ...]) -> int:
    """How many channels an input has, where the layer is to learn it from its first one."""
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
    """A layer's forward: cast to one dtype as Flax layers do, fill the input in, compute."""
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


def text(spec: ConvSpec, padding: tuple[int, ...] | str, in_channels: int | None) -> str:
    """The layer as torch prints it."""
    parts = [
        str(in_channels),
        str(spec.out_channels),
        f"kernel_size={spec.kernel_size}",
        f"stride={spec.stride}",
    ]
    zeros, ones = (0,) * spec.rank, (1,) * spec.rank
    if padding != zeros:
        parts.append(f"padding={padding}")
    if spec.dilation != ones:
        parts.append(f"dilation={spec.dilation}")
    if spec.output_padding != zeros:
        parts.append(f"output_padding={spec.output_padding}")
    if spec.groups != 1:
        parts.append(f"groups={spec.groups}")
    if not spec.bias:
        parts.append("bias=False")
    if spec.padding_mode != "zeros":
        parts.append(f"padding_mode={spec.padding_mode}")
    return f"{arguments.layer_name(spec.op)}({', '.join(parts)})"


_DOC = """{kind} over channels-last input: ``torch.nn.{name}``'s arguments and meaning.

    Shape:
      input ``(*batch, {axes}, C_in)``, any number of batch axes, also none; output
      ``(*batch, {out}, C_out)``. ``kernel`` is ``{kernel}``, torch's weight
      transposed; ``bias`` is ``(C_out,)``.

    Args:
      {first}out_channels, kernel_size, stride, padding, {order}:
        as in torch, an int fills all {rank} spatial axes.
      dtype: dtype to compute in; by default the common one of input and parameters.
      param_dtype: dtype of the parameters.
      precision, preferred_element_type, implementation: as in `jaxgroups.{op}`.
      kernel_init, bias_init: Flax initialisers; by default torch's U(-b, b) with
        ``b = 1 / sqrt({fan})``.
{extra}
    Raises:
      ValueError, TypeError: at construction, whatever torch refuses, with torch's sentence; at
        the call, an input of the wrong rank or channel count or smaller than the kernel.
    """
_EXTRA = {
    "nnx": "      kernel_metadata, bias_metadata: metadata of the parameters, e.g. sharding.\n"
    "      rngs: the ``params`` stream draws the kernel, then the bias.\n",
    "linen": "      in_channels: checked at construction where given, else taken from the input.\n",
}


def doc(op: str, framework: str) -> str:
    """Docstring of a layer class."""
    rank, transposed = arguments.op_rank(op)
    sizes = ("D", "H", "W")[-rank:] if rank > 1 else ("L",)
    return _DOC.format(
        kind=f"{rank}-D {'transposed ' if transposed else ''}convolution with groups",
        name=arguments.layer_name(op),
        op=op,
        rank=rank,
        axes=", ".join(sizes),
        out=", ".join(f"{s}_out" for s in sizes),
        kernel="(*kernel_size, C_out / groups, C_in)"
        if transposed
        else "(*kernel_size, C_in / groups, C_out)",
        first="in_channels, " if framework == "nnx" else "",
        order="output_padding, groups, bias, dilation, padding_mode"
        if transposed
        else "dilation, groups, bias, padding_mode",
        fan=f"{'C_out' if transposed else 'C_in'} / groups * kernel elements",
        extra=_EXTRA[framework],
    )
