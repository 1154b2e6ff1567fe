"""The ordered table of lowerings: the first that takes a problem wins, the last takes all."""

from jaxgroups.lowerings import matmul, shift, xla
from jaxgroups.lowerings._base import Lowering as Lowering

LOWERINGS: tuple[Lowering, ...] = (shift.LOWERING, matmul.LOWERING, xla.LOWERING)
