"""Inputs in torch's layout: random, structured and extreme ones, and other sizes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jaxgroups._types import Shape

Arrays = list[np.ndarray]


@dataclass(frozen=True)
class Spec:
    """One argument of the modules.

    Random integers are drawn from 0 to the maximum of the given array; booleans are not changed.

    Attributes:
      shape: its shape in torch's layout.
      given: the array that the user gave; None for a shape.
    """

    shape: Shape
    given: np.ndarray | None = None

    @property
    def floating(self) -> bool:
        return self.given is None or np.issubdtype(self.given.dtype, np.floating)


def specs_of(example: Any) -> list[Spec]:
    """The arguments that an example describes: a shape, an array, or a tuple of them.

    Raises:
      TypeError: something else.
    """
    if isinstance(example, Sequence) and example and not isinstance(example, str):
        if all(isinstance(n, int | np.integer) and n >= 0 for n in example):
            return [Spec(tuple(map(int, example)))]
        return [spec for one in example for spec in specs_of(one)]
    if hasattr(example, "shape") and hasattr(example, "dtype"):
        array = np.asarray(example)
        if array.dtype.kind in "fiub":
            kind = {"f": "float64", "i": "int64", "u": "int64", "b": "bool"}[array.dtype.kind]
            return [Spec(array.shape, array.astype(kind))]
    raise TypeError(
        "example must be a shape such as (1, 3, 224, 224), an array in torch's layout, or a tuple "
        f"of them, got {example!r:.80}"
    )


def random(specs: list[Spec], seed: int) -> Arrays:
    """One random input."""
    rng = np.random.default_rng(seed)
    return [_drawn(spec, rng) for spec in specs]


def inputs(specs: list[Spec]) -> dict[str, Arrays]:
    """All inputs of the example's size, by kind."""
    result = {"random": random(specs, 0)}
    if any(spec.given is not None for spec in specs):
        result["example"] = [
            array if spec.given is None else spec.given
            for spec, array in zip(specs, result["random"], strict=True)
        ]
    if any(spec.floating for spec in specs):
        for name, make in _KINDS.items():
            result[name] = [
                make(array) if spec.floating else array
                for spec, array in zip(specs, random(specs, 1), strict=True)
            ]
    return result


def other_batch(specs: list[Spec], size: int) -> list[Spec]:
    """The arguments for another batch size; those without the batch axis are not changed."""
    first = specs[0].shape[:1]
    return [replace(s, shape=(size, *s.shape[1:])) if s.shape[:1] == first else s for s in specs]


def other_sizes(specs: list[Spec]) -> list[list[Spec]]:
    """Alternatives for other spatial sizes, of which torch needs to accept one.

    The first sizes are odd where the example's are even, which shows padding that depends on the
    size. The second ones suit networks that halve the size several times.
    """
    if not any(spec.floating and len(spec.shape) >= 3 for spec in specs):
        return []
    more = (lambda n, axis: n + 1 + axis, lambda n, axis: n * (2 - axis % 2))
    return [[_resized(spec, change) for spec in specs] for change in more]


def _resized(spec: Spec, change: Any) -> Spec:
    if not spec.floating or len(spec.shape) < 3:
        return spec
    spatial = (change(n, axis) for axis, n in enumerate(spec.shape[2:]))
    return replace(spec, shape=(*spec.shape[:2], *spatial))


def _drawn(spec: Spec, rng: np.random.Generator) -> np.ndarray:
    if spec.floating:
        return rng.standard_normal(spec.shape)
    given = np.asarray(spec.given)
    if given.dtype.kind == "b":
        return np.resize(given, spec.shape)
    high = int(given.max(initial=0)) + 1
    return rng.integers(0, high, spec.shape).astype("int64")


def _ramps(x: np.ndarray) -> np.ndarray:
    """A ramp with another slope along each axis, so that no two axes or directions are alike."""
    out = np.zeros(x.shape)
    for axis, n in enumerate(x.shape):
        line = np.linspace(-1.0, 1.0 + axis / 3, n) if n > 1 else np.zeros(1)
        out += line.reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    return out


def _one_hot(x: np.ndarray) -> np.ndarray:
    """A one beside a corner, so that windows with it meet the padding of one side only."""
    out = np.zeros(x.shape)
    if out.size:
        out[tuple(min(1, n - 1) for n in x.shape)] = 1.0
    return out


_KINDS = {
    "ramps": _ramps,
    "constant": np.ones_like,
    "one-hot": _one_hot,
    "zeros": np.zeros_like,
    "large": lambda x: x * 1e4,
    "tiny": lambda x: x * 1e-12,
}
