"""Padding layers with torch's names and arguments, channels last."""

from collections.abc import Iterable
from typing import Any, ClassVar

import jax

from jaxgroups import _functional as functional
from jaxgroups._spec import arguments
from jaxgroups._types import IntOrInts, Ints
from jaxgroups.nnx._base import FeatureLayer


class _Pad(FeatureLayer):
    """What the padding layers share."""

    mode: ClassVar[str]
    shown = ("padding",)

    def __init__(self, padding: IntOrInts) -> None:
        self.padding = self._amounts(padding)

    def _amounts(self, padding: Any) -> Ints:
        name, pairs = type(self).__name__, self.rank
        amounts = arguments.integers(name, "padding", padding)
        if isinstance(padding, Iterable) and len(amounts) != 2 * pairs:
            raise ValueError(
                f"{name}: padding must be an int or a tuple of {2 * pairs} ints, (low, high) of "
                f"each spatial axis, the last one first: got padding={amounts}"
            )
        return amounts * (2 * pairs // len(amounts))

    def __call__(self, x: Any) -> jax.Array:
        """``(*batch, *spatial, C)`` -> ``(*batch, *spatial_out, C)``."""
        value = getattr(self, "value", None)
        return functional.pad(x, self.padding, self.mode, value, data_format="channels_last")


class _ZeroPad(_Pad):
    """{rank}-D padding with zeros, with the arguments of ``torch.nn.{name}``.

    Shape: input ``(*batch, {axes}, C)``, output ``(*batch, {out}, C)``.

    Args:
      padding: an int, or (low, high) for each spatial axis in one tuple, the last axis first.
        Negative amounts remove elements.

    Raises:
      ValueError: a tuple of another length; at the call, sizes that torch refuses.
      TypeError: amounts that are no ints.
    """

    mode = "constant"


class _ConstantPad(_Pad):
    """{rank}-D padding with a constant, with the arguments of ``torch.nn.{name}``.

    Shape: input ``(*batch, {axes}, C)``, output ``(*batch, {out}, C)``.

    Args:
      padding: an int, or (low, high) for each spatial axis in one tuple, the last axis first.
        Negative amounts remove elements.
      value: the constant.

    Raises:
      ValueError: a tuple of another length; at the call, sizes that torch refuses.
      TypeError: amounts that are no ints.
    """

    mode = "constant"
    shown = ("padding", "value")

    def __init__(self, padding: IntOrInts, value: Any) -> None:
        super().__init__(padding)
        self.value = value


class _ReflectionPad(_Pad):
    """{rank}-D padding by reflection without the edge, with the arguments of ``torch.nn.{name}``.

    Shape: input ``(*batch, {axes}, C)``, output ``(*batch, {out}, C)``.

    Args:
      padding: an int, or (low, high) for each spatial axis in one tuple, the last axis first; less
        than the size of the axis. Negative amounts remove elements.

    Raises:
      ValueError: a tuple of another length; at the call, sizes that torch refuses.
      TypeError: amounts that are no ints.
    """

    mode = "reflect"


class _ReplicationPad(_Pad):
    """{rank}-D padding that repeats the edge, with the arguments of ``torch.nn.{name}``.

    Shape: input ``(*batch, {axes}, C)``, output ``(*batch, {out}, C)``.

    Args:
      padding: an int, or (low, high) for each spatial axis in one tuple, the last axis first.
        Negative amounts remove elements.

    Raises:
      ValueError: a tuple of another length; at the call, sizes that torch refuses.
      TypeError: amounts that are no ints.
    """

    mode = "replicate"


class _CircularPad(_Pad):
    """{rank}-D padding that wraps around, with the arguments of ``torch.nn.{name}``.

    Shape: input ``(*batch, {axes}, C)``, output ``(*batch, {out}, C)``.

    Args:
      padding: an int, or (low, high) for each spatial axis in one tuple, the last axis first; at
        most the size of the axis. Negative amounts remove elements.

    Raises:
      ValueError: a tuple of another length; at the call, sizes that torch refuses.
      TypeError: amounts that are no ints.
    """

    mode = "circular"


class ZeroPad1d(_ZeroPad):
    rank = 1


class ZeroPad2d(_ZeroPad):
    rank = 2


class ZeroPad3d(_ZeroPad):
    rank = 3


class ConstantPad1d(_ConstantPad):
    rank = 1


class ConstantPad2d(_ConstantPad):
    rank = 2


class ConstantPad3d(_ConstantPad):
    rank = 3


class ReflectionPad1d(_ReflectionPad):
    rank = 1


class ReflectionPad2d(_ReflectionPad):
    rank = 2


class ReflectionPad3d(_ReflectionPad):
    rank = 3


class ReplicationPad1d(_ReplicationPad):
    rank = 1


class ReplicationPad2d(_ReplicationPad):
    rank = 2


class ReplicationPad3d(_ReplicationPad):
    rank = 3


class CircularPad1d(_CircularPad):
    rank = 1


class CircularPad2d(_CircularPad):
    rank = 2


class CircularPad3d(_CircularPad):
    rank = 3
