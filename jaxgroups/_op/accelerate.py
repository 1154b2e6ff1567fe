"""``accelerate()``: lax's convolution gets jaxgroups' implementations on CPU."""

from functools import partial

import jax
from jax.interpreters import mlir

from jaxgroups import _console
from jaxgroups._op import lowered
from jaxgroups._op.primitive import lower
from jaxgroups._problem import jax_private as private
from jaxgroups._problem.xla_conv import LAX_P

_active: list["Acceleration"] = []
_lax_rule, _own_rule = private.lowering_rule(LAX_P, "cpu"), partial(lower, "cpu")


class Acceleration:
    """Handle of `accelerate`: `undo` it, or use it as a context manager."""

    def __init__(self) -> None:
        self._lowered: lowered.Record = {}

    def undo(self) -> None:
        """End this acceleration; a second call does nothing.

        When no acceleration is left, lax has its own lowering again.
        """
        if self in _active:
            _active.remove(self)
            lowered.stop(self._lowered)
            _switch()

    def report(self) -> lowered.LoweringReport:
        """Which implementation each convolution got while this acceleration was on, and why.

        It lists what has been compiled: call the model first. Equal convolutions are listed once,
        with the line of code that traced the first of them, gradients by themselves. The text has
        the same content as the log that ``JAXGROUPS_LOG=1`` prints. It remains after `undo`.

        Returns:
          The report: ``print`` it, or take `convolutions`, or ``as_dict()``.
        """
        return lowered.LoweringReport(tuple(self._lowered))

    def __enter__(self) -> "Acceleration":
        return self

    def __exit__(self, *exception: object) -> None:
        self.undo()

    @property
    def active(self) -> bool:
        """Whether this acceleration is on: `undo` has not been called."""
        return self in _active

    def __repr__(self) -> str:
        return f"<Acceleration {'on' if self.active else 'undone'}>"

    def __str__(self) -> str:
        if self.active:
            return "lax.conv_general_dilated uses jaxgroups' implementations on CPU until undo()"
        return "this acceleration was undone"

    def _repr_html_(self) -> str:
        return _console.html(str(self))


def active() -> bool:
    """Whether an acceleration is on."""
    return bool(_active)


def accelerate() -> Acceleration:
    """Lower every ``lax.conv_general_dilated`` on CPU as `jaxgroups.conv_general_dilated`.

    Models of Flax, Equinox, Haiku, Keras and any other code get the implementations without a
    change: forward, gradients and vmap. It holds in the whole process until the handle's
    ``undo()`` or the end of its ``with``. Switching it on and off clears JAX's caches
    (``jax.clear_caches``), so that no compiled program keeps the other lowering. Programs for GPU
    and TPU are not affected.

    Returns:
      The handle: ``undo()`` ends the acceleration, ``report()`` tells what each convolution got.
    """
    handle = Acceleration()
    _active.append(handle)
    lowered.start(handle._lowered)
    _switch()
    return handle


def _switch() -> None:
    rule = _own_rule if _active else _lax_rule
    if private.lowering_rule(LAX_P, "cpu") is not rule:
        mlir.register_lowering(LAX_P, rule, platform="cpu")
        jax.clear_caches()
