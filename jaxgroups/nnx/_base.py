"""What the layers share: their docstring, signature and repr."""

import inspect
from typing import Any, ClassVar

from flax import nnx
from flax.nnx import reprlib

from jaxgroups._functional.ranks import filled


class TorchLayer(nnx.Module):
    """Base class of the layers whose ``help()`` and ``repr`` are those of ``torch.nn``."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # inspect would show (*args, **kwargs), the signature of nnx's metaclass
        _, *rest = inspect.signature(cls.__init__).parameters.values()
        cls.__signature__ = inspect.Signature(rest)

    def _repr_text(self) -> str:
        """What ``repr`` prints."""
        raise NotImplementedError

    def __nnx_repr__(self):
        # nnx prints a module through this hook, alone as well as inside another module
        yield reprlib.Object(type=self._repr_text(), start="", end="", empty_repr="")


class FeatureLayer(TorchLayer):
    """Base class of the layers other than convolutions.

    A subclass that sets `rank`, the number of spatial axes, gets the docstring of its base class,
    `filled` for that rank. `shown` names the settings that ``repr`` prints, as ``torch.nn`` does.
    """

    rank: ClassVar[int]
    shown: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "rank" in vars(cls):
            cls.__doc__ = filled(inspect.getdoc(cls.__mro__[1]) or "", cls.rank, cls.__name__)

    def _repr_text(self) -> str:
        settings = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.shown)
        return f"{type(self).__name__}({settings})"
