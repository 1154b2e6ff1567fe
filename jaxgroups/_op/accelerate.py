"""``accelerate()``: lax's own convolution lowered by our chooser on CPU, in every model."""

from functools import partial

import jax
from jax.interpreters import mlir

from jaxgroups._op.primitive import lower
from jaxgroups._problem import jax_private as private
from jaxgroups._problem.xla_conv import LAX_P

_active: list["Acceleration"] = []
_before, _ours = private.lowering_rule(LAX_P, "cpu"), partial(lower, "cpu")


class Acceleration:
    """Handle of `accelerate`: `undo` it, or use it as a context manager."""

    def undo(self) -> None:
        """End this acceleration. With the last one, lax is lowered as before. Idempotent."""
        if self in _active:
            _active.remove(self)
            _switch()

    def __enter__(self) -> "Acceleration":
        return self

    def __exit__(self, *exception: object) -> None:
        self.undo()

    def __repr__(self) -> str:
        return f"<Acceleration {'on' if self in _active else 'undone'}>"


def accelerate() -> Acceleration:
    """Lower ``lax.conv_general_dilated`` on CPU as `jaxgroups.conv_general_dilated` is, everywhere.

    Models of Flax, Equinox, Haiku, Keras and any other code speed up unchanged: forward,
    gradients and vmap. Process wide, until the handle's ``undo()`` or the end of its ``with``.
    Both ends drop what JAX has compiled and traced so far (``jax.clear_caches``), so that no
    program lingers with the other lowering. GPU and TPU programs are not touched.
    """
    handle = Acceleration()
    _active.append(handle)
    _switch()
    return handle


def _switch() -> None:
    rule = _ours if _active else _before
    if private.lowering_rule(LAX_P, "cpu") is not rule:
        mlir.register_lowering(LAX_P, rule, platform="cpu")
        jax.clear_caches()
