"""The time of a convolution on this machine, and the shortest time that the machine allows it.

The limits are measured by XLA's own operations: the operations a second of a product of large
matrices, and the bytes a second of a pass that reads and writes an array that no cache holds.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgroups._op import primitive
from jaxgroups._problem.problem import problem_of
from jaxgroups._spec.spec import ConvSpec

_WARM, _LONG, _FEWEST = 0.02, 0.1, 3  # seconds before and while calls are timed; calls at least
_SIDE, _NUMBERS = 1024, 1 << 25  # of the matrices; of the array
_DTYPES = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class Limits:
    """What the default device does in a second: floating-point operations, and bytes."""

    flops: float
    bytes: float


@dataclass(frozen=True)
class Measured:
    """Seconds of a call, and the fewest that the limits allow; None where these are unknown."""

    seconds: float
    limit_seconds: float | None


def check_platform(platform: str | None) -> None:
    """Refuse to measure on another platform than that of the default device.

    Raises:
      ValueError: `platform` is another one.
    """
    here = jax.default_backend()
    if platform not in (None, here):
        raise ValueError(
            f"measure=True runs the convolutions on {here}, JAX's default backend, but got "
            f"platform={platform!r}"
        )


@cache
def limits(dtype: str) -> Limits:
    """The limits of the default device; they are measured once."""
    product = jax.jit(jnp.matmul)
    added = jax.jit(lambda x: x + 1, donate_argnums=0)  # in place: no new memory

    def add() -> jax.Array:
        held[0] = added(held[0])
        return held[0]

    with jax.enable_x64(True):  # every dtype is given
        side = jnp.full((_SIDE, _SIDE), 1 / _SIDE, dtype)
        held = [jnp.zeros(_NUMBERS, dtype)]
        size = 2 * held[0].nbytes
        flops = 2 * _SIDE**3 / min(_times(lambda: product(side, side)))
        return Limits(flops, size / min(_times(add)))


def measured(spec: ConvSpec, implementation: str | None, flops: int, moved: int) -> Measured:
    """The median time of the convolution alone, compiled, of random numbers.

    Args:
      spec: with its input size.
      implementation: as in `conv2d`.
      flops: floating-point operations, which bound the time from below.
      moved: bytes of all arrays, which do too.
    """
    problem = problem_of(spec)
    rng = np.random.default_rng(0)
    shapes = (problem.lhs_shape, problem.rhs_shape)

    def run(lhs: jax.Array, rhs: jax.Array) -> jax.Array:
        return primitive.compute(problem, lhs, rhs, implementation)

    with jax.enable_x64(True):
        operands = [jnp.asarray(rng.standard_normal(shape), problem.dtype) for shape in shapes]
        compiled = jax.jit(run).lower(*operands).compile()
        seconds = median(_times(lambda: compiled(*operands)))
    if spec.dtype not in _DTYPES:
        return Measured(seconds, None)
    of = limits(spec.dtype)
    return Measured(seconds, max(flops / of.flops, moved / of.bytes))


def share(seconds: float | None, limit_seconds: float | None) -> str:
    """How much of the limit was reached, as text: ``62%``; nothing if that is unknown."""
    if seconds is None or limit_seconds is None:
        return ""
    return f"{100 * limit_seconds / seconds:.0f}%"


def _times(call: Callable[[], Any]) -> list[float]:
    """Seconds of each of several calls."""
    start = time.perf_counter()
    while time.perf_counter() - start < _WARM:
        jax.block_until_ready(call())
    found: list[float] = []
    begin = time.perf_counter()
    while len(found) < _FEWEST or time.perf_counter() - begin < _LONG:
        start = time.perf_counter()
        jax.block_until_ready(call())
        found.append(time.perf_counter() - start)
    return found
