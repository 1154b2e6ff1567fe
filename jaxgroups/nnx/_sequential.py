"""A Sequential whose items have names, as torch's with an ``OrderedDict``."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flax import nnx


class Sequential(nnx.Module):
    """Calls its items one after the other, as ``torch.nn.Sequential(OrderedDict(...))``.

    For items without names, use ``flax.nnx.Sequential(*items)``.

    Args:
      items: layers or functions of one array, by name. Each becomes an attribute, so that
        parameters have torch's names.

    Raises:
      ValueError: a name that is an attribute of ``nnx.Module``, such as ``train``.
    """

    def __init__(self, **items: Callable[[Any], Any]) -> None:
        taken = [name for name in items if hasattr(nnx.Module, name) or name == "names"]
        if taken:
            raise ValueError(f"Sequential: an item cannot be named {taken[0]!r}")
        self.names = tuple(items)
        for name, item in items.items():
            setattr(self, name, item)

    if TYPE_CHECKING:  # an item is an attribute that no class declares

        def __getattr__(self, name: str) -> Any: ...

    def __call__(self, x: Any) -> Any:
        """The result of the last item."""
        for name in self.names:
            x = getattr(self, name)(x)
        return x
