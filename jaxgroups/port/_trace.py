"""From a torch module to a `Graph`, by ``torch.export``.

Hooks put a mark into the traced graph where a module is called and where it returns, with the
tensors that go in and out. So the calls nest as in the original, and every argument has its name.
"""

import copy
import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jaxgroups.port._errors import PortError
from jaxgroups.port._graph import Call, Graph
from jaxgroups.port._marks import marks, own_gradients
from jaxgroups.port._ranges import branches
from jaxgroups.port._read import Reader
from jaxgroups.port._training import modes


def trace(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Graph:
    """Run the module on the example, symbolically in all sizes that it does not fix.

    Args:
      module: a ``torch.nn.Module`` in evaluation mode.
      args, kwargs: its inputs, tensors or structures of them.

    Raises:
      PortError: torch cannot export the module.
    """
    import torch

    kind, base = type(module), torch.nn.Module
    if kind.__call__ is not base.__call__ and kind.forward is not base.forward:
        raise PortError(
            f"{kind.__name__} defines __call__ besides forward, which torch.export does not run: "
            "port a module that calls it"
        )
    source, module = module, _copy(module)
    paths: dict[int, list[str]] = {}
    for path, one in module.named_modules(remove_duplicate=False):
        paths.setdefault(id(one), []).append(path)
    calls: dict[str, Call] = {}
    trees: dict[str, Any] = {}
    functions: list[str] = []
    with marks(module, paths, calls, trees), own_gradients(functions), _symbols():
        program, axes = _exported(torch, module, args, kwargs, calls)
    found = modes(module, args, kwargs)
    graph = Reader(program, source, calls, trees, found).graph()
    graph.notes += branches(program, module, args, kwargs)
    graph.notes += [
        f"{name} computes gradients by a rule of its own, which is not ported: those of what it "
        "computes may differ"
        for name in functions
    ]
    graph.fixed, graph.example_only = _FIXED[axes], axes < 2
    return graph


def _copy(module: Any) -> Any:
    """A copy with the same tensors, since torch leaves others in modules that are shared."""
    tensors = [*module.parameters(), *module.buffers()]
    try:
        return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})
    except Exception:  # torch traces most modules without a copy too
        return module


def _multiple(torch: Any, axis: int, size: int) -> Any:
    """A symbolic size that is a multiple of MULTIPLES, as `size` is; equal ones stay equal."""
    return MULTIPLES * torch.export.Dim(f"_axis{axis}_of_{size}", min=2, max=4096)


@contextmanager
def _symbols() -> Iterator[None]:
    """Within the block equal sizes are different symbols, and torch logs nothing about sizes."""
    import torch

    settings: Any = torch.fx.experimental._config  # type: ignore[attr-defined]
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with settings.patch(use_duck_shape=False):
            yield
    finally:
        logger.setLevel(level)


MULTIPLES = 32  # what most networks of images divide their sizes by

# by the number of axes whose sizes are symbols, what is to be said
_FIXED: dict[int, list[str]] = {
    8: [],
    MULTIPLES: [
        f"torch can trace it for image sizes that are multiples of {MULTIPLES} only: for others it "
        "may compute something else"
    ],
    1: ["torch can trace it for the image size of the example only: constants may depend on it"],
    0: ["torch can trace it for the sizes of the example only: constants may depend on them"],
}


def _exported(
    torch: Any, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], calls: dict[str, Call]
) -> tuple[Any, int]:
    """The program, with fixed sizes only if torch finds no other, and the key of _FIXED."""
    auto = torch.export.Dim.AUTO

    def dynamic(x: Any, axes: int) -> Any:
        if isinstance(x, torch.Tensor) and axes == MULTIPLES and x.ndim > 3:
            sizes = {i: _multiple(torch, i, n) for i, n in enumerate(x.shape) if i > 1}
            return {0: auto} | sizes if x.shape[0] > 1 else sizes
        if isinstance(x, torch.Tensor):
            return {i: auto for i, size in enumerate(x.shape[:axes]) if size > 1} or None
        if isinstance(x, list | tuple):
            return type(x)(dynamic(one, axes) for one in x)
        if isinstance(x, dict):
            return {key: dynamic(one, axes) for key, one in x.items()}
        return None

    errors = []
    parameters = [*inspect.signature(module.forward).parameters]
    tensors = [x for x in torch.utils._pytree.tree_leaves((args, kwargs)) if hasattr(x, "shape")]
    sizes = [n for x in tensors if x.ndim > 3 for n in x.shape[2:]]
    images = sizes and all(n % MULTIPLES == 0 and n > MULTIPLES for n in sizes)
    # all sizes, images of round sizes, the batch alone, none: as many as torch can solve for
    for axes in (8, *([MULTIPLES] if images else []), 1, 0):
        shapes: dict[str, Any] = dict(
            zip(parameters, (dynamic(x, axes) for x in args), strict=False)
        )
        shapes |= {name: dynamic(x, axes) for name, x in kwargs.items()}
        calls.clear()
        try:
            program = torch.export.export(
                module, args, kwargs, dynamic_shapes=shapes if axes else None, strict=False
            )
            return program, axes
        except Exception as error:  # torch raises errors of many kinds
            errors.append(error)
    last = errors[-1]
    text = str(last).strip().split("\n")[0]
    raise PortError(
        f"torch.export cannot trace the module: {type(last).__name__}: {text}"
    ) from last
