"""A convolution along one spatial axis that is split over devices: what a device needs of others.

The axis is split together with that of the result or of the window, here "the split index": part
``i`` has ``count`` of its values and ``size`` elements of the input. Value ``p`` reads the dilated
input at ``p step + q other_step - low``, for each ``q < other``.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Halo:
    """Elements from both neighbours, and what the part's convolution then is.

    Attributes:
      left, right: elements that the parts before and after hand over.
      start: the first element that part ``i`` reads is ``start + i shift`` of
        ``[left, size, right]``; None where all are read, with `padding`.
      length: elements read.
    """

    left: int
    right: int
    padding: tuple[int, int]
    start: int | None = None
    shift: int = 0
    length: int = 0


def halo(
    parts: int,
    size: int,
    dilation: int,
    count: int,
    step: int,
    other: int,
    other_step: int,
    low: int,
) -> Halo | None:
    """The halo of an axis; None where more than the two neighbours would have to give.

    Args:
      parts: the number of devices along the axis.
      size, count: elements of the input, and values of the split index, of one part.
      dilation: of the input.
      step, other, other_step, low: see above.
    """
    span = (count - 1) * step + (other - 1) * other_step + 1
    shift = count * step - size * dilation
    if shift == 0:
        first, last = -((low) // dilation), (span - 1 - low) // dilation
        left, right = max(0, -first), max(0, last - (size - 1))
        if max(left, right) > size:
            return None
        lo = low - left * dilation
        return Halo(left, right, (lo, span - lo - ((left + size + right - 1) * dilation + 1)))
    if dilation > 1:
        return None
    starts = [i * shift - low for i in range(parts)]
    left = max(0, -min(starts))
    right = max(0, max(starts) + span - size)
    if max(left, right) > size:
        return None
    return Halo(left, right, (0, 0), left - low, shift, span)
