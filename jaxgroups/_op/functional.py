"""From arguments to a result, for all six functions: the only place where arrays meet a spec.

`call` takes the arguments as they are given. `from_call.spec_of_call` raises every error and makes
the spec, and `apply` computes: it pads the input, and `primitive.compute` does the rest.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from jaxgroups._op import fused, primitive
from jaxgroups._op.pad import pad
from jaxgroups._problem.problem import accumulation_dtype, problem_of
from jaxgroups._spec import arguments, checks
from jaxgroups._spec.epilogue import Epilogue, check_dtype, check_residual, parsed
from jaxgroups._spec.from_call import Shaped, spec_of_call
from jaxgroups._spec.spec import ConvSpec
from jaxgroups._types import IntOrInts

NOTHING = Epilogue()


def apply(
    spec: ConvSpec,
    x: jax.Array,
    weight: jax.Array,
    bias: jax.Array | None,
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
    implementation: str | None = None,
    residual: jax.Array | None = None,
    epilogue: Epilogue = NOTHING,
) -> jax.Array:
    """The convolution of a spec whose input is known; arrays must have the spec's shapes.

    Concrete arrays go through a function that is compiled once for a spec. Traced ones are bound
    in the caller's trace.
    """
    dtype = None if preferred_element_type is None else jnp.dtype(preferred_element_type).name
    precision = tuple(precision) if isinstance(precision, list) else precision
    call = _prepared(spec, precision, dtype, implementation, epilogue)
    traced = any(isinstance(array, Tracer) for array in (x, weight, bias, residual))
    return (call.traced if traced else call.compiled)(x, weight, bias, residual)


class _Prepared:
    """What does not depend on the arrays of a call, computed once."""

    def __init__(
        self,
        spec: ConvSpec,
        precision: Any,
        dtype: str | None,
        implementation: str | None,
        epilogue: Epilogue,
    ) -> None:
        # The sums of 16-bit floats are kept in float32. What follows them reads them before they
        # are rounded; without an epilogue the primitive rounds, and its gradients stay in 16 bits.
        wide = accumulation_dtype(spec.dtype)
        self.narrows = dtype is None and bool(epilogue) and wide != spec.dtype
        preferred = wide if self.narrows else dtype
        self.spec = spec
        self.problem = problem_of(spec, precision, preferred)
        self.implementation = implementation
        self.epilogue = epilogue
        self.kernel = TransposedKernel(spec) if spec.transposed else None
        self.result = preferred or spec.dtype  # dtype of the primitive's result
        self.compiled = jax.jit(self.traced, inline=True)

    def traced(
        self,
        x: jax.Array,
        weight: jax.Array,
        bias: jax.Array | None,
        residual: jax.Array | None,
    ) -> jax.Array:
        spec, batch = self.spec, self.spec.batch or ()
        if len(batch) != 1:
            x = x.reshape(self.problem.lhs_shape[0], *x.shape[len(batch) :])
        if spec.padding_mode != "zeros":
            x = pad(x, spec.padding_mode, spec.padding, 1 if spec.channel_axis == -1 else 2)
        if bias is not None and bias.dtype != self.result:
            bias = bias.astype(self.result)
        y = self._convolved(x, weight, bias, residual)
        if self.narrows:
            y = y.astype(spec.dtype)
        return y if len(batch) == 1 else y.reshape(*batch, *y.shape[1:])

    def _convolved(self, x: Any, weight: Any, bias: Any, residual: Any) -> jax.Array:
        problem, how = self.problem, (self.implementation, self.kernel, bias)
        if not self.epilogue:
            return primitive.compute(problem, x, weight, *how)
        if residual is not None:
            shape = residual.shape[-self.spec.rank - 1 :]
            residual = residual.astype(self.result).reshape(problem.lhs_shape[0], *shape)
        return fused.compute(problem, x, weight, *how, residual, self.epilogue)


_prepared = lru_cache(maxsize=4096)(_Prepared)


@dataclass(frozen=True)
class TransposedKernel:
    """The kernel of the plain convolution that computes a transposed one (see `problem`).

    channels_first ``(in, out/g, *k) -> (out, in/g, *k)``, channels_last
    ``(*k, out/g, in) -> (*k, in/g, out)``, flipped in space. It consists of view ops only.
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
    """`value` as a JAX array; `given` are all arrays of the call, for the error."""
    if isinstance(value, jax.Array):
        return value
    if isinstance(value, np.ndarray) or hasattr(value, "__jax_array__"):
        return jnp.asarray(value)
    kinds = ", ".join(type(v).__name__ for v in given)
    raise TypeError(
        f"{op}() received an invalid combination of arguments - got ({kinds}): "
        f"{name} must be a jax or numpy array (of a torch tensor, take .numpy())"
    )


@lru_cache(maxsize=256)
def _dtype_name(dtype: np.dtype) -> str:
    return dtype.name


def _shaped(array: jax.Array) -> Shaped:
    return array.shape, _dtype_name(array.dtype)


def call(
    op: str,
    input: Any,
    weight: Any,
    bias: Any,
    stride: IntOrInts,
    padding: IntOrInts | str,
    dilation: IntOrInts,
    groups: int,
    *,
    padding_mode: str = "zeros",
    output_padding: IntOrInts = 0,
    output_size: Iterable[int] | None = None,
    data_format: str = "channels_first",
    precision: Any = None,
    preferred_element_type: Any = None,
    implementation: str | None = None,
    activation: Any = None,
    residual: Any = None,
) -> jax.Array:
    """The function `op` of its arguments as they are given."""
    given = (input, weight) if bias is None else (input, weight, bias)
    input, weight = array(op, "input", input, given), array(op, "weight", weight, given)
    bias = None if bias is None else array(op, "bias", bias, given)
    checks.data_format(data_format)
    checks.padding_mode(padding_mode)
    spec = spec_of_call(
        op,
        _shaped(input),
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
    epilogue = NOTHING
    if activation is not None:
        check_dtype(op, spec.dtype)
    if activation is not None or residual is not None:
        epilogue = parsed(op, activation, residual is not None)
    if residual is not None:
        residual = array(op, "residual", residual, (*given, residual))
        dtype = spec.dtype if preferred_element_type is None else preferred_element_type
        check_residual(op, *_shaped(residual), spec.output_shape, jnp.dtype(dtype).name)
    return apply(
        spec,
        input,
        weight,
        bias,
        precision=precision,
        preferred_element_type=preferred_element_type,
        implementation=implementation,
        residual=residual,
        epilogue=epilogue,
    )
