"""Run a torch module and its nnx counterpart on one input; name the first layer that differs.

trace    the outputs of all modules of both models
axes     the order of axes in which two outputs are compared
blocks   containers that end elsewhere, while all that is in them and after them agrees
result   the differences, as text and as HTML
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import nnx

from jaxgroups.convert._compare.axes import ChannelAxes, aligned, flat_features, last
from jaxgroups.convert._compare.blocks import end_elsewhere
from jaxgroups.convert._compare.result import Comparison, Difference
from jaxgroups.convert._compare.trace import run_nnx, run_torch
from jaxgroups.convert._model.names import Names, TorchNames
from jaxgroups.convert._model.structure import Path, dotted, of_nnx
from jaxgroups.convert._rules.ops import ChannelsLast

__all__ = ["Comparison", "Difference", "compare", "compare_as_they_are"]


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

    Outputs of different shapes are compared if moving torch's channels to the end makes the shapes
    equal. Where the shapes do not tell whether to move them (equal sizes), the kind of layer does:
    a convolution's channels are moved, a Linear's features are last already. An output of a
    container is taken as the layers that make it or read it take it, or else by `channels_last`.
    The values never decide.

    Args:
      torch_module: the torch module, in evaluation mode.
      model: the nnx model, in evaluation mode.
      x: a numpy array in torch's layout, or a tuple of them for several arguments.
      names: as in `plan`.
      rtol: the largest difference allowed, relative to the largest value of torch's output.
      channels_last: whether arrays of three or more axes are ``(N, C, *spatial)``, which the nnx
        model gets as ``(N, *spatial, C)``; False gives it what torch gets.

    Returns:
      The difference of each layer that has the same torch name in both models. A container whose
      output differs, but whose layers and whose successor agree, is under ``blocks``: the two
      models end it at different places, and `names` maps it for the sake of what it holds.

    Raises:
      ValueError: torch's module is in training mode, or no layer has a counterpart.
    """
    if torch_module.training:
        raise ValueError(
            "call .eval() on both models first: training mode would change their statistics"
        )
    arrays = [np.asarray(a) for a in (x if isinstance(x, tuple) else (x,))]
    return compare_as_they_are(
        torch_module,
        nnx.clone(model),
        arrays,
        names=names,
        rtol=rtol,
        channels_last=channels_last,
    )


def compare_as_they_are(
    torch_module: Any,
    model: nnx.Module,
    arrays: list[np.ndarray],
    *,
    names: Names,
    rtol: float,
    channels_last: bool,
    features: Mapping[str, ChannelsLast] | None = None,
    partial: bool = False,
) -> Comparison:
    """As `compare`, in the mode that the models are in; their statistics may change.

    Args:
      features: for torch layers that read a flattened feature map, how its values lie in Flax.
      partial: whether the modules before an error of the nnx model are enough.
    """
    theirs = run_torch(torch_module, arrays)
    structure = of_nnx(model)
    given = [last(a, 1) if channels_last and a.ndim >= 3 else a for a in arrays]
    ours: dict[Path, np.ndarray] = {}
    try:
        run_nnx(model, structure, given, ours)
    except Exception:
        if not partial:
            raise
    torch_names = TorchNames(structure, names, prefix="")
    by_name = {}
    for path in ours:  # what a container holds comes before the container
        by_name.setdefault(torch_names.of(path), path)
    channel_axes = ChannelAxes(theirs, 1 if channels_last else -1)
    flattened = flat_features(theirs, features or {})
    found = {}
    for call in theirs:
        if call.name in by_name:
            path = by_name[call.name]
            orders = aligned(call.output, ours[path], channel_axes.of(call))
            if call.makes.key in flattened and call.output.shape == ours[path].shape:
                orders = [flattened[call.makes.key](call.output)]
            found[call.name] = _difference(call.name, dotted(path), orders, call.output, ours[path])
    if not found:
        raise ValueError("no layer of the torch module has a counterpart of its name in the model")
    different = {name for name, d in found.items() if not d.relative <= rtol}
    elsewhere = end_elsewhere(theirs, found.keys(), different)
    return Comparison(
        [d for name, d in found.items() if name not in elsewhere],
        rtol,
        [d for name, d in found.items() if name in elsewhere],
    )


def _difference(
    name: str, path: str, orders: list[np.ndarray], theirs: np.ndarray, ours: np.ndarray
) -> Difference:
    """Compare in the first of the orders; the others are for the error message only."""
    errors = [_relative(order, ours) for order in orders]
    error = errors[0] if errors else float("inf")
    in_other_order = errors[1] if len(errors) > 1 else None
    return Difference(name, path, error, theirs.shape, ours.shape, in_other_order)


def _relative(expected: np.ndarray, actual: np.ndarray) -> float:
    """The largest difference; a NaN stays NaN, which no limit allows."""
    wide = np.complex128 if np.iscomplexobj(expected) else np.float64
    expected, actual = expected.astype(wide), actual.astype(wide)
    scale = max(float(np.abs(expected).max(initial=0)), float(np.finfo(np.float32).tiny))
    with np.errstate(invalid="ignore"):
        return float(np.abs(expected - actual).max(initial=0) / scale)
