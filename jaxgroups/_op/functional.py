"""conv1d ... conv_transpose3d: the only place where arrays meet a spec.

arguments -> `_call.spec_of_call` (all errors) -> `apply` (pad, regroup, `_primitive.compute`,
bias).
The six functions are one: ranks differ by a number, transposed ones by the arguments they take.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from jaxgroups._lowerings import dispatch
from jaxgroups._op import primitive
from jaxgroups._problem.problem import accumulation_dtype, problem_of
from jaxgroups._spec import arguments, checks
from jaxgroups._spec.from_call import spec_of_call
from jaxgroups._spec.spec import ConvSpec
from jaxgroups._types import IntOrInts

F = TypeVar("F")
_PAD_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}  # torch -> numpy


def apply(
    spec: ConvSpec,
    x: jax.Array,
    weight: jax.Array,
    bias: jax.Array | None,
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
    implementation: str | None = None,
) -> jax.Array:
    """The convolution of a spec whose input is known; arrays must have the spec's shapes.

    Concrete arrays go through a function that is compiled once for a spec. Traced ones are bound
    in the caller's trace.
    """
    dtype = None if preferred_element_type is None else jnp.dtype(preferred_element_type).name
    precision = tuple(precision) if isinstance(precision, list) else precision
    call = _prepared(spec, precision, dtype, implementation)
    traced = isinstance(x, Tracer) or isinstance(weight, Tracer) or isinstance(bias, Tracer)
    return call.traced(x, weight, bias) if traced else call.compiled(x, weight, bias)


class _Prepared:
    """What does not depend on the arrays of a call, computed once."""

    def __init__(
        self, spec: ConvSpec, precision: Any, dtype: str | None, implementation: str | None
    ) -> None:
        wide = accumulation_dtype(spec.dtype)
        preferred = dtype or (None if wide == spec.dtype else wide)
        self.spec = spec
        self.problem = problem_of(spec, precision, preferred)
        self.implementation = implementation
        self.kernel = TransposedKernel(spec) if spec.transposed else None
        self.result = preferred or spec.dtype  # dtype of the primitive's result
        self.narrows = dtype is None and preferred is not None  # to the dtype of the input
        self.compiled = jax.jit(self.traced, inline=True)
        if implementation is not None:
            dispatch.choose(self.problem, implementation)

    def traced(self, x: jax.Array, weight: jax.Array, bias: jax.Array | None) -> jax.Array:
        spec, batch = self.spec, self.spec.batch or ()
        if len(batch) != 1:
            x = x.reshape(self.problem.lhs_shape[0], *x.shape[len(batch) :])
        if spec.padding_mode != "zeros":
            pads = list(spec.padding)
            pads.insert(spec.rank if spec.channel_axis == -1 else 0, (0, 0))
            x = jnp.pad(x, [(0, 0), *pads], mode=_PAD_MODES[spec.padding_mode])
        if bias is not None and bias.dtype != self.result:
            bias = bias.astype(self.result)
        y = primitive.compute(self.problem, x, weight, self.implementation, self.kernel, bias)
        if self.narrows:
            y = y.astype(spec.dtype)
        return y if len(batch) == 1 else y.reshape(*batch, *y.shape[1:])


_prepared = lru_cache(maxsize=4096)(_Prepared)


@dataclass(frozen=True)
class TransposedKernel:
    """The kernel of the plain convolution that a transposed one is (see `_problem`).

    channels_first ``(in, out/g, *k) -> (out, in/g, *k)``, channels_last
    ``(*k, out/g, in) -> (*k, in/g, out)``; flipped in space. Of moves alone, in `_moves`' sense.
    """

    spec: ConvSpec

    def __call__(self, weight: jax.Array) -> jax.Array:
        g, space = self.spec.groups, range(2, weight.ndim)
        last = self.spec.channel_axis == -1
        if last:
            weight = lax.transpose(weight, (weight.ndim - 1, weight.ndim - 2, *range(len(space))))
        ci, co, *k = weight.shape
        weight = lax.reshape(lax.rev(weight, space), (g, ci // g, co, *k))
        weight = lax.transpose(weight, (0, 2, 1, *(axis + 1 for axis in space)))
        weight = lax.reshape(weight, (g * co, ci // g, *k))
        return lax.transpose(weight, (*space, 1, 0)) if last else weight


def array(op: str, name: str, value: Any, given: tuple[Any, ...]) -> jax.Array:
    if isinstance(value, (jax.Array, np.ndarray)) or hasattr(value, "__jax_array__"):
        return jnp.asarray(value)
    kinds = ", ".join(type(v).__name__ for v in given)
    raise TypeError(
        f"{op}() received an invalid combination of arguments - got ({kinds}): "
        f"{name} must be a jax or numpy array (of a torch tensor, take .numpy())"
    )


def _shaped(array: jax.Array) -> tuple[tuple[int, ...], str]:
    return array.shape, array.dtype.name


def _call(
    op: str,
    x: Any,
    weight: Any,
    bias: Any,
    stride: IntOrInts,
    padding: IntOrInts | str,
    dilation: IntOrInts,
    groups: int,
    padding_mode: str = "zeros",
    output_padding: IntOrInts = 0,
    output_size: Iterable[int] | None = None,
    data_format: str = "channels_first",
    **how: Any,
) -> jax.Array:
    given = (x, weight) if bias is None else (x, weight, bias)
    x, weight = array(op, "input", x, given), array(op, "weight", weight, given)
    bias = None if bias is None else array(op, "bias", bias, given)
    checks.data_format(data_format)
    checks.padding_mode(padding_mode)
    spec = spec_of_call(
        op,
        _shaped(x),
        _shaped(weight),
        None if bias is None else _shaped(bias),
        arguments.integers(op, "stride", stride),
        arguments.padding(op, padding, transposed="transpose" in op),
        arguments.integers(op, "output_padding", output_padding),
        arguments.integers(op, "dilation", dilation),
        arguments.integer(op, "groups", groups),
        padding_mode,
        data_format,
        None if output_size is None else arguments.sizes(op, output_size),
    )
    return apply(spec, x, weight, bias, **how)


_SHAPES = """
    Shape:
      channels_first: input ``(N, C_in, *spatial)`` or ``(C_in, *spatial)``,
        weight ``{first}``; output ``(N, C_out, *spatial)``.
      channels_last: input ``(*batch, *spatial, C_in)`` with any number of batch axes,
        weight ``{last}``; output ``(*batch, *spatial, C_out)``.
      bias: ``(C_out,)``. Each of the {rank} spatial sizes becomes
        ``{size}``
      with L the input size, k kernel_size, s stride, p padding, d dilation."""

_COMMON = """
      data_format: ``"channels_first"`` or ``"channels_last"``.
      precision: as in ``lax.conv_general_dilated``.
      preferred_element_type: dtype to accumulate in and to return. By default the result has the
        dtype of the input; float16 and bfloat16 are accumulated in float32.
      implementation: a lowering by name instead of the best one, see `jaxgroups.explain`.

    Raises:
      ValueError: shapes, dtypes or numbers that torch refuses, with torch's sentence.
      TypeError: an argument of the wrong type, or a dtype that torch does not convolve.
"""

_CONV_DOC = (
    """{rank}-D convolution with groups: ``torch.nn.functional.conv{rank}d``.

    The channels are split into `groups` blocks; each filter reads the ``C_in / groups`` channels
    of its block. Cross-correlation, like torch's: the kernel is not flipped.
"""
    + _SHAPES.replace("{first}", "(C_out, C_in / groups, *kernel_size)")
    .replace("{last}", "(*kernel_size, C_in / groups, C_out)")
    .replace("{size}", "floor((L + 2 p - d (k - 1) - 1) / s) + 1")
    + """

    Args:
      padding: values around the input, an int or one an axis; ``"same"`` (stride 1 only, an odd
        element goes to the right) or ``"valid"``.
      padding_mode: what is padded: ``"zeros"``, ``"reflect"``, ``"replicate"``, ``"circular"``."""
    + _COMMON
)

_TRANSPOSE_DOC = (
    """{rank}-D transposed convolution with groups: ``torch.nn.functional.conv_transpose{rank}d``.

    The adjoint of `conv{rank}d` with the same weight, stride, padding, dilation and groups.
"""
    + _SHAPES.replace("{first}", "(C_in, C_out / groups, *kernel_size)")
    .replace("{last}", "(*kernel_size, C_out / groups, C_in)")
    .replace("{size}", "(L - 1) s - 2 p + d (k - 1) + output_padding + 1")
    + """

    Args:
      padding: padding of the convolution that this one transposes: it crops the output.
      output_padding: extra length at the high side, less than stride or dilation.
      output_size: the output's spatial sizes (or whole shape); replaces `output_padding`."""
    + _COMMON
)


def _conv(rank: int):
    def conv(
        x: Any,
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
    ) -> jax.Array:
        return _call(
            f"conv{rank}d",
            x,
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
        )

    return _named(conv, f"conv{rank}d", _CONV_DOC.replace("{rank}", str(rank)))


def _conv_transpose(rank: int):
    def conv_transpose(
        x: Any,
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
        return _call(
            f"conv_transpose{rank}d",
            x,
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

    doc = _TRANSPOSE_DOC.replace("{rank}", str(rank))
    return _named(conv_transpose, f"conv_transpose{rank}d", doc)


def _named(function: F, name: str, doc: str) -> F:
    for attribute, value in (("__name__", name), ("__qualname__", name), ("__doc__", doc)):
        setattr(function, attribute, value)
    return function


conv1d, conv2d, conv3d = map(_conv, (1, 2, 3))
conv_transpose1d, conv_transpose2d, conv_transpose3d = map(_conv_transpose, (1, 2, 3))
