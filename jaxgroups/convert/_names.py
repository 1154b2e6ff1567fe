"""Torch names of Flax modules: the path, joined; told otherwise by the user, never searched."""

import re
from collections.abc import Callable, Mapping, Sequence

from flax import nnx

from jaxgroups.convert._structure import Path, Structure, dotted

Names = Mapping[str, str] | Sequence[tuple[str, str]] | Callable[[str], str] | None


def default(structure: Structure, path: Path) -> str:
    """Dotted path, without the ``layers`` that nnx.Sequential puts between itself and its items."""
    parts = [
        part
        for i, part in enumerate(path)
        if not (part == "layers" and isinstance(structure.layers.get(path[:i]), nnx.Sequential))
    ]
    return dotted(tuple(parts))


def torch_name(structure: Structure, path: Path, names: Names, prefix: str) -> str:
    """Torch's name of the module (or bare parameter) at a Flax path.

    `names` is a mapping from Flax paths to torch names, the longest matching path wins and what
    follows it stays; or (regex, replacement) pairs of which exactly one must match the whole
    default name; or a function of the default name.

    Raises:
      ValueError: no pair matches, or more than one.
    """
    name = default(structure, path)
    if callable(names):
        name = names(name)
    elif isinstance(names, Mapping):
        name = _mapped(structure, path, names, name)
    elif names is not None:
        hits = [(r, to) for r, to in names if re.fullmatch(r, name)]
        if len(hits) != 1:
            raise ValueError(
                f"{name!r} is matched by {len(hits)} of the names patterns"
                f"{''.join(f' {r!r}' for r, _ in hits)}, and it must be exactly one"
            )
        name = re.sub(hits[0][0], hits[0][1], name)
    return prefix + name


def _mapped(structure: Structure, path: Path, names: Mapping[str, str], name: str) -> str:
    table = {key.removeprefix("params."): value for key, value in names.items()}
    for length in range(len(path), 0, -1):
        head = dotted(path[:length])
        if head in table:
            # the rest is named as usual, from where the named part ends
            whole, front = default(structure, path), default(structure, path[:length])
            rest = whole[len(front) :].lstrip(".")
            return ".".join(part for part in (table[head], rest) if part)
    return name
