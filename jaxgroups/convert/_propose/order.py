"""The order of definition of a model and of a checkpoint, if it is known."""

import re
from collections.abc import Iterable
from typing import Any

from jaxgroups.convert._files import TensorInfo
from jaxgroups.convert._model.structure import Path, Structure, dotted

Key = tuple[Any, ...]


def of_model(structure: Structure, paths: Iterable[Path]) -> dict[Path, Key] | None:
    """A sorting key for each path; None if the order of definition is not known.

    linen modules are in the order of their calls. The attributes of an nnx model are in the order
    of its constructor, unless ``nnx.eval_shape`` or ``nnx.clone`` sorted them.
    """
    if structure.kind == "linen":
        number = {path: n for n, path in enumerate(structure.layers)}
        return {path: (_innermost(number, path), dotted(path)) for path in paths}
    names: dict[Path, list[str]] = {}
    for path, layer in structure.layers.items():
        names[path] = [name for name in vars(layer) if not name.startswith("_pytree__")]
    if all(attributes == sorted(attributes) for attributes in names.values()):
        return None
    return {path: _positions(names, path) for path in paths}


def _innermost(number: dict[Path, int], path: Path) -> int:
    heads = (path[:length] for length in range(len(path), -1, -1))
    return next((number[head] for head in heads if head in number), -1)


def _positions(names: dict[Path, list[str]], path: Path) -> Key:
    """The position of each part of a path among the attributes of its parent."""
    places = []
    for length, part in enumerate(path):
        known = names.get(path[:length], [])
        places.append(known.index(part) if part in known else natural(str(part))[0][1])
    return tuple((isinstance(place, str), place) for place in places)


def of_file(infos: dict[str, TensorInfo]) -> bool:
    """Whether the keys may be in the order of definition: they are not sorted within each dtype.

    The safetensors library sorts them by dtype and name.
    """
    by_dtype: dict[str, list[str]] = {}
    for key, info in infos.items():
        by_dtype.setdefault(info.dtype, []).append(key)
    return any(keys != sorted(keys) for keys in by_dtype.values())


def natural(name: str) -> Key:
    """A sorting key with ``layer.10`` after ``layer.2``."""
    parts = re.findall(r"\d+|\D+", name) or [""]
    return tuple((not p.isdecimal(), int(p) if p.isdecimal() else p) for p in parts)
