"""Resampling along one axis: every output is a weighted sum of a few inputs, its taps.

The taps are known while tracing, so the program reads them at constant indices. The derivative is a
resampling too: an input gathers from the outputs that read it. JAX would transpose a gather into a
scatter, which XLA's CPU compiler runs one element at a time.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core
from jax.interpreters import ad, batching, mlir

from jaxgroups._functional.feature_map import along

_UNROLLED = 8  # up to as many taps are unrolled; more are summed by a loop


@dataclass(frozen=True, eq=False)
class Taps:
    """What each output of an axis reads.

    Attributes:
      size: number of inputs.
      index: the inputs that each output reads, ``(taps, outputs)``.
      weight: their weights, ``(taps, outputs)``; None where all are 1.
      empty: the outputs that read nothing and are 0; None where there are none.
    """

    size: int
    index: np.ndarray
    weight: np.ndarray | None
    empty: np.ndarray | None = None

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        return self.index.shape[1]

    @cached_property
    def _content(self) -> tuple[Any, ...]:
        parts = (self.index, self.weight, self.empty)
        return self.size, self.index.shape, *(None if p is None else p.tobytes() for p in parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Taps) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)

    @cached_property
    def transposed(self) -> "Taps":
        """The taps of the transpose: which output gradients the gradient of an input reads."""
        weight = np.ones(self.index.shape) if self.weight is None else self.weight
        readers: list[dict[int, float]] = [{} for _ in range(self.size)]
        for output in range(self.outputs):
            if self.empty is not None and self.empty[output]:
                continue
            for tap in range(self.index.shape[0]):
                weights = readers[self.index[tap, output]]
                weights[output] = weights.get(output, 0.0) + float(weight[tap, output])
        pairs = [[(o, w) for o, w in weights.items() if w] for weights in readers]
        result = of_pairs(self.outputs, pairs)
        result.__dict__["transposed"] = self
        return result


def of_pairs(size: int, pairs: list[list[tuple[int, float]]]) -> Taps:
    """The taps of lists of (input, weight), one for each output, of any lengths.

    An output with fewer taps than others repeats its last one with halved weights. So it reads no
    input that it does not depend on, and the sum is exact.
    """
    taps = max(map(len, pairs), default=1) or 1
    index = np.zeros((taps, len(pairs)), np.int32)
    weight = np.zeros((taps, len(pairs)))
    for output, own in enumerate(pairs):
        if not own:
            continue
        last, rest = own[-1]
        for tap in range(taps):
            if tap < len(own) - 1:
                index[tap, output], weight[tap, output] = own[tap]
            else:
                index[tap, output] = last
                weight[tap, output] = rest = rest / 2 if tap < taps - 1 else rest
    empty = np.asarray([not own for own in pairs], bool)
    ones = bool((weight == 1).all())
    return Taps(size, index, None if ones else weight, empty if empty.any() else None)


def resample(array: jax.Array, axis: int, taps: Taps) -> jax.Array:
    """The array with one axis resampled. It is linear in `array`."""
    return resample_p.bind(array, axis=axis, taps=taps)


def _read(array: jax.Array, axis: int, index: Any) -> jax.Array:
    """The elements of an axis at some indices: a slice or a repetition where these are regular."""
    size, count = array.shape[axis], len(index)
    if isinstance(index, np.ndarray):
        stride = int(index[1] - index[0]) if count > 1 else 1
        if stride > 0 and (index == index[0] + stride * np.arange(count)).all():
            return lax.slice_in_dim(array, int(index[0]), int(index[-1]) + 1, stride, axis)
        if count % size == 0 and (index == np.arange(count) // (count // size)).all():
            return jnp.repeat(array, count // size, axis)
    where = (slice(None),) * axis + (index,)
    return array.at[where].get(mode="promise_in_bounds")


def _evaluated(array: jax.Array, *, axis: int, taps: Taps) -> jax.Array:
    if 0 in (taps.size, taps.outputs):
        shape = (*array.shape[:axis], taps.outputs, *array.shape[axis + 1 :])
        return jnp.zeros(shape, array.dtype)
    total = _sum(array, axis, taps)
    if taps.empty is not None:
        empty = np.broadcast_to(along(taps.empty, total.ndim, (axis,)), total.shape)
        total = jnp.where(empty, jnp.zeros((), total.dtype), total)
    return total


def _sum(array: jax.Array, axis: int, taps: Taps) -> jax.Array:
    count, outputs = taps.index.shape
    weight = None if taps.weight is None else taps.weight.astype(array.dtype)
    if count <= _UNROLLED:
        return _unrolled(array, axis, taps.index, weight)
    bins = np.arange(taps.size).reshape(outputs, -1).T if count * outputs == taps.size else None
    if bins is not None and (taps.index == bins).all() and (weight is None or np.ptp(weight) == 0):
        shape = (*array.shape[:axis], outputs, count, *array.shape[axis + 1 :])
        total = jnp.sum(array.reshape(shape), axis + 1)
        return total if weight is None else total * weight[0, 0]
    return _looped(array, axis, taps.index, weight)


def _unrolled(array: jax.Array, axis: int, index: Any, weight: Any) -> jax.Array:
    total = jnp.zeros((), array.dtype)
    for tap in range(index.shape[0]):
        term = _read(array, axis, index[tap])
        if weight is not None:
            term = term * along(weight[tap], array.ndim, (axis,))
        total = total + term if tap else term
    return total


def _looped(array: jax.Array, axis: int, index: Any, weight: Any) -> jax.Array:
    """The sum over many taps, a few in each iteration of a loop.

    XLA fuses nothing into a loop, so the sum along another axis is not recomputed for each tap.
    """
    first = index.shape[0] % _UNROLLED or _UNROLLED
    start = _unrolled(array, axis, index[:first], None if weight is None else weight[:first])
    steps = [
        None if table is None else jnp.asarray(table[first:].reshape(-1, _UNROLLED, table.shape[1]))
        for table in (index, weight)
    ]

    def step(total: jax.Array, tables: Any) -> tuple[jax.Array, None]:
        return total + _unrolled(array, axis, *tables), None

    return lax.scan(step, start, steps)[0]


resample_p = core.Primitive("resample")
resample_p.def_impl(jax.jit(_evaluated, static_argnames=("axis", "taps")))


@resample_p.def_abstract_eval
def _(array: Any, *, axis: int, taps: Taps) -> Any:
    shape = (*array.shape[:axis], taps.outputs, *array.shape[axis + 1 :])
    return array.update(shape=shape, weak_type=False)


def _transpose(cotangent: Any, array: Any, *, axis: int, taps: Taps) -> list[Any]:
    return [resample(cotangent, axis, taps.transposed)]


def _batched(arrays: Any, dims: Any, *, axis: int, taps: Taps) -> tuple[jax.Array, int]:
    (array,), (dim,) = arrays, dims
    return resample(array, axis + (dim <= axis), taps), dim


ad.deflinear2(resample_p, _transpose)
batching.primitive_batchers[resample_p] = _batched
mlir.register_lowering(resample_p, mlir.lower_fun(_evaluated, multiple_results=False))
