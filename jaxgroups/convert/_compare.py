"""Run a torch module and its nnx counterpart on one input; name the first layer that differs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from flax import nnx
from jax.core import Tracer

from jaxgroups._printable import printable
from jaxgroups._wrap_calls import wrapped_calls
from jaxgroups.convert._files import copied
from jaxgroups.convert._files.show import counted, html_table
from jaxgroups.convert._model.names import Names, TorchNames
from jaxgroups.convert._model.structure import Path, Structure, dotted, of_nnx


@dataclass(frozen=True)
class Difference:
    """The outputs of one layer in both models.

    Attributes:
      torch, flax: the layer's name in each model.
      relative: the largest difference, relative to the largest value of torch's output; infinite
        where the shapes differ.
      torch_shape, flax_shape: the shapes of the outputs.
    """

    torch: str
    flax: str
    relative: float
    torch_shape: tuple[int, ...]
    flax_shape: tuple[int, ...]


@dataclass(frozen=True, repr=False)
class Comparison:
    """All layers that both models ran, in torch's order of execution.

    Attributes:
      layers: the difference of each layer's outputs.
      rtol: the largest relative difference allowed.
    """

    layers: list[Difference]
    rtol: float

    @property
    def first(self) -> Difference | None:
        """The first layer beyond `rtol`, or None."""
        return next((d for d in self.layers if not d.relative <= self.rtol), None)

    def __repr__(self) -> str:
        bad = sum(not d.relative <= self.rtol for d in self.layers)
        verdict = f"{bad} beyond" if bad else "all within"
        return f"Comparison({counted(len(self.layers), 'layer')}, {verdict} {self.rtol:g})"

    def _repr_html_(self) -> str:
        """The differences as an HTML table, for notebooks."""
        rows = [
            (d.torch, d.flax, f"{d.relative:.3g}", str(d.torch_shape), str(d.flax_shape))
            for d in self.layers
        ]
        header = ("torch", "flax", "relative difference", "torch shape", "flax shape")
        return html_table(repr(self), header, rows, [str(self)])

    def __str__(self) -> str:
        bad = self.first
        if bad is None:
            return f"{len(self.layers)} layers agree within {self.rtol:g}"
        where = printable(f"{bad.torch} ({bad.flax})")
        return (
            f"first difference at {where}: {bad.relative:.3g} relative, allowed "
            f"{self.rtol:g}; torch {bad.torch_shape}, Flax {bad.flax_shape}"
        )


def compare(
    torch_module: Any,
    model: nnx.Module,
    x: Any,
    *,
    names: Names = None,
    rtol: float = 1e-4,
    channels_last: bool = True,
) -> Comparison:
    """Compare the outputs of all layers of both models on one input; neither model is changed.

    Args:
      torch_module: the torch module, in evaluation mode.
      model: the nnx model, in evaluation mode.
      x: a numpy array in torch's layout, or a tuple of them for several arguments.
      names: as in `plan`.
      rtol: the largest difference allowed, relative to the largest value of torch's output.
      channels_last: whether arrays of three or more axes are ``(N, C, *spatial)``, which the nnx
        model gets as ``(N, *spatial, C)``; False gives it what torch gets. Outputs are compared in
        the order of axes that fits.

    Returns:
      The difference of each layer that has the same torch name in both models.

    Raises:
      ValueError: torch's module is in training mode, or no layer has a counterpart.
    """
    if torch_module.training:
        raise ValueError(
            "call .eval() on both models first: training mode would change their statistics"
        )
    arrays = [np.asarray(a) for a in (x if isinstance(x, tuple) else (x,))]
    theirs = _run_torch(torch_module, arrays)
    model = nnx.clone(model)
    structure = of_nnx(model)
    ours = _run_nnx(model, structure, [_last(a) if channels_last else a for a in arrays])
    torch_names = TorchNames(structure, names, prefix="")
    by_name = {}
    for path in ours:
        by_name.setdefault(torch_names.of(path), path)
    layers = []
    for name, value in theirs.items():
        if name in by_name:
            path = by_name[name]
            layers.append(_difference(name, dotted(path), value, ours[path]))
    if not layers:
        raise ValueError("no layer of the torch module has a counterpart of its name in the model")
    return Comparison(layers, rtol)


def _run_torch(module: Any, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
    """First output of every module, by name, in order of execution."""
    import torch  # installed, since the caller has a torch module

    outputs: dict[str, np.ndarray] = {}

    def note(name: str, output: Any) -> None:
        if isinstance(output, tuple) and output:  # attention also returns its weights
            output = output[0]
        if isinstance(output, torch.Tensor) and name not in outputs:
            outputs[name] = copied(output)

    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: note(name, output))
        for name, module in module.named_modules()
    ]
    try:
        with torch.no_grad():
            module(*[torch.from_numpy(a.copy()) for a in arrays])
    finally:
        for hook in hooks:
            hook.remove()
    return outputs


def _run_nnx(
    model: nnx.Module, structure: Structure, arrays: list[np.ndarray]
) -> dict[Path, np.ndarray]:
    """First output of every module, by path, in order of execution."""
    outputs: dict[Path, np.ndarray] = {}
    paths = {id(layer): path for path, layer in structure.layers.items()}

    def note(call: Any, layer: Any, args: tuple, kwargs: dict) -> Any:
        out = call(*args, **kwargs)
        path = paths.get(id(layer))
        if path is not None and hasattr(out, "shape") and not isinstance(out, Tracer):
            outputs.setdefault(path, np.asarray(out))
        return out

    kinds = {type(layer) for layer in structure.layers.values() if callable(layer)}
    with wrapped_calls(kinds, note):
        model(*arrays)  # pyright: ignore[reportCallIssue]
    return outputs


def _last(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, 1, -1) if x.ndim >= 3 else x


def _difference(name: str, path: str, theirs: np.ndarray, ours: np.ndarray) -> Difference:
    """Compare in the order of axes that fits; if both fit, in the one with the smaller error."""
    fitting = [order for order in (_last(theirs), theirs) if order.shape == ours.shape]
    errors = [_relative(order, ours) for order in fitting]
    # a NaN stays NaN, which no limit allows
    error = min(errors, key=lambda e: (np.isnan(e), e), default=float("inf"))
    return Difference(name, path, error, theirs.shape, ours.shape)


def _relative(expected: np.ndarray, actual: np.ndarray) -> float:
    wide = np.complex128 if np.iscomplexobj(expected) else np.float64
    expected, actual = expected.astype(wide), actual.astype(wide)
    scale = max(float(np.abs(expected).max(initial=0)), float(np.finfo(np.float32).tiny))
    with np.errstate(invalid="ignore"):
        return float(np.abs(expected - actual).max(initial=0) / scale)
