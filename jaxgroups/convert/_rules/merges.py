"""The closed set of computations of one Flax parameter from several torch tensors, or from none.

    Sum()                 a + b               the two biases of a recurrent layer
    GRUSum()              a + b               of a GRU without the bias in its reset product
    FlaxOnly(value)       value               a parameter that torch's layer does not have
    WeightNorm()          g v / |v|           import only, as all below
    SpectralNorm(axis)    w / (u . w v)
    Mask()                w * mask            pruning
    Orthogonal(map)       base exp(a), ...

The result has the shape and dtype of the first tensor, and the operation of the plan's entry is
applied to it. Computations with a division are in float64, and rounded once.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite, prod
from typing import Any, ClassVar

import numpy as np

from jaxgroups._types import Shape

Arrays = Sequence[np.ndarray]


@dataclass(frozen=True)
class Merge:
    """One computation.

    Attributes:
      tensors: the number of torch tensors.
      import_only: whether the tensors cannot be computed back.
      noun: what the tensors are, for messages.
    """

    tensors: ClassVar[int] = 2
    import_only: ClassVar[bool] = True
    noun: ClassVar[str] = ""

    def problem(self, shapes: Sequence[Shape]) -> str:
        """Why tensors of these shapes cannot be merged; empty if they can."""
        raise NotImplementedError

    def merged(self, arrays: Arrays) -> np.ndarray:
        """The computed tensor.

        Raises:
          ValueError: values that the Flax layer cannot represent.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Sum(Merge):
    """The sum of two tensors that the layer adds anyway; saving writes the sum and zeros."""

    import_only: ClassVar[bool] = False
    noun: ClassVar[str] = "sum"

    def problem(self, shapes: Sequence[Shape]) -> str:
        return _same(shapes)

    def merged(self, arrays: Arrays) -> np.ndarray:
        one, other = arrays
        with np.errstate(over="ignore", invalid="ignore"):
            return (one + other.astype(one.dtype)).astype(one.dtype)


@dataclass(frozen=True)
class GRUSum(Sum):
    """The sum of the biases of a GRU, for a layer without the bias inside the reset product."""

    def merged(self, arrays: Arrays) -> np.ndarray:
        hidden = arrays[1]
        inside = hidden[2 * hidden.shape[0] // 3 :].astype("float64")
        if inside.any():
            raise ValueError(
                "the last third is the bias inside the reset product of gate n, which "
                "flax.nnx.GRUCell does not have, and it is not zero (its largest value is "
                f"{np.abs(inside).max():.3g}): give the cell one, "
                "cell.dense_h = nnx.Linear(hidden, 3 * hidden, rngs=rngs), before loading"
            )
        return super().merged(arrays)


@dataclass(frozen=True)
class FlaxOnly(Merge):
    """A parameter that torch's layer does not have, such as the bias of an LSTM without biases.

    It is the rule of one parameter: ``rules={"lstm.cell.dense_h.bias": FlaxOnly(0)}``.

    Args:
      value: the value that a load fills the parameter with.
      exact: whether saving refuses other values, with which torch's layer would compute something
        else.

    Raises:
      ValueError: a value that is not a finite number, or an `exact` that is not a bool.
    """

    value: float = 0.0
    exact: bool = True

    tensors: ClassVar[int] = 0
    import_only: ClassVar[bool] = False
    noun: ClassVar[str] = "constant"

    def __post_init__(self) -> None:
        number = isinstance(self.value, (int, float)) and not isinstance(self.value, bool)
        if not number or not isfinite(self.value):
            raise ValueError(f"FlaxOnly: value must be a finite number, got {self.value!r}")
        if not isinstance(self.exact, bool):
            raise ValueError(f"FlaxOnly: exact must be True or False, got {self.exact!r}")
        object.__setattr__(self, "value", float(self.value))

    def problem(self, shapes: Sequence[Shape]) -> str:
        return ""

    def filled(self, shape: Shape, dtype: Any) -> np.ndarray:
        """A new array of the value."""
        return np.full(shape, self.value, dtype)

    def lost(self, array: np.ndarray) -> bool:
        """Whether saving would lose the values of the array."""
        return self.exact and not bool((array == np.asarray(self.value, array.dtype)).all())


@dataclass(frozen=True)
class WeightNorm(Merge):
    """``g v / |v|`` of (v, g), with the norm over the axes where g has length 1.

    torch's ``dim`` is the other axis. For a scalar g, torch's ``dim=None``, the norm is over all
    axes. Zeros in v give NaN, as in torch.
    """

    noun: ClassVar[str] = "weight norm"

    def problem(self, shapes: Sequence[Shape]) -> str:
        direction, norms = shapes
        pairs = list(zip(norms, direction, strict=False))
        kept = len(norms) == len(direction) and all(n in (1, d) for n, d in pairs)
        if not norms or (kept and sum(n != 1 for n in norms) <= 1):
            return ""
        return (
            f"{norms} is not the shape of a magnitude for a direction of shape {direction}: at "
            "most one axis may be longer than 1"
        )

    def merged(self, arrays: Arrays) -> np.ndarray:
        direction, magnitude = arrays
        every = range(direction.ndim)
        axes = tuple(a for a in every if not magnitude.ndim or magnitude.shape[a] == 1)
        v, g = _wide(direction), _wide(magnitude)
        with np.errstate(divide="ignore", invalid="ignore"):
            norm = np.sqrt(np.sum(np.abs(v) ** 2, axis=axes, keepdims=True))
            return (g * v / norm).astype(direction.dtype)


@dataclass(frozen=True)
class SpectralNorm(Merge):
    """``w / (u . w v)`` of (w, u, v), as torch computes it in evaluation mode.

    Attributes:
      axis: the axis of w that u belongs to; v belongs to all others, in order.
    """

    axis: int = 0

    tensors: ClassVar[int] = 3
    noun: ClassVar[str] = "spectral norm"

    def __post_init__(self) -> None:
        if type(self.axis) is not int or self.axis < 0:
            raise ValueError(f"SpectralNorm: axis must be an integer >= 0, got {self.axis!r}")

    def problem(self, shapes: Sequence[Shape]) -> str:
        weight, u, v = shapes
        if len(weight) > max(1, self.axis):
            rows = weight[self.axis]
            rest = prod(weight[: self.axis] + weight[self.axis + 1 :])
            if (tuple(u), tuple(v)) == ((rows,), (rest,)):
                return ""
        return f"{u} and {v} are not the shapes of u and v for a weight of shape {weight}"

    def merged(self, arrays: Arrays) -> np.ndarray:
        weight, u, v = map(_wide, arrays)
        matrix = np.moveaxis(weight, self.axis, 0).reshape(len(u), -1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return (weight / np.vdot(u, matrix @ v)).astype(arrays[0].dtype)


@dataclass(frozen=True)
class Mask(Merge):
    """``w * mask`` of (w, mask), as ``torch.nn.utils.prune`` keeps them."""

    noun: ClassVar[str] = "pruning mask"

    def problem(self, shapes: Sequence[Shape]) -> str:
        return _same(shapes)

    def merged(self, arrays: Arrays) -> np.ndarray:
        weight, mask = arrays
        with np.errstate(invalid="ignore"):
            return mask.astype(weight.dtype) * weight


_MAPS = ("matrix_exp", "cayley", "householder")


@dataclass(frozen=True)
class Orthogonal(Merge):
    """``torch.nn.utils.parametrizations.orthogonal`` of (original, base).

    Attributes:
      map: torch's ``orthogonal_map``, which no checkpoint holds.
    """

    map: str = "matrix_exp"

    noun: ClassVar[str] = "orthogonal parametrization"

    def __post_init__(self) -> None:
        if self.map not in _MAPS:
            raise ValueError(f"Orthogonal: map must be one of {', '.join(_MAPS)}, got {self.map!r}")

    def problem(self, shapes: Sequence[Shape]) -> str:
        weight, base = shapes
        if len(weight) >= 2:
            n = max(weight[-2:])
            if tuple(base) == (*weight[:-2], n, n):
                return ""
        return f"{base} is not the shape of a base for a weight of shape {weight}"

    def merged(self, arrays: Arrays) -> np.ndarray:
        x, base = map(_wide, arrays)
        wide = x.shape[-2] < x.shape[-1]
        x = np.swapaxes(x, -1, -2) if wide else x
        q = base @ (_reflections(x) if self.map == "householder" else self._of_skew(x))
        q = np.swapaxes(q, -1, -2) if wide else q
        return q.astype(arrays[0].dtype)

    def _of_skew(self, x: np.ndarray) -> np.ndarray:
        """The first columns of exp(a) or of the Cayley map of a, the skew part of a square x."""
        n, k = x.shape[-2:]
        square = np.zeros((*x.shape[:-1], n), x.dtype)
        square[..., :k] = np.tril(x)
        a = square - np.conj(np.swapaxes(square, -1, -2))
        if self.map == "cayley":
            one = np.eye(n)
            return np.linalg.solve(one - a / 2, one + a / 2)[..., :k]
        # i a is Hermitian, so its eigenvectors are orthonormal
        angles, vectors = np.linalg.eigh(1j * a)
        phases = np.exp(-1j * angles)[..., None, :]
        q = (vectors * phases) @ np.conj(np.swapaxes(vectors, -1, -2))
        return (q if np.iscomplexobj(x) else np.real(q))[..., :k]


def _reflections(x: np.ndarray) -> np.ndarray:
    """The first columns of the product of x's Householder reflections, times x's signs."""
    n, k = x.shape[-2:]
    below = np.tril(x, -1)
    scales = 2 / (1 + np.sum(below * below, axis=-2))
    q = np.broadcast_to(np.eye(n, k), (*x.shape[:-2], n, k))
    for i in reversed(range(k)):
        v = below[..., i] + np.eye(n)[i]
        rows = np.einsum("...n,...nk->...k", v, q)
        q = q - scales[..., i, None, None] * v[..., :, None] * rows[..., None, :]
    signs = np.diagonal(x, axis1=-2, axis2=-1)
    return q * np.trunc(signs)[..., None, :]


def _same(shapes: Sequence[Shape]) -> str:
    one, other = map(tuple, shapes)
    return "" if one == other else f"the shapes {one} and {other} are not the same"


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)


# --- JSON -----------------------------------------------------------------------------------------

_KINDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (Sum, GRUSum, FlaxOnly, WeightNorm, SpectralNorm, Mask, Orthogonal)
}


def to_json(merge: Merge) -> Any:
    """``["SpectralNorm", {"axis": 1}]``."""
    return [type(merge).__name__, asdict(merge)]


def from_json(data: Any) -> Merge:
    """The computation; every field is checked.

    Raises:
      ValueError: data that `to_json` does not return.
    """
    match data:
        case [str(kind), dict(given)] if kind in _KINDS:
            names = [field.name for field in fields(_KINDS[kind])]
            if sorted(given) != sorted(names):
                raise ValueError(f"{kind}: expected the fields {names}, got {sorted(given)}")
            return _KINDS[kind](**given)
    raise ValueError(f"unknown merge {data!r:.200}: expected one of {', '.join(_KINDS)}")
