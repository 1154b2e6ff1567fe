"""Padding layers with torch's names and arguments, channels last."""

from collections.abc import Iterable
from typing import Any, ClassVar

import jax

from jaxgroups import _functional as functional
from jaxgroups._spec import arguments
from jaxgroups._types import IntOrInts, Ints
from jaxgroups.nnx._base import FeatureLayer

# a template of templates: `FeatureLayer` fills in what is left in braces, for each rank
_DOC = """{{rank}}-D padding with {what}: ``torch.nn.{{name}}``.

Shape: input ``(*batch, {{axes}}, C)``, output ``(*batch, {{out}}, C)``.

Args:
  padding: an int, or (low, high) for each spatial axis in one tuple, the last axis first. Negative
    numbers remove elements.{limit}
{value}
Raises:
  ValueError: a tuple of another length; at the call, sizes that torch refuses.
  TypeError: numbers that are no ints.
"""


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
    __doc__ = _DOC.format(what="zeros", limit="", value="")
    mode = "constant"


class _ConstantPad(_Pad):
    __doc__ = _DOC.format(what="a constant", limit="", value="  value: the constant.\n")
    mode = "constant"
    shown = ("padding", "value")

    def __init__(self, padding: IntOrInts, value: Any) -> None:
        super().__init__(padding)
        self.value = value


class _ReflectionPad(_Pad):
    __doc__ = _DOC.format(
        what="the reflected input, without its edge",
        limit=" Less than the size of the axis.",
        value="",
    )
    mode = "reflect"


class _ReplicationPad(_Pad):
    __doc__ = _DOC.format(what="the edge, repeated", limit="", value="")
    mode = "replicate"


class _CircularPad(_Pad):
    __doc__ = _DOC.format(
        what="the opposite end of the input", limit=" At most the size of the axis.", value=""
    )
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
