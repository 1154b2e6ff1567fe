"""Values in a pickle that are not read, of which only the name is kept."""

from typing import Any

# Names that no state_dict needs and that run code if `pickle` reads them. They are not imported or
# called here; a file with such a name is refused to inform its user.
_RUNS_CODE = frozenset(
    [
        *("os", "posix", "nt", "sys", "subprocess", "shutil", "pty", "socket", "ctypes"),
        *("runpy", "importlib", "imp", "pip", "webbrowser", "pdb", "bdb"),
        *("pickle", "_pickle", "cPickle", "marshal", "types.FunctionType", "types.CodeType"),
        *("torch.load", "torch.serialization.load", "torch.jit.load", "torch.hub", "numpy.load"),
        *(
            f"{module}.{name}"
            for module in ("builtins", "__builtin__")
            for name in ("eval", "exec", "execfile", "compile", "open", "__import__", "apply")
        ),
    ]
)
# Names whose calls make arrays, which must not be skipped where tensors are read.
_ARRAYS = ("torch._utils._rebuild_", "torch._tensor._rebuild_", "numpy._core.", "numpy.core.")
_SCALAR = ".multiarray.scalar"


class Opaque:
    """A value of which only the name is known.

    Attributes:
      name: the class or function that the file names, or the kind of value.
      parts: its arguments in the file.
      reason: why a value of a known kind is not read; empty for unknown kinds.
    """

    __slots__ = ("name", "parts", "reason")

    def __init__(self, name: str, parts: tuple[Any, ...] = (), reason: str = "") -> None:
        self.name = name
        self.parts = list(parts)
        self.reason = reason

    def __repr__(self) -> str:
        return f"<{self.name}>"

    @property
    def is_array(self) -> bool:
        """Whether it is the result of a function that makes arrays."""
        by_name = self.name.startswith(_ARRAYS) and not self.name.endswith(_SCALAR)
        return by_name and bool(self.parts)

    def explained(self) -> str:
        """An explanation of why it is not read, and what to do."""
        if self.reason:
            return self.reason
        if self.is_array:
            return (
                f"made by {self.name}: no dense tensor of torch. Load it where it was made, make "
                "it one (to_dense(), dequantize(), torch.from_numpy()), and save it again"
            )
        return (
            f"an instance of {self.name}, which only its own code can build; nothing was imported "
            "or run. If the file is yours, load it where it was made and save model.state_dict()"
        )


def runs_code(name: str) -> bool:
    """Whether the name is, or is in, a module or function that files use to run code."""
    parts = name.split(".")
    return any(".".join(parts[:n]) in _RUNS_CODE for n in range(1, len(parts) + 1))


def holds_arrays(value: Opaque, array_kinds: tuple[type, ...], seen: set[int]) -> bool:
    """Whether a value contains arrays, so that skipping it would lose data.

    Args:
      value: the value; lists, tuples, dicts and opaque values in it are searched.
      array_kinds: the classes of the records of arrays.
      seen: ids of values without arrays, which are not searched again; more are added.
    """
    left: list[Any] = [value]
    while left:
        one = left.pop()
        if isinstance(one, array_kinds):
            return True
        if id(one) in seen:
            continue
        if isinstance(one, Opaque):
            if one.is_array:
                return True
            left += one.parts
        elif isinstance(one, (list, tuple)):
            left += one
        elif isinstance(one, dict):
            left += one.values()
        else:
            continue
        seen.add(id(one))
    return False
