"""Activations that are missing in ``jax.nn`` or have another derivative there, as in torch.

At a bound the derivative is torch's: 0 for hardtanh, 1 for clamp, the slope for leaky_relu. The
result for NaN is NaN. softplus computes float16 and bfloat16 in float32.
"""

from functools import partial
from numbers import Integral, Real
from typing import Any

import jax
import jax.numpy as jnp

from jaxgroups._functional.dtypes import accumulator


def leaky_relu(input: Any, negative_slope: float = 0.01) -> jax.Array:
    """``x`` where it is positive, else ``negative_slope * x``: ``torch.nn.functional.leaky_relu``.

    At 0 the derivative is `negative_slope`; that of ``jax.nn.leaky_relu`` is 1.

    Args:
      input: any shape.
      negative_slope: the slope for ``x <= 0``.

    Returns:
      An array of the shape and dtype of the input.

    Raises:
      TypeError: an input that does not hold floating-point numbers.
    """
    x = _floating("leaky_relu", input)
    if isinstance(negative_slope, Real):  # it has no gradient; `optimize` knows this form
        return jnp.where(x > 0, x, float(negative_slope) * x)
    return with_slope(x, negative_slope)


def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0) -> jax.Array:
    """``x`` within two bounds: ``torch.nn.functional.hardtanh``.

    At the bounds the derivative is 0; that of ``jax.nn.hard_tanh`` is 1.

    Args:
      input: any shape.
      min_val: the lower bound.
      max_val: the upper bound.

    Returns:
      An array of the shape and dtype of the input.

    Raises:
      ValueError: `min_val` is greater than `max_val`.
      TypeError: an input that does not hold real numbers.
    """
    if min_val > max_val:
        raise ValueError(
            f"min_val cannot be greater than max_val: hardtanh() got min_val={min_val} and "
            f"max_val={max_val}"
        )
    x = _real("hardtanh", input)
    numbers = isinstance(min_val, Real) and isinstance(max_val, Real)
    if numbers and jnp.issubdtype(x.dtype, jnp.floating):
        return _bounded(x, float(min_val), float(max_val), False)
    low, high = (jnp.asarray(bound).astype(x.dtype) for bound in (min_val, max_val))
    return jnp.where(x <= low, low, jnp.where(x >= high, high, x))


def clamp(input: Any, min: Any = None, max: Any = None) -> jax.Array:
    """``x`` within two bounds, of which one may be missing: ``torch.clamp``.

    At the bounds the derivative is 1; that of ``jnp.clip`` is 1/2 there.

    Args:
      input: any shape.
      min: the lower bound, a number or an array that broadcasts against the input; None for none.
      max: the upper bound, likewise. It is the result where `min` is greater.

    Returns:
      An array of the shape of the operands; integers with a bound of floating point become floats.

    Raises:
      ValueError: neither bound is given.
      TypeError: an input that does not hold real numbers.
    """
    if min is None and max is None:
        raise ValueError("torch.clamp: At least one of 'min' or 'max' must not be None")
    x = _real("clamp", input)
    numbers = all(bound is None or isinstance(bound, Real) for bound in (min, max))
    if numbers and jnp.issubdtype(x.dtype, jnp.floating):
        return _bounded(x, None if min is None else float(min), None if max is None else float(max))
    for given, outside in ((min, jnp.less), (max, jnp.greater)):
        if given is None:
            continue
        bound = jnp.asarray(given)
        dtype = _common(x.dtype, given, bound.dtype)
        x, bound = x.astype(dtype), bound.astype(dtype)
        if bound.ndim:
            x, bound = jnp.broadcast_arrays(x, bound)
        x = jnp.where(outside(x, bound) | jnp.isnan(bound), bound, x)
    return x


@partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def _bounded(x: jax.Array, low: float | None, high: float | None, closed: bool = True) -> jax.Array:
    """``x`` within bounds; `closed`: whether the derivative is 1 at the bounds, and 0 for NaN."""
    return jnp.clip(x, low, high)


@_bounded.defjvp
def _(low: float | None, high: float | None, closed: bool, primals: Any, tangents: Any):
    (x,), (t,) = primals, tangents
    least, most = -jnp.inf if low is None else low, jnp.inf if high is None else high
    moves = (x >= least) & (x <= most) if closed else ~((x <= least) | (x >= most))
    return _bounded(x, low, high, closed), jnp.where(moves, t, 0)


def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> jax.Array:
    """``log(1 + exp(beta * x)) / beta``: ``torch.nn.functional.softplus``.

    Where ``beta * x`` is above `threshold`, it is ``x``. ``jax.nn.softplus`` uses the formula
    everywhere, so the two differ by up to 2e-9.

    Args:
      input: any shape.
      beta: the factor in the formula.
      threshold: the value of ``beta * x`` above which the function is linear.

    Returns:
      An array of the shape and dtype of the input.

    Raises:
      TypeError: an input that does not hold floating-point numbers.
    """
    x = _floating("softplus", input)
    scaled = x.astype(accumulator("softplus", x)) * beta
    linear = scaled > threshold
    curve = jax.nn.softplus(jnp.where(linear, 0, scaled)) / beta
    return jnp.where(linear, x, curve.astype(x.dtype))


def hardshrink(input: Any, lambd: float = 0.5) -> jax.Array:
    """``x`` where ``|x| > lambd``, else 0: ``torch.nn.functional.hardshrink``.

    Args:
      input: any shape.
      lambd: the bound.

    Returns:
      An array of the shape and dtype of the input.

    Raises:
      TypeError: an input that does not hold floating-point numbers.
    """
    x = _floating("hardshrink", input)
    return jnp.where((x >= -lambd) & (x <= lambd), 0, x)


def softshrink(input: Any, lambd: float = 0.5) -> jax.Array:
    """``sign(x) * max(|x| - lambd, 0)``: ``torch.nn.functional.softshrink``.

    Args:
      input: any shape.
      lambd: the summand in the formula.

    Returns:
      An array of the shape and dtype of the input.

    Raises:
      ValueError: a negative `lambd`.
      TypeError: an input that does not hold floating-point numbers.
    """
    x = _floating("softshrink", input)
    if not lambd >= 0:
        raise ValueError(
            f"lambda must be greater or equal to 0, but found to be {lambd}: softshrink()"
        )
    inside = jnp.where(jnp.isnan(x), x, 0)
    return jnp.where(x > lambd, x - lambd, jnp.where(x < -lambd, x + lambd, inside))


def threshold(input: Any, threshold: float, value: float) -> jax.Array:
    """``x`` where it is above `threshold`, else `value`: ``torch.nn.functional.threshold``.

    Args:
      input: any shape.
      threshold: the bound.
      value: the value for ``x <= threshold``.

    Returns:
      An array of the shape and dtype of the input.

    Raises:
      TypeError: an input that does not hold real numbers.
    """
    x = _real("threshold", input)
    return jnp.where(x <= threshold, jnp.asarray(value).astype(x.dtype), x)


def _common(dtype: Any, bound: Any, of_bound: Any) -> Any:
    """The dtype of an array and a bound, as torch has it; a number takes that of the array."""
    floating = jnp.issubdtype(dtype, jnp.floating)
    if isinstance(bound, Real):
        both = floating or isinstance(bound, Integral)
        return dtype if both else jnp.result_type(float)
    if floating != jnp.issubdtype(of_bound, jnp.floating):
        return dtype if floating else of_bound
    return max(dtype, of_bound, key=lambda d: jnp.dtype(d).itemsize)


def with_slope(x: jax.Array, slope: Any) -> jax.Array:
    """``x`` where it is positive, else ``slope * x``; the derivative at 0 is the slope."""
    # the branch that is not selected gets 0: an infinity times the gradient 0 would be NaN
    return jnp.where(x > 0, x, slope * jnp.where(x > 0, 0, x))


def _real(where: str, input: Any) -> jax.Array:
    x = jnp.asarray(input)
    if not (jnp.issubdtype(x.dtype, jnp.floating) or jnp.issubdtype(x.dtype, jnp.integer)):
        raise TypeError(f'"{where}" not implemented for {x.dtype.name}')
    return x


def _floating(where: str, input: Any) -> jax.Array:
    x = jnp.asarray(input)
    accumulator(where, x)
    return x
