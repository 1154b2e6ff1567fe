"""What the layers on feature maps share: their docstring, signature and repr."""

import inspect
from typing import Any, ClassVar

from flax import nnx
from flax.nnx import reprlib

from jaxgroups._functional.ranks import filled


class FeatureLayer(nnx.Module):
    """Base class of the layers that have one class for each number of spatial axes.

    A subclass that sets `rank` gets its base's docstring, filled in for that rank. `shown` names
    the settings that ``repr`` prints, as ``torch.nn`` does.
    """

    rank: ClassVar[int]
    shown: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "rank" in vars(cls):
            cls.__doc__ = filled(inspect.getdoc(cls.__mro__[1]) or "", cls.rank, cls.__name__)
        # inspect would show (*args, **kwargs), the signature of nnx's metaclass
        _, *rest = inspect.signature(cls.__init__).parameters.values()
        cls.__signature__ = inspect.Signature(rest)

    def __nnx_repr__(self):
        settings = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.shown)
        name = type(self).__name__
        yield reprlib.Object(type=f"{name}({settings})", start="", end="", empty_repr="")
