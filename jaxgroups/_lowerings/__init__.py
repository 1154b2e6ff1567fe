"""The ordered table of lowerings: the first that takes a problem wins, the last takes all."""

from jaxgroups._lowerings import matmul, native, shift, xla
from jaxgroups._lowerings.base import Lowering as Lowering

LOWERINGS: tuple[Lowering, ...] = (
    native.LOWERING,
    shift.LOWERING,
    matmul.LOWERING,
    xla.LOWERING,
)
