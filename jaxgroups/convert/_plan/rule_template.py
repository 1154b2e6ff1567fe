"""A proposed rule for a layer type that has none, as Python text for the error of a plan.

A parameter is paired with a tensor of the checkpoint under the layer's torch name, if the tensor
has the usual name or is the only one that fits.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import permutations

from jaxgroups._types import Shape

_USUAL = {  # Flax's name of a parameter: torch's
    "kernel": "weight",
    "embedding": "weight",
    "scale": "weight",
    "mean": "running_mean",
    "var": "running_var",
}
_MOST = 200  # tensors up to which all are compared with every parameter


def rule_template(kind: type, leaves: Mapping[str, Shape], tensors: Mapping[str, Shape]) -> str:
    """The text of a complete rule, with its imports.

    Args:
      kind: the layer type.
      leaves: shapes of the parameters by their paths within the layer.
      tensors: shapes of the unused torch tensors by their names within the layer.
    """
    lines, used = [], {"TensorRule", "register"}
    for leaf, name in _pairs(leaves, tensors).items():
        shape = tensors.get(name)
        op, doubt = ("", "") if shape is None else _operation(leaf, shape, leaves[leaf])
        used |= {op.split("(")[0]} if op else set()
        known = f"torch {shape}" if shape is not None else "torch's name is not known"
        comment = f"{leaves[leaf]}, {known}{doubt}"
        rule = f"TensorRule({_quoted(name)}{', ' + op if op else ''})"
        lines.append(f"        {_quoted(leaf)}: {rule},  # {comment}")
    where = kind.__module__
    imports = [f"from jaxgroups.convert import {', '.join(sorted(used, key=_import_order))}"]
    if where not in ("builtins", "__main__") and "<" not in kind.__qualname__:
        imports.append(f"from {where} import {kind.__qualname__.split('.')[0]}")
    name = kind.__name__ if "<" in kind.__qualname__ else kind.__qualname__
    head = [*imports, "", f"@register({name})", "def _(layer, shapes):", "    return {"]
    return "\n".join([*head, *lines, "    }"])


def _quoted(name: str) -> str:
    """A name, possibly from a file, as a Python string literal."""
    return f'"{name}"' if re.fullmatch(r"[\w.-]+", name, re.ASCII) else ascii(name)


def _import_order(name: str) -> tuple[bool, str]:
    return name.islower(), name


def _pairs(leaves: Mapping[str, Shape], tensors: Mapping[str, Shape]) -> dict[str, str]:
    """The name of the tensor of each parameter; its own name if none fits."""
    found: dict[str, str] = {}
    for leaf, shape in leaves.items():
        for name in _names(leaf):
            if name in tensors and name not in found.values() and _fits(tensors[name], shape):
                found[leaf] = name
                break
    while len(tensors) <= _MOST:  # each pair may leave a single candidate for another leaf
        rest = {leaf: shape for leaf, shape in leaves.items() if leaf not in found}
        free = {name: shape for name, shape in tensors.items() if name not in found.values()}
        new = next(_only(rest, free), None)
        if new is None:
            break
        found[new[0]] = new[1]
    return {leaf: found.get(leaf, leaf) for leaf in leaves}


def _names(leaf: str) -> list[str]:
    front, dot, last = leaf.rpartition(".")
    return [leaf, f"{front}{dot}{_USUAL.get(last, last)}"]


def _only(leaves: Mapping[str, Shape], tensors: Mapping[str, Shape]) -> Iterator[tuple[str, str]]:
    """Parameters and tensors that fit each other and nothing else."""
    for leaf, shape in leaves.items():
        fitting = [name for name, other in tensors.items() if _fits(other, shape)]
        if len(fitting) == 1:
            (name,) = fitting
            if [one for one, other in leaves.items() if _fits(tensors[name], other)] == [leaf]:
                yield leaf, name


def _without_ones(shape: Shape) -> list[int]:
    return [n for n in shape if n != 1]


def _fits(torch: Shape, flax: Shape) -> bool:
    return sorted(torch) == sorted(flax) or _without_ones(torch) == _without_ones(flax)


def _operation(leaf: str, torch: Shape, flax: Shape) -> tuple[str, str]:
    """The text of the operation between two fitting shapes, and a remark if it is ambiguous."""
    if sorted(torch) != sorted(flax):
        return f"Reshape({_in_terms(torch, flax, leaf)}, shapes[{_quoted(leaf)}])", ""
    n = len(flax)
    orders = [p for p in permutations(range(n)) if tuple(torch[a] for a in p) == flax]
    usual = tuple(range(n))
    if leaf.rpartition(".")[2] == "kernel" and n > 1:  # of Flax: (*k, in, out) of (out, in, *k)
        usual = (*range(2, n), 1, 0)
    order = usual if usual in orders else orders[0]
    doubt = "; equal sizes: check the order of the axes" if len(orders) > 1 else ""
    return ("" if order == tuple(range(n)) else f"Permute({order})"), doubt


def _in_terms(torch: Shape, flax: Shape, leaf: str) -> str:
    """torch's shape in terms of Flax's shape, so that it holds for layers of other sizes."""
    axes = [i for i, n in enumerate(flax) if n != 1]
    sizes = iter(axes)
    parts = ["1" if n == 1 else f"shapes[{_quoted(leaf)}][{next(sizes)}]" for n in torch]
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
