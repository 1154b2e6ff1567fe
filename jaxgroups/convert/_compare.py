"""Run a torch module and its nnx counterpart side by side; name the first layer that differs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from flax import nnx

from jaxgroups.convert._names import Names, torch_name
from jaxgroups.convert._structure import of_nnx


@dataclass(frozen=True)
class Difference:
    """Outputs of one layer: largest difference, relative to the largest torch value."""

    torch: str
    flax: str
    relative: float
    torch_shape: tuple[int, ...]
    flax_shape: tuple[int, ...]


@dataclass(frozen=True)
class Comparison:
    """All layers that both sides ran, in torch's order of execution."""

    layers: list[Difference]
    rtol: float

    @property
    def first(self) -> Difference | None:
        """The first layer beyond `rtol`, or None."""
        return next((d for d in self.layers if not d.relative <= self.rtol), None)

    def __str__(self) -> str:
        bad = self.first
        if bad is None:
            return f"{len(self.layers)} layers agree within {self.rtol:g}"
        return (
            f"first difference at {bad.torch} ({bad.flax}): {bad.relative:.3g} relative, allowed "
            f"{self.rtol:g}; torch {bad.torch_shape}, Flax {bad.flax_shape}"
        )


def compare(
    torch_module: Any, model: nnx.Module, x: Any, *, names: Names = None, rtol: float = 1e-4
) -> Comparison:
    """Outputs of all layers of both models on one input.

    Args:
      x: a numpy array in torch's layout, ``(N, C, *spatial)``; the nnx model gets it channels
        last where it has three or more axes. Layers' outputs are compared in the same way.
      names: as in `plan`.

    Raises:
      ValueError: no layer has a counterpart.
    """
    import torch  # the caller has a torch module, so it is there

    theirs: dict[str, np.ndarray] = {}

    def note(name: str, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            theirs.setdefault(name, output.detach().cpu().numpy().copy())

    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: note(name, output))
        for name, module in torch_module.named_modules()
    ]
    try:
        with torch.no_grad():
            torch_module(torch.from_numpy(np.asarray(x)))
    finally:
        for hook in hooks:
            hook.remove()

    structure = of_nnx(model)
    with _recorded(structure.layers) as ours:
        model(_last(np.asarray(x)))
    by_name = {}
    for path in ours:
        by_name.setdefault(torch_name(structure, path, names, ""), path)
    layers = []
    for name, value in theirs.items():
        if name in by_name:
            path = by_name[name]
            layers.append(_difference(name, ".".join(map(str, path)), value, ours[path]))
    if not layers:
        raise ValueError("no layer of the torch module has a counterpart of its name in the model")
    return Comparison(layers, rtol)


def _last(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, 1, -1) if x.ndim >= 3 else x


def _difference(name: str, path: str, theirs: np.ndarray, ours: np.ndarray) -> Difference:
    expected = theirs if theirs.shape == ours.shape and theirs.ndim < 3 else _last(theirs)
    if expected.shape != ours.shape:
        return Difference(name, path, float("inf"), theirs.shape, ours.shape)
    scale = max(float(np.abs(expected).max(initial=0)), np.finfo(np.float32).tiny)
    error = float(np.abs(expected - ours).max(initial=0) / scale)
    return Difference(name, path, error, theirs.shape, ours.shape)


@contextmanager
def _recorded(layers: dict[Any, Any]) -> Iterator[dict[Any, np.ndarray]]:
    """First output of every module, by path; the classes' ``__call__`` is wrapped meanwhile."""
    outputs: dict[Any, np.ndarray] = {}
    paths = {id(layer): path for path, layer in layers.items()}
    wrapped = {}
    for kind in {type(layer) for layer in layers.values() if callable(layer)}:
        call = kind.__call__

        def note(self: Any, *args: Any, call: Any = call, **kwargs: Any) -> Any:
            out = call(self, *args, **kwargs)
            path = paths.get(id(self))
            if path is not None and hasattr(out, "shape"):
                outputs.setdefault(path, np.asarray(out))
            return out

        wrapped[kind] = vars(kind).get("__call__")
        kind.__call__ = note
    try:
        yield outputs
    finally:
        for kind, call in wrapped.items():
            if call is None:
                del kind.__call__
            else:
                kind.__call__ = call
