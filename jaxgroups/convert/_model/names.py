"""Torch names of Flax modules: the path, joined; told otherwise by the user, never searched."""

import re
from collections.abc import Callable, Mapping, Sequence

from flax import linen as nn
from flax import nnx

from jaxgroups.convert._model.structure import Path, Structure, dotted

Names = Mapping[str, str] | Sequence[tuple[str, str]] | Callable[[str], str] | None


def default(structure: Structure, path: Path) -> str:
    """Dotted path, and of what lies in a Sequential its number alone, as in torch.

    nnx.Sequential puts ``layers`` between itself and its items, linen's names them ``layers_0``.
    """
    parts = []
    for i, part in enumerate(path):
        above = structure.at(path[:i])
        if part == "layers" and isinstance(above, nnx.Sequential):
            continue
        number = re.fullmatch(r"layers_(\d+)", str(part))
        parts.append(number[1] if number and isinstance(above, nn.Sequential) else part)
    return dotted(tuple(parts))


def torch_name(structure: Structure, path: Path, names: Names, prefix: str) -> str:
    """Torch's name of the module, or of the bare parameter, at a Flax path.

    `names` is a mapping from Flax paths to torch names, the longest matching path wins and what
    follows it stays; or (regex, replacement) pairs of which exactly one must match the whole
    default name; or a function of the default name.

    Raises:
      ValueError: no pair matches, or more than one.
    """
    name = default(structure, path)
    if callable(names):
        told_name = names(name)
        if not isinstance(told_name, str):
            raise TypeError(f"names makes {told_name!r} of {name!r}, which is no text")
        name = told_name
    elif isinstance(names, Mapping):
        name = _mapped(structure, path, names, name)
    elif names is not None:
        try:
            found = [(re.fullmatch(r, name), to) for r, to in names]
        except re.error as error:
            raise ValueError(f"names has no regular expression: {error}") from error
        hits = [(match, to) for match, to in found if match]
        if len(hits) != 1:
            which = "".join(f" {match.re.pattern!r}" for match, _ in hits)
            raise ValueError(
                f"{name!r} is matched by {len(hits)} of the names patterns{which}, and it must "
                "be exactly one"
            )
        match, to = hits[0]
        name = match.expand(to)
    return prefix + name


def bare(structure: Structure, path: str) -> str:
    """A path as users write it, without the collection that linen puts in front of it."""
    return path.removeprefix("params.") if structure.kind == "linen" else path


def told(structure: Structure, names: Names, path: Path) -> str | None:
    """The torch name that a mapping tells for exactly this path."""
    if callable(names) or not isinstance(names, Mapping):
        return None
    table = {bare(structure, key): to for key, to in names.items()}
    return table.get(dotted(path))


def _mapped(structure: Structure, path: Path, names: Mapping[str, str], name: str) -> str:
    table = {bare(structure, key): value for key, value in names.items()}
    for length in range(len(path), 0, -1):
        head = dotted(path[:length])
        if head in table:
            # the rest is named as usual, from where the named part ends
            front = default(structure, path[:length])
            rest = name[len(front) :].lstrip(".")
            return ".".join(part for part in (table[head], rest) if part)
    return name
