"""The axes of an nnx model's parameters without an example, by trying inputs that suit its layers.

The order of a flattened feature map does not depend on the number of positions, so the size of the
input does not matter. Where a Linear, a norm or an LSTM gets another number of features than it
needs, because the input is of another size, the number of positions is changed there.
"""

import inspect
from collections.abc import Callable, Iterator
from math import isqrt
from typing import Any

import jax
from flax import nnx
from jax.extend import core

from jaxgroups import nnx as jg_nnx
from jaxgroups._wrap_calls import wrapped_calls
from jaxgroups.convert._model.structure import Structure
from jaxgroups.convert._order.trace import Axes, axes_of
from jaxgroups.convert._rules import norms, recurrent

_WIDTHS = {  # common sizes of inputs by rank
    1: (1024, 16000, 256, 64, 4096),
    2: (64, 32, 28, 224, 96, 256, 128, 84, 512, 16),
    3: (32, 16, 64, 112),
}
_COLOURS = 3
_CONVOLUTIONS = (jg_nnx.Layer, nnx.Conv, nnx.ConvTranspose)
_FLAGS = {
    "train": False,
    "training": False,
    "is_training": False,
    "deterministic": True,
    "inference": True,
    "use_running_average": True,
}
_FEATURES = {
    nnx.Linear: "in_features",
    nnx.BatchNorm: "num_features",
    nnx.LayerNorm: "num_features",
    nnx.RMSNorm: "num_features",
    **dict.fromkeys(norms.BATCH_NORMS, "num_features"),
    **dict.fromkeys(recurrent.OURS, "input_size"),
}

_any_width_p = core.Primitive("jaxgroups_any_width")
_any_width_p.def_abstract_eval(
    lambda x, *, axis, size: x.update(shape=(*x.shape[:axis], size, *x.shape[axis + 1 :]))
)


def may_flatten_an_image(structure: Structure) -> bool:
    """Whether no layer shows that the input is an image, or that it is none.

    A general linear layer names the axes that it reads together.
    """
    return not any(
        isinstance(layer, _CONVOLUTIONS)
        or (isinstance(layer, nnx.LinearGeneral) and isinstance(layer.axis, tuple))
        for layer in structure.layers.values()
    )


def axes_by_probe(model: nnx.Module, structure: Structure) -> Axes | None:
    """The axes, with the first input that the model accepts; None if it accepts none.

    A vector with the right number of features is preferred to an image without it: a decoder that
    begins with a Linear accepts images too, since a Linear accepts any number of axes.
    """
    flags = _flags(model)
    if flags is None:
        return None
    kinds = {type(layer) for layer in structure.layers.values() if _features(layer) is not None}
    widened: list[Any] = []
    first: Axes | None = None

    def with_its_width(call: Callable[..., Any], layer: Any, args: tuple, kwargs: dict) -> Any:
        x: Any = args[0] if args else None
        if 0 in getattr(x, "shape", ()):
            raise ValueError("the input is too small for the model")
        for axis, size in _features(layer) or ():
            if getattr(x, "ndim", 0) > axis and x.shape[axis] != size:
                x = _any_width_p.bind(x, axis=axis % x.ndim, size=size)
                widened.append(layer)
        return call(*(x, *args[1:]) if args else (), **kwargs)

    with wrapped_calls(kinds, with_its_width):
        for example in _examples(structure):
            if first is not None and len(example.shape) > 2:
                continue
            widened.clear()
            try:
                found = axes_of(model, structure, (example, *flags))
            except Exception:  # the model's own code may raise any error
                continue
            if not widened:
                return found
            first = found if first is None else first
    return first


def _features(layer: Any) -> list[tuple[int, int]] | None:
    """The axes of a layer's input with a fixed length, and the length; None for other layers."""
    if isinstance(layer, nnx.LinearGeneral):
        axis, size = layer.axis, layer.in_features
        pairs = zip(axis, size, strict=True) if isinstance(axis, tuple) else [(axis, size)]
        return [(a, int(n[0] if isinstance(n, tuple) else n)) for a, n in pairs]
    if isinstance(layer, norms.TRAILING_NORMS):
        sizes = layer.normalized_shape
        return [(axis - len(sizes), size) for axis, size in enumerate(sizes)]
    names = [name for kind, name in _FEATURES.items() if isinstance(layer, kind)]
    return [(-1, getattr(layer, names[0]))] if names else None


def _flags(model: Any) -> list[bool] | None:
    """Values of the required arguments after the first; None if they are not known flags."""
    try:
        parameters = list(inspect.signature(model).parameters.values())
    except (TypeError, ValueError):  # cannot be called
        return None
    ordinary = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p.name for p in ordinary[1:] if p.default is p.empty]
    only_named = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if not ordinary or only_named or any(name not in _FLAGS for name in needed):
        return None
    return [_FLAGS[name] for name in needed]


def _examples(structure: Structure) -> Iterator[jax.ShapeDtypeStruct]:
    """Inputs for layers that no other layer feeds: convolutions first, then Linears.

    A model without convolutions may flatten an image, so images are tried before vectors.
    """
    made: set[int] = set()
    convs: dict[tuple[int, int], None] = {}
    linears: dict[int, None] = {}
    for layer in structure.layers.values():
        if isinstance(layer, nnx.Linear):
            made.add(layer.out_features)
            linears[layer.in_features] = None
        elif isinstance(layer, _CONVOLUTIONS):
            made.add(_channels(layer, "out"))
            convs[len(layer.kernel.shape) - 2, _channels(layer, "in")] = None
    free = sorted((c for c in convs if c[1] not in made or c[1] <= 4), key=lambda c: c[1])
    sides = [isqrt(n) for n in linears if isqrt(n) ** 2 == n > 1][:4]  # of maps mixed as one axis
    for rank, channels in (free or sorted(convs))[:2]:
        for width in (*_WIDTHS.get(rank, ()), *(sides if rank == 2 else ())):
            yield jax.ShapeDtypeStruct((1, *(width,) * rank, channels), "float32")
    widths = [n for n in linears if n not in made][:2]
    if may_flatten_an_image(structure):
        for width in dict.fromkeys([*widths, *list(linears)[:1]]):
            colours = next((n for n in range(2, width) if width % n == 0), width)
            yield jax.ShapeDtypeStruct((1, width // colours, 1, colours), "float32")
        for width in (*_WIDTHS[2][:3], *sides):
            yield jax.ShapeDtypeStruct((1, width, width, _COLOURS), "float32")
    for width in widths:
        yield jax.ShapeDtypeStruct((1, width), "float32")


def _channels(layer: Any, side: str) -> int:
    names = (f"{side}_channels", f"{side}_features")
    return next(getattr(layer, name) for name in names if hasattr(layer, name))
