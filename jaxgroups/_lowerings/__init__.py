"""The table of lowerings, in order of preference. The last one supports every problem."""

from jaxgroups._lowerings import matmul, native, shift, xla
from jaxgroups._lowerings.base import Lowering as Lowering

LOWERINGS: tuple[Lowering, ...] = (
    native.LOWERING,
    shift.LOWERING,
    matmul.LOWERING,
    xla.LOWERING,
)
