"""Which axes of a parameter need another order in Flax than in torch, by their factors."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from jaxgroups._types import Shape
from jaxgroups.convert._order import axes
from jaxgroups.convert._order.axes import Dim, Factor, factors, size_of
from jaxgroups.convert._rules.ops import ChannelsLast

_EITHER = "torch's counterpart of its input may have the channels first or last"
_END = "it reads or makes an input or output of the model, (H, W, C), as one axis"
_MADE = "it reads positions that a Linear made, and channels, as one axis"
_PARTS = "its features are positions and channels in parts"


@dataclass(frozen=True)
class Need:
    """The reordering that one axis needs.

    Attributes:
      maps: sizes ``(C, *spatial)`` of each feature map that is ``(*spatial, C)`` in Flax, and the
        numbers of entries before and after it.
      unknown: why the order is not known; empty if it is.
      certain: whether every factor is known to be positions or channels.
    """

    maps: tuple[tuple[Shape, Shape], ...] = ()
    unknown: str = ""
    certain: bool = False

    def ops(self, axis: int) -> list[ChannelsLast]:
        return [ChannelsLast(axis, sizes, around) for sizes, around in self.maps]


def need_of(dim: Iterable[Factor]) -> Need:
    """The reordering that one axis needs.

    torch's counterpart of ``(N, *spatial, C)`` is ``(N, C, *spatial)``, so positions before
    channels become channels before positions. Channels before positions mean that the Flax model
    transposes by itself; nothing is reordered.
    """
    found = factors(dim)
    if len(found) == 1 and found[0].segments:
        return _joined(found[0].segments)
    roles = "".join(map(_role, found))
    if re.fullmatch("S+C+", roles):
        at = roles.index("C")
        return Need(((_sizes(found, at), (0, 0)),), certain=True)
    if "!" in roles:
        return Need(unknown=_PARTS)
    if re.fullmatch("S+[CB]+", roles):
        return Need(unknown=_EITHER)
    if re.fullmatch("[sS]+[cC]+", roles):
        return Need(unknown=_END)
    if re.fullmatch("[sSL]*L[sSL]*[cCB]+", roles):
        return Need(unknown=_MADE)
    if "S" in roles and "C" in roles and not re.fullmatch("C+S+", roles):
        return Need(unknown=_PARTS)
    return Need(certain=set(roles) <= {"C", "S"} and bool(roles))


def _sizes(found: Dim, at: int) -> Shape:
    return (size_of(found[at:]), *(factor.size for factor in found[:at]))


def _joined(pieces: tuple[Dim, ...]) -> Need:
    """The reordering of a concatenation: those of its pieces, at their offsets."""
    lengths = [size_of(factors(piece)) for piece in pieces]
    maps, reasons = [], []
    for number, piece in enumerate(pieces):
        need, start = need_of(piece), sum(lengths[:number])
        end = sum(lengths) - start - lengths[number]
        maps += [(sizes, (start + a, end + b)) for sizes, (a, b) in need.maps]
        reasons += [need.unknown] if need.unknown else []
    return Need(tuple(maps), reasons[0] if reasons else "", certain=not reasons)


def _role(factor: Factor) -> str:
    """The role of a factor as a letter.

    C channels; S positions, also those that became channels; L a last axis of torch; B channels
    that are last; c and s channels and positions of an input or output; ! mixed; ? unknown.
    """
    traits = factor.traits
    if axes.MIXED in traits:
        return "!"
    if axes.CHANNEL in traits and axes.SPATIAL not in traits:
        return "B" if axes.LAST in traits else "C"
    for trait, role in (
        (axes.SPATIAL, "S"),
        (axes.LAST, "L"),
        (axes.END_CHANNEL, "c"),
        (axes.END, "s"),
    ):
        if trait in traits:
            return role
    return "?"
