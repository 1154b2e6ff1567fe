"""Bilinear with torch's name, arguments and parameters."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from jaxgroups import _layers as layers
from jaxgroups._functional.bilinear import bilinear
from jaxgroups.nnx import _parameters as parameters
from jaxgroups.nnx._base import FeatureLayer


class Bilinear(FeatureLayer):
    """``x1^T A x2 + b`` for every output, with the arguments of ``torch.nn.Bilinear``.

    Shape: inputs ``(*, in1_features)`` and ``(*, in2_features)``; output ``(*, out_features)``.

    Args:
      in1_features: the number of features of the first input.
      in2_features: the number of features of the second input.
      out_features: the number of features of the output.
      bias: whether there is a `bias`.
      dtype: the dtype to compute in. None by default: the common one of inputs and parameters.
      param_dtype: the dtype of the parameters.
      rngs: ``nnx.Rngs``, whose ``params`` stream draws the parameters, U(-b, b) with
        ``b = 1 / sqrt(in1_features)`` as in torch. Required.

    Attributes:
      weight: the ``nnx.Param`` of torch's shape ``(out_features, in1_features, in2_features)``.
      bias: the ``nnx.Param`` ``(out_features,)``, or None.

    Raises:
      ValueError: no features in the first input; at the call, shapes that torch refuses.
      TypeError: at construction, an unknown keyword, or no `rngs`; at the call, inputs that do not
        hold floating-point numbers.
    """

    shown = ("in1_features", "in2_features", "out_features")

    @parameters.checked
    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        parameters.check_rngs("Bilinear", rngs)
        if in1_features <= 0:
            raise ValueError(f"in1_features must be > 0, but got (in1_features={in1_features})")
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        self.dtype = dtype
        uniform = layers.torch_uniform(in1_features)
        shape = (out_features, in1_features, in2_features)
        self.weight = nnx.Param(uniform(rngs.params(), shape, param_dtype))
        self.bias: nnx.Param | None = nnx.data(None)
        if bias:
            self.bias = nnx.Param(uniform(rngs.params(), (out_features,), param_dtype))

    def __call__(self, input1: Any, input2: Any) -> jax.Array:
        """``(*, in1_features), (*, in2_features)`` -> ``(*, out_features)``."""
        x, y, weight = jnp.asarray(input1), jnp.asarray(input2), self.weight[...]
        dtype = jnp.result_type(x, y, weight) if self.dtype is None else jnp.dtype(self.dtype)
        bias = parameters.value(self.bias)
        bias = None if bias is None else bias.astype(dtype)
        return bilinear(x.astype(dtype), y.astype(dtype), weight.astype(dtype), bias)
