"""The interface of a checkpoint, for every file format."""

import reprlib
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Literal, Self

import numpy as np

from jaxgroups._printable import printable
from jaxgroups.convert._files import dtypes
from jaxgroups.convert._files.show import counted, html_table, text_table

_HEADER = ("name", "dtype", "shape", "")
Format = Literal[
    "safetensors", "safetensors-index", "torch-zip", "torch-legacy", "torch-index", "memory"
]


class CheckpointError(ValueError):
    """A checkpoint that cannot be read or written; the message says what to do.

    It is a ValueError. The message is one line, with text from the file escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


@dataclass(frozen=True)
class TensorInfo:
    """The shape of a tensor, and its dtype by numpy's or ml_dtypes' name."""

    shape: tuple[int, ...]
    dtype: str

    @cached_property
    def numpy_dtype(self) -> np.dtype:
        return dtypes.numpy_dtype(self.dtype)

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.numpy_dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


class Checkpoint(ABC):
    """Named tensors that are read one at a time.

    Attributes:
      path: the file, or None in memory.
      format: one of the formats.
      reader: the reader of the data: ``"own"``, ``"torch"``, ``"zipfile"`` or ``"safetensors"``,
        the official library; ``""`` in memory.
      infos: shape and dtype of every tensor by name, in the order of the file, aliases included.
      aliases: for each name that shares the memory of another tensor, that tensor's name.
      metadata: the strings in a safetensors file; empty otherwise.
      extras: the names of values that are not tensors.
    """

    path: Path | None
    format: Format
    reader: str
    infos: dict[str, TensorInfo]
    aliases: dict[str, str]
    metadata: dict[str, str]
    extras: tuple[str, ...]
    closed: bool = False

    def __init__(
        self,
        path: Path | None,
        format: Format,
        infos: Mapping[str, TensorInfo],
        *,
        reader: str = "",
        aliases: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        extras: Iterable[str] = (),
    ) -> None:
        self.path = path
        self.format = format
        self.reader = reader
        self.infos = dict(infos)
        self.aliases = dict(aliases or {})
        self.metadata = dict(metadata or {})
        self.extras = tuple(extras)

    def read(self, name: str) -> np.ndarray:
        """The tensor of that name: a new C-contiguous array with the bits of the file.

        Raises:
          CheckpointError: no such name, a damaged file, or one that was changed since it was
            opened.
        """
        with about(self.path):
            if self.closed:
                raise CheckpointError("the checkpoint was closed: open it again to read from it")
            if name not in self.infos:
                raise CheckpointError(f"no tensor {name!r} {self._hint(name)}")
            array = self._read(self.aliases.get(name, name))
            found = TensorInfo(array.shape, array.dtype.name)
            if found != self.infos[name]:
                raise CheckpointError(
                    f"{name!r} was announced as {self.infos[name]}, but the data read is {found}"
                )
        return array

    @abstractmethod
    def _read(self, name: str) -> np.ndarray:
        """The tensor of that name, which exists and is not an alias, as a new array in C order."""

    def close(self) -> None:
        """Close the file; arrays that were read stay valid. Closing twice is allowed."""
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        where = "" if self.path is None else f" {str(self.path)!r}"
        return f"<{self.format} checkpoint{where}: {counted(len(self.infos), 'tensor')}>"

    def __str__(self) -> str:
        return "\n".join([repr(self), *text_table([_HEADER, *self._rows()])])

    def _repr_html_(self) -> str:
        """The tensors as an HTML table, for notebooks."""
        return html_table(repr(self), _HEADER, self._rows())

    def _rows(self) -> list[tuple[str, str, str, str]]:
        return [
            (name, info.dtype, str(info.shape), f"same as {kept}" if kept else "")
            for name, info in self.infos.items()
            for kept in [self.aliases.get(name)]
        ]

    def _hint(self, name: str) -> str:
        near = get_close_matches(name, self.infos, n=3)
        if near:
            return f"among the {len(self.infos)}; similar: {', '.join(map(repr, near))}"
        return f"among the {len(self.infos)}"


def repeated(keys: Mapping[str, Hashable]) -> dict[str, str]:
    """For every name with the same key as an earlier name, that name; None is no key."""
    first: dict[Hashable, str] = {}
    return {
        name: kept
        for name, key in keys.items()
        if key is not None and (kept := first.setdefault(key, name)) != name
    }


def short(value: object) -> str:
    """A repr of bounded length and cost for any value."""
    try:
        return reprlib.repr(value)
    except ValueError:  # Python's limit on the digits of an int
        return f"a {type(value).__name__}"


@contextmanager
def about(subject: object) -> Iterator[None]:
    """Put `subject`, unless None, before the message of a CheckpointError."""
    try:
        yield
    except CheckpointError as error:
        if subject is None:
            raise
        named = CheckpointError(f"{subject}: {error}")
        # without the cause, whose message a traceback would print without escapes
        raise named.with_traceback(error.__traceback__) from None
