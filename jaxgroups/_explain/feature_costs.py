"""The operations of pools, resizes, norms and the like: what their definitions compute.

An operation is one addition, multiplication, comparison, division or power. Padding counts as
data. The table is of layers and functions alike, because their settings have the same names.

    pools            one for each tap of each output; power-average pools two
    resizes          a multiplication and an addition for each tap of each output; nearest none
    norms            statistics 4 a value (mean 1, variance 3), a factor and a summand 2 a value
    PReLU            2 a value; other activations one for each step of their definition
    rearrangements   none: pads, shuffles, unpools, Flatten, Unfold; Fold adds up every value
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

from jaxgroups._functional.bins import Bins
from jaxgroups._functional.resize_taps import taps_of
from jaxgroups._types import Ints, Shape

_RANKS = {"pixelshuffle": 2, "pixelunshuffle": 2, "unfold": 2, "fold": 1}
_OUTPUT_RANKS = _RANKS | {"unfold": 1, "fold": 2}
_REARRANGEMENTS = (
    "maxunpool",
    "unfold",
    "pad",
    "pixelshuffle",
    "pixelunshuffle",
    "channelshuffle",
    "flatten",
    "unflatten",
)
_RESIZE_TAPS = {"linear": 2, "bilinear": 4, "trilinear": 8, "bicubic": 16}


# a comparison, a multiplication, an addition, a power, a logarithm: each is one
_ACTIVATIONS = {
    "leakyrelu": 2, "hardtanh": 2, "clamp": 2, "softplus": 6, "hardshrink": 2,
    "softshrink": 3, "threshold": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Use:
    """One call of a layer or a function.

    Attributes:
      name: name of the class or the function.
      settings: the arguments of both, by torch's names.
      input: shape of the first input.
      output: shape of the first output.
      last: whether the channels are last.
      batch_statistics: whether a norm computes the statistics of its input.
    """

    name: str
    settings: Mapping[str, Any]
    input: Shape
    output: Shape
    last: bool
    batch_statistics: bool = True

    @property
    def rank(self) -> int:
        """Number of spatial axes: that in the name, or all but two axes."""
        return _rank(self.name, self.input, _RANKS)

    @property
    def channels(self) -> tuple[int, int]:
        """Channels of input and output."""
        if self.last:
            return (self.input or (1,))[-1], (self.output or (1,))[-1]
        ranks = (_rank(self.name, self.input, _RANKS), _rank(self.name, self.output, _OUTPUT_RANKS))
        inputs, outputs = (
            shape[-rank - 1] if len(shape) > rank else 1
            for shape, rank in zip((self.input, self.output), ranks, strict=True)
        )
        return inputs, outputs

    def sizes(self, shape: Shape) -> Shape:
        """The sizes of the spatial axes of a feature map."""
        return shape[-self.rank - 1 : -1] if self.last else shape[len(shape) - self.rank :]

    @property
    def kernel_size(self) -> Ints:
        """The window, or () for what has none."""
        given = self.settings.get("kernel_size", ())
        return (given,) * self.rank if isinstance(given, int) else tuple(given)


def operations_of(use: Use, bases: tuple[str, ...] = ()) -> int | None:
    """The operations of a call; None for a layer that the table does not have.

    Args:
      use: the call.
      bases: names of the base classes, for a layer.
    """
    for name in (use.name, *bases):
        count = _OPERATIONS.get(_family(name))
        if count is not None:
            return count(use)
    return None


def _rank(name: str, shape: Shape, known: Mapping[str, int]) -> int:
    named = re.search(r"([123])d$", name)
    return int(named[1]) if named else known.get(_family(name), max(len(shape) - 2, 0))


def _family(name: str) -> str:
    """``maxpool`` of ``MaxPool2d`` and of ``max_pool2d``."""
    return re.sub(r"[123]d$", "", name).replace("_", "").lower()


def _window(each: int) -> Callable[[Use], int]:
    def count(use: Use) -> int:
        return each * prod(use.kernel_size) * prod(use.output)

    return count


def _bins(use: Use) -> int:
    """Every bin has its own size."""
    before, after = use.sizes(use.input), use.sizes(use.output)
    read = (int(Bins(n, out).counts.sum()) for n, out in zip(before, after, strict=True))
    return prod(read) * (prod(use.output) // prod(after) if prod(after) else 0)


def _resize(use: Use) -> int:
    mode = use.settings["mode"]
    if mode == "area":
        return _bins(use)
    if use.settings.get("antialias"):
        return 2 * _filtered(use)
    return 2 * _RESIZE_TAPS.get(mode, 0) * prod(use.output)


def _filtered(use: Use) -> int:
    """Taps of all outputs, where the filter grows with the distance of the outputs."""
    before, after = use.sizes(use.input), use.sizes(use.output)
    factors = use.settings.get("scale_factor")
    if use.settings.get("recompute_scale_factor"):
        factors = None
    if not isinstance(factors, (list, tuple)):
        factors = (factors,) * use.rank
    align = bool(use.settings.get("align_corners"))
    total = prod(use.output) // prod(after)
    for n, out, factor in zip(before, after, factors, strict=True):
        taps = taps_of(use.settings["mode"], n, out, factor, align, True, False)
        total *= out if taps is None else sum(len(set(read)) for read in taps.index.T.tolist())
    return total


def _sampled(use: Use) -> int:
    taps = {"bilinear": 2**use.rank, "bicubic": 4**use.rank}
    return 2 * taps.get(use.settings["mode"], 0) * prod(use.output)


def _channel_norm(use: Use) -> int:
    return (6 if use.batch_statistics else 2) * prod(use.input)


def _layer_norm(use: Use) -> int:
    return (6 + _parameters(use, "weight", "scale") + _parameters(use, "bias")) * prod(use.input)


def _rms_norm(use: Use) -> int:
    """The mean of squares 2, the factor 1, and that of the weight."""
    return (3 + _parameters(use, "weight", "scale")) * prod(use.input)


def _parameters(use: Use, *names: str) -> int:
    return int(any(use.settings.get(name) is not None for name in names))


def _local_response(use: Use) -> int:
    """A square, `size` for the sum and its factor, a sum, a power and a quotient."""
    return (use.settings["size"] + 4) * prod(use.input)


def _each(use: Use, count: int) -> int:
    return count * prod(use.input)


def _nothing(use: Use) -> int:
    return 0


_OPERATIONS: dict[str, Callable[[Use], int]] = {
    "maxpool": _window(1),
    "avgpool": _window(1),
    "lppool": _window(2),
    "adaptivemaxpool": _bins,
    "adaptiveavgpool": _bins,
    "interpolate": _resize,
    "upsample": _resize,
    "gridsample": _sampled,
    "affinegrid": lambda use: 2 * use.output[-1] * prod(use.output),
    "batchnorm": _channel_norm,
    "instancenorm": _channel_norm,
    "groupnorm": _channel_norm,
    "layernorm": _layer_norm,
    "rmsnorm": _rms_norm,
    "localresponsenorm": _local_response,
    "prelu": lambda use: 2 * prod(use.input),
    "vectornorm": lambda use: 2 * prod(use.input),
    "std": lambda use: 4 * prod(use.input),
    **{name: partial(_each, count=n) for name, n in _ACTIVATIONS.items()},
    "fold": lambda use: prod(use.input),
    **dict.fromkeys(_REARRANGEMENTS, _nothing),
}
