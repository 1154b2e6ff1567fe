"""The differences between two modules that rounding explains.

float64: each operation adds at most ``terms`` roundings, for the longest sum in the network. The
longest chain has at most as many operations as torch runs in all. Later operations amplify or
attenuate an error; the estimate for that is the amplification of a small change of the input,
measured in torch. So ``eps * operations * terms * amplification`` is allowed, relative to the
largest value. A gradient passes through the network twice. Every step of SGD adds its own.

float32: torch's own difference between float32 and float64 on the same input shows the effect of
rounding on this network. Flax may differ by four times as much, plus the random walk of the
roundings, ``eps * sqrt(operations * terms)``.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from jaxgroups.prove import _torch_side as torch_side
from jaxgroups.prove._inputs import Arrays

EPS64 = float(np.finfo(np.float64).eps)
EPS32 = float(np.finfo(np.float32).eps)
TOO_LARGE = 1e-6  # a difference as small as that may be a setting, such as an epsilon


@dataclass(frozen=True)
class Rounding:
    """The figures of one network.

    Attributes:
      operations: the number of operations that torch runs.
      terms: the number of terms of the longest sum.
      amplification: the relative change of the output over that of the input.
    """

    operations: int
    terms: int
    amplification: float

    @property
    def float64(self) -> float:
        return EPS64 * self.operations * self.terms * max(1.0, self.amplification)

    @property
    def gradient(self) -> float:
        return 2 * self.float64

    def steps(self, count: int) -> float:
        return self.gradient * (count + 1)

    def float32(self, torch_error: float) -> float:
        """For an input on which torch's float32 differs by `torch_error` from its float64."""
        return 4 * torch_error + EPS32 * sqrt(self.operations * self.terms)

    def as_dict(self, batch: int) -> dict[str, float]:
        return {
            "operations": self.operations,
            "terms": self.terms,
            "amplification": self.amplification,
            "training_batch": batch,
        }


def rounding(module: Any, found: torch_side.Operations, arrays: Arrays, factor: int) -> Rounding:
    """The figures of a torch module in float64, on one input.

    Args:
      found: its operations on the input.
      factor: the ratio of the largest batch in the proof to that of the input.
    """
    change, rng = 1e-9, np.random.default_rng(3)
    floating = [np.issubdtype(a.dtype, np.floating) for a in arrays]
    perturbed = [
        a + change * np.abs(a).max(initial=0) * rng.uniform(-1, 1, a.shape) if f else a
        for a, f in zip(arrays, floating, strict=True)
    ]
    before, after = torch_side.forward(module, arrays), torch_side.forward(module, perturbed)
    amplified = max((relative(a, b) for a, b in zip(before, after, strict=True)), default=0.0)
    amplified = amplified / change if np.isfinite(amplified) else 1.0
    return Rounding(found.count, found.terms * factor, amplified)


def relative(expected: np.ndarray, actual: np.ndarray, floor: float = 0.0) -> float:
    """The largest difference, relative to the largest finite expected value, at least to `floor`.

    Equal infinities and NaN at the same places do not differ. The result is infinite if the shapes
    differ, or values of which one is not finite.
    """
    if expected.shape != actual.shape:
        return float("inf")
    wide = "complex128" if np.iscomplexobj(expected) or np.iscomplexobj(actual) else "float64"
    expected, actual = expected.astype(wide), actual.astype(wide)
    finite = np.isfinite(expected)
    alike = (expected == actual) | (np.isnan(expected) & np.isnan(actual))
    if not (alike | (finite & np.isfinite(actual))).all():
        return float("inf")
    scale = max(float(np.abs(expected[finite]).max(initial=0)), floor) or 1.0
    with np.errstate(invalid="ignore"):
        gap = np.where(alike, 0.0, np.abs(expected - actual))
    return float(gap.max(initial=0) / scale)
