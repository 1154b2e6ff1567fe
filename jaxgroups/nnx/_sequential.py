"""A Sequential whose items have names, as torch's with an ``OrderedDict``."""

from collections.abc import Callable
from typing import Any

from flax import nnx


class Sequential(nnx.Module):
    """Calls its items one after the other, as ``torch.nn.Sequential(OrderedDict(...))``.

    Items without names need no layer of ours: ``flax.nnx.Sequential(*items)`` is torch's
    ``Sequential(*items)``.

    Args:
      items: by name, layers or functions of one array. Each becomes an attribute, so that the
        names of parameters are torch's.

    Raises:
      ValueError: a name that every ``nnx.Module`` has already, such as ``train``.
    """

    def __init__(self, **items: Callable[[Any], Any]) -> None:
        taken = [name for name in items if hasattr(nnx.Module, name) or name == "names"]
        if taken:
            raise ValueError(f"Sequential: an item cannot be named {taken[0]!r}")
        self.names = tuple(items)
        for name, item in items.items():
            setattr(self, name, item)

    def __call__(self, x: Any) -> Any:
        """The last item's result."""
        for name in self.names:
            x = getattr(self, name)(x)
        return x
