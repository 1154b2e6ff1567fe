"""Sizes of the parts of a panel, from how much it shows; lengths in pixels."""

from dataclasses import dataclass

import numpy as np

from jaxgroups._spec.spec import ConvSpec
from jaxgroups.diagrams import _weights as weights
from jaxgroups.diagrams._scene import text_width
from jaxgroups.diagrams._view import Gap, View

TALL = 860  # of a column of channels, beyond which rows get narrower
PITCH = (15, 36)  # of the rows, least and most
STACK = 190  # width of a filter without values; its kernels overlap beyond
SLICES = 4  # of a deep kernel, in a box of SLICED or more; in a smaller one 2
SLICED = 20
DIGIT = 10  # size of the weights' digits


@dataclass(frozen=True)
class Measure:
    """Row pitch, side of a channel's box, one kernel's cells, and the stack of a filter."""

    pitch: float
    box: float
    cell: tuple[float, float]  # width and height of one element of a kernel
    face: tuple[float, float]  # of the front of one kernel
    slices: int  # of its depth that are drawn one behind the other
    shift: float  # from one slice to the next, to the right and up
    card: tuple[float, float]  # of one kernel, all slices
    step: float  # from one kernel to the next
    overlap: bool

    def across(self, view: View) -> float:
        """Width of one filter's stack."""
        return (len(view.stack) - 1) * self.step + self.card[0]


def measure(spec: ConvSpec, view: View, pitch: float, values: np.ndarray | None) -> Measure:
    """The sizes of a panel whose rows stand `pitch` apart."""
    box = min(28.0, pitch - 3)
    depth, rows, columns = (1, 1, *spec.kernel_size)[-3:]
    slices, shift = min(depth, SLICES if box >= SLICED else 2), box / 9
    if values is not None:
        width = max(text_width(weights.number(v), DIGIT) for v in values.flat) + 6
        cell = (max(width, 18.0), 18.0)
    else:
        side = (box - (slices - 1) * shift) / max(rows, columns)
        cell = (side, side if spec.rank > 1 else max(side, box / 2))
    face = (columns * cell[0], rows * cell[1])
    card = (face[0] + (slices - 1) * shift, face[1] + (slices - 1) * shift)
    count = len(view.stack)
    room = STACK if values is None else float("inf")
    step = card[0] + 4
    overlap = (count - 1) * step + card[0] > room
    if overlap and any(isinstance(k, Gap) for k in view.stack):
        overlap, step = False, (room - card[0]) / (count - 1)  # few kernels, so they fit
    elif overlap:
        step = (room - card[0]) / (count - 1)
    return Measure(pitch, box, cell, face, slices, shift, card, step, overlap)


def row_pitch(spec: ConvSpec, view: View, values: np.ndarray | None) -> float:
    """How far apart the rows stand: as far as fits, and as far as the weights need."""
    pitch = min(max(TALL / view.rows, PITCH[0]), PITCH[1])
    if values is None:
        return pitch
    rows = (1, *spec.kernel_size)[-2]
    return max(pitch, rows * 18.0 + 8)
