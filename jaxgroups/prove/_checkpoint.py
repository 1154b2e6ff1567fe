"""The weights of a file in a torch module."""

from typing import Any

from jaxgroups._printable import printable
from jaxgroups.convert import open_checkpoint
from jaxgroups.convert._plan.declared import declared_of
from jaxgroups.convert._plan.warn import warn_of
from jaxgroups.convert._transfer.read import refuse_stamped


def load(module: Any, path: str, key: str | None = None) -> None:
    """Load a checkpoint into a torch module, in place; the file is read as in `load_torch`.

    Raises:
      TypeError: not a torch module.
      ValueError: a file that cannot be read, whose metadata say that it is no torch file, or that
        does not fit the module.
    """
    import torch

    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"expected a torch.nn.Module, got {type(module).__name__}")
    with open_checkpoint(path, key=key) as opened:
        refuse_stamped(opened)
        warn_of(declared_of(opened, {n: i.shape for n, i in opened.infos.items() if i.shape[1:]}))
        arrays = {name: opened.read(name) for name in opened.infos}
    tensors = {
        name: torch.from_numpy(a if a.dtype.isbuiltin else a.astype("float32"))
        for name, a in arrays.items()
    }
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        text = str(error)
        for name in sorted(tensors, key=len, reverse=True):
            text = text.replace(name, printable(name))
        raise ValueError(text) from None
