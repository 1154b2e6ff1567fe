"""Torch names of Flax modules: the dotted path, or the name that the user gives."""

import re
from collections.abc import Callable, Mapping, Sequence

from flax import linen as nn
from flax import nnx

from jaxgroups.convert._model.structure import Path, Structure, dotted

Names = Mapping[str, str] | Sequence[tuple[str, str]] | Callable[[str], str] | None


class TorchNames:
    """The torch names of one model's modules and parameters, each computed once.

    Args:
      structure: the structure of the model.
      names: a mapping from Flax paths to torch names, of which the longest matching path is used,
        and the rest of the path keeps its default name; or (regex, replacement) pairs, exactly one
        of which must match the whole default name; or a function of the default name.
      prefix: text before every name.
    """

    def __init__(self, structure: Structure, names: Names, prefix: str) -> None:
        self._structure = structure
        self._prefix = prefix
        self._known: dict[Path, str] = {}
        self._default: dict[Path, tuple[str, ...]] = {(): ()}
        self._rename: Callable[[Path, str], str] | None = None
        self._table: dict[str, str] = {}
        if callable(names):
            self._rename = lambda path, name: _called(names, name)
        elif isinstance(names, Mapping):
            self._table = {strip_collection(structure, path): to for path, to in names.items()}
            self._rename = self._mapped
        elif names is not None:
            pairs = list(names)
            self._rename = lambda path, name: _substituted(pairs, name)

    def of(self, path: Path) -> str:
        """The torch name of the module, or of the parameter outside any layer, at a Flax path.

        Raises:
          TypeError: the user's function does not return a string.
          ValueError: an invalid regular expression, or not exactly one pattern that matches.
        """
        if path not in self._known:
            name = ".".join(self._default_parts(path))
            name = name if self._rename is None else self._rename(path, name)
            self._known[path] = self._prefix + name
        return self._known[path]

    def explicit_name(self, path: Path) -> str | None:
        """The torch name that the user's mapping gives for exactly this path, or None."""
        exact = self._table.get(dotted(path)) if self._table else None
        return None if exact is None else self._prefix + exact

    def _default_parts(self, path: Path) -> tuple[str, ...]:
        """The path, in which an item of a Sequential has its number alone, as in torch.

        nnx.Sequential puts ``layers`` between itself and its items; linen names them ``layers_0``.
        """
        if path not in self._default:
            above, part = self._default_parts(path[:-1]), str(path[-1])
            number = re.fullmatch(r"layers(?:_(\d+))?", part)
            parent = None if number is None else self._structure.at(path[:-1])
            if number and number[1] and isinstance(parent, nn.Sequential):
                part = number[1]
            skipped = path[-1] == "layers" and isinstance(parent, nnx.Sequential)
            self._default[path] = above if skipped else (*above, part)
        return self._default[path]

    def _mapped(self, path: Path, name: str) -> str:
        for length in range(len(path), 0, -1):
            head = dotted(path[:length])
            if head in self._table:
                front = ".".join(self._default_parts(path[:length]))
                rest = name[len(front) :].lstrip(".")
                return ".".join(part for part in (self._table[head], rest) if part)
        return name


def strip_collection(structure: Structure, path: str) -> str:
    """A dotted path without ``params.``, the collection that linen puts before it."""
    return path.removeprefix("params.") if structure.kind == "linen" else path


def _called(names: Callable[[str], str], name: str) -> str:
    result = names(name)
    if not isinstance(result, str):
        raise TypeError(f"names() must return a string, got {result!r} for {name!r}")
    return result


def _substituted(pairs: list[tuple[str, str]], name: str) -> str:
    try:
        matches = [(re.fullmatch(pattern, name), to) for pattern, to in pairs]
    except re.error as error:
        raise ValueError(f"names: invalid regular expression: {error}") from error
    hits = [(match, to) for match, to in matches if match]
    if len(hits) != 1:
        which = "".join(f" {match.re.pattern!r}" for match, _ in hits)
        raise ValueError(
            f"{name!r} matches {len(hits)} patterns of names{which}, but exactly one must match"
        )
    match, to = hits[0]
    return match.expand(to)
