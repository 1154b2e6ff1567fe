"""Warnings on the settings of Flax's max pools in a traced model."""

from collections import Counter
from collections.abc import Iterator
from typing import Any


def pool_warnings(closed: Any) -> list[str]:
    """The warnings for a closed jaxpr; equal ones are given once, with their number."""
    found: Counter[str] = Counter()
    for equation in _equations(closed.jaxpr):
        if equation.primitive.name == "reduce_window_max":
            found.update(_pool(equation.params))
    return [f"max_pool{'' if n == 1 else f' ({n} times)'}: {text}" for text, n in found.items()]


def _pool(params: dict[str, Any]) -> list[str]:
    axes = [axis for axis, size in enumerate(params["window_dimensions"]) if size > 1]
    window, strides, padding = (
        tuple(tuple(map(int, v)) if isinstance(v, tuple) else int(v) for v in _at(values, axes))
        for values in (params["window_dimensions"], params["window_strides"], params["padding"])
    )
    texts = []
    if any(low != high for low, high in padding):  # type: ignore[misc]
        texts.append(
            f"padding={padding} of a window {window} with strides={strides} is no padding of "
            "torch's, which has padding=p on both sides alike: give explicit pairs, not 'SAME'"
        )
    elif axes and set(strides) == {1} and not any(map(any, padding)):  # type: ignore[arg-type]
        texts.append(
            f"a window {window} with strides={strides}, its default in Flax; torch's default is "
            f"the window: give strides={window}"
        )
    return texts


def _at(values: Any, axes: list[int]) -> list[Any]:
    return [values[axis] for axis in axes]


def _equations(jaxpr: Any) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _equations(inner)
