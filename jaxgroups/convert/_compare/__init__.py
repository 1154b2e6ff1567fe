"""Run a torch module and an nnx model on one input; find the first layer that differs.

trace    the outputs of all modules of both models
axes     the order of axes in which two outputs are compared
blocks   containers with different ends in the two models, although their layers agree
result   the differences, as text and as HTML
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import nnx

from jaxgroups.convert._compare.axes import ChannelAxes, aligned, flat_features, last
from jaxgroups.convert._compare.blocks import with_other_ends
from jaxgroups.convert._compare.result import Comparison, Difference
from jaxgroups.convert._compare.trace import is_layer, run_nnx, run_torch
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

    Outputs are compared with torch's channels at the end, if that makes the shapes equal. Where
    both orders have the same shape, the kind of layer decides: the channels of a convolution are
    axis 1 in torch, the features of a Linear are last. The output of a container has the order of
    the layers that compute or read it, or else that of `channels_last`. The values never decide.

    Args:
      torch_module: the torch module, in evaluation mode.
      model: the nnx model, in evaluation mode.
      x: a numpy array in torch's layout, or a tuple of them for several arguments.
      names: as in `plan`.
      rtol: the largest difference allowed, relative to the largest value of torch's output.
      channels_last: whether arrays of three or more axes are ``(N, C, *spatial)``, which the nnx
        model gets as ``(N, *spatial, C)``; False gives it what torch gets.

    Returns:
      The differences of all layers with the same torch name in both models. A container whose
      output differs, although its layers and its successor agree, is listed under ``blocks``: it
      ends with another layer in the other model. Layers of torch without a counterpart are listed
      under ``uncompared``.

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
      torch_module, model, arrays, names, rtol, channels_last: as in `compare`.
      features: the reordering of the input of torch layers that read a flattened feature map.
      partial: whether to compare the modules before an error of the nnx model; else it is raised.
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
    for path in ours:  # the layers of a container come before the container
        by_name.setdefault(torch_names.of(path), path)
    channel_axes = ChannelAxes(theirs, 1 if channels_last else -1)
    flattened = flat_features(theirs, features or {})
    compared = {}
    for call in theirs:
        if call.name in by_name:
            path = by_name[call.name]
            orders = aligned(call.output, ours[path], channel_axes.of(call))
            if call.makes.key in flattened and call.output.shape == ours[path].shape:
                orders = [flattened[call.makes.key](call.output)]
            compared[call.name] = _difference(call.name, path, orders, call.output, ours[path])
    if not compared:
        raise ValueError("no layer of the torch module has a counterpart of its name in the model")
    different = {name for name, d in compared.items() if not d.relative <= rtol}
    other_ends = with_other_ends(theirs, compared.keys(), different)
    return Comparison(
        [d for name, d in compared.items() if name not in other_ends],
        rtol,
        [d for name, d in compared.items() if name in other_ends],
        [call.name for call in theirs if call.name not in compared and is_layer(call)],
    )


def _difference(
    name: str, path: Path, orders: list[np.ndarray], theirs: np.ndarray, ours: np.ndarray
) -> Difference:
    """The difference in the first of the orders; the second one is for the message only."""
    errors = [_relative(order, ours) for order in orders]
    error = errors[0] if errors else float("inf")
    in_other_order = errors[1] if len(errors) > 1 else None
    return Difference(name, dotted(path), error, theirs.shape, ours.shape, in_other_order)


def _relative(expected: np.ndarray, actual: np.ndarray) -> float:
    """The largest difference, relative to the largest value; NaN if either array has NaN."""
    wide = np.complex128 if np.iscomplexobj(expected) else np.float64
    expected, actual = expected.astype(wide), actual.astype(wide)
    scale = max(float(np.abs(expected).max(initial=0)), float(np.finfo(np.float32).tiny))
    with np.errstate(invalid="ignore"):
        return float(np.abs(expected - actual).max(initial=0) / scale)
