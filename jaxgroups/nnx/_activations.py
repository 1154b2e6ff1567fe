"""Activations that are missing in ``jax.nn`` or have another derivative there, as in torch."""

from typing import Any

import jax

from jaxgroups._functional import activations as functional
from jaxgroups.nnx._base import FeatureLayer


class LeakyReLU(FeatureLayer):
    """``x`` where it is positive, else ``negative_slope * x``, as ``torch.nn.LeakyReLU``.

    At 0 the derivative is the slope, as in torch; that of ``jax.nn.leaky_relu`` is 1.

    Shape: input and output have any shape.

    Args:
      negative_slope: the slope for ``x <= 0``.

    Raises:
      TypeError: at the call, an input that does not hold floating-point numbers.
    """

    shown = ("negative_slope",)

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def __call__(self, x: Any) -> jax.Array:
        """An array of the shape and dtype of `x`."""
        return functional.leaky_relu(x, self.negative_slope)


class Hardtanh(FeatureLayer):
    """``x`` within two bounds, as ``torch.nn.Hardtanh``.

    At the bounds the derivative is 0, as in torch; that of ``jax.nn.hard_tanh`` is 1.

    Shape: input and output have any shape.

    Args:
      min_val: the lower bound.
      max_val: the upper bound.

    Raises:
      ValueError: `max_val` is not greater than `min_val`.
      TypeError: at the call, an input that does not hold real numbers.
    """

    shown = ("min_val", "max_val")

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        if not max_val > min_val:
            raise ValueError(f"max_val ({max_val}) must be greater than min_val ({min_val})")
        self.min_val = min_val
        self.max_val = max_val

    def __call__(self, x: Any) -> jax.Array:
        """An array of the shape and dtype of `x`."""
        return functional.hardtanh(x, self.min_val, self.max_val)


class Softplus(FeatureLayer):
    """``log(1 + exp(beta * x)) / beta``, as ``torch.nn.Softplus``.

    Where ``beta * x`` is above `threshold`, it is ``x``.

    Shape: input and output have any shape.

    Args:
      beta: the factor in the formula.
      threshold: the value of ``beta * x`` above which the function is linear.

    Raises:
      TypeError: at the call, an input that does not hold floating-point numbers.
    """

    shown = ("beta", "threshold")

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta = beta
        self.threshold = threshold

    def __call__(self, x: Any) -> jax.Array:
        """An array of the shape and dtype of `x`."""
        return functional.softplus(x, self.beta, self.threshold)


class Hardshrink(FeatureLayer):
    """``x`` where ``|x| > lambd``, else 0, as ``torch.nn.Hardshrink``.

    Shape: input and output have any shape.

    Args:
      lambd: the bound.

    Raises:
      TypeError: at the call, an input that does not hold floating-point numbers.
    """

    shown = ("lambd",)

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = lambd

    def __call__(self, x: Any) -> jax.Array:
        """An array of the shape and dtype of `x`."""
        return functional.hardshrink(x, self.lambd)


class Softshrink(FeatureLayer):
    """``sign(x) * max(|x| - lambd, 0)``, as ``torch.nn.Softshrink``.

    Shape: input and output have any shape.

    Args:
      lambd: the summand in the formula.

    Raises:
      ValueError: at the call, a negative `lambd`.
      TypeError: at the call, an input that does not hold floating-point numbers.
    """

    shown = ("lambd",)

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = lambd

    def __call__(self, x: Any) -> jax.Array:
        """An array of the shape and dtype of `x`."""
        return functional.softshrink(x, self.lambd)


class Threshold(FeatureLayer):
    """``x`` where it is above `threshold`, else `value`, as ``torch.nn.Threshold``.

    Shape: input and output have any shape.

    Args:
      threshold: the bound.
      value: the value for ``x <= threshold``.

    Raises:
      TypeError: at the call, an input that does not hold real numbers.
    """

    shown = ("threshold", "value")

    def __init__(self, threshold: float, value: float) -> None:
        self.threshold = threshold
        self.value = value

    def __call__(self, x: Any) -> jax.Array:
        """An array of the shape and dtype of `x`."""
        return functional.threshold(x, self.threshold, self.value)
