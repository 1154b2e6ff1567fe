"""Sizes for which the original takes another branch than for the example.

While torch traces, a comparison of a size narrows the range of that size. So does a window that
must fit into an image: then the original fails for sizes outside of the range, and there is nothing
to tell. Whether it fails is tried, without computing.
"""

import logging
from collections.abc import Iterator
from typing import Any

from jaxgroups.port._training import call_without_data

LEAST, MOST = 8, 4096  # sizes below and above these are not tried


def branches(program: Any, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
    """What to say of the ranges of sizes that torch traced.

    Args:
      program: of ``torch.export``.
      module, args, kwargs: what it was made of.
    """
    import torch

    tree: Any = torch.utils
    leaves, structure = tree._pytree.tree_flatten((args, kwargs))
    tensors = [i for i, x in enumerate(leaves) if isinstance(x, torch.Tensor)]
    given = {*program.graph_signature.user_inputs}
    held = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in given]
    held = [node for node in held if isinstance(node.meta.get("val"), torch.Tensor)]
    if len(held) != len(tensors):
        return []
    notes = []
    for number, (node, place) in enumerate(zip(held, tensors, strict=True)):
        for axis, size in enumerate(node.meta["val"].shape):
            for limit, outside, side in _limits(torch, program, size):
                other = list(leaves)
                shape = list(leaves[place].shape)
                shape[axis] = outside
                other[place] = torch.empty(shape, dtype=leaves[place].dtype, device="meta")
                if _runs(module, *tree._pytree.tree_unflatten(other, structure)):
                    notes.append(
                        f"input {number}: the original may do something else if the size of axis "
                        f"{axis} is {side} {limit}"
                    )
    return notes


def _limits(torch: Any, program: Any, size: Any) -> Iterator[tuple[int, int, str]]:
    """The limits of a size: the last one inside, the first one outside, and the side."""
    if not isinstance(size, torch.SymInt):
        return
    symbols = [*size.node.expr.free_symbols]
    found = program.range_constraints.get(symbols[0]) if len(symbols) == 1 else None
    if found is None:
        return
    expr = size.node.expr

    def of(n: int) -> int:
        return int(expr.subs(symbols[0], n))

    if LEAST < found.lower < MOST:
        yield of(int(found.lower)), of(int(found.lower) - 1), "less than"
    if found.upper < MOST:
        yield of(int(found.upper)), of(int(found.upper) + 1), "more than"


def _runs(module: Any, args: Any, kwargs: Any) -> bool:
    """Whether the module takes inputs of these shapes."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # it logs what is raised
    try:
        call_without_data(module, args, kwargs)
    except Exception:  # a module may raise anything for sizes that it does not take
        return False
    finally:
        logger.setLevel(level)
    return True
