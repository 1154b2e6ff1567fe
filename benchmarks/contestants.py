"""One convolution, compiled: by PyTorch in two layouts, by lax, and by jaxgroups.

Mode "forward": the output for x and weight. Mode "gradients": those of x and weight for a given
cotangent of the output. No side computes the forward pass in that mode: `jax.vjp` of a bilinear
function needs no result of it, and XLA removes the one that it traces.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jaxgroups as jg
from benchmarks.data import Contestant, Data
from benchmarks.guard import predicted_seconds
from benchmarks.jax_side import by_jax, jaxgroups_function, lax_function
from benchmarks.torch_side import LAYOUTS, by_torch

MODES = ("forward", "gradients")


def all_of(
    spec: jg.ConvSpec,
    data: Data,
    mode: str,
    names: Iterable[str],
    limit: float = 60.0,
) -> Iterator[Contestant | tuple[str, str]]:
    """The contestants of a layer; for one that is left out, its name and the reason.

    A name is ``torch`` (two contestants), ``lax``, ``jaxgroups`` or ``jaxgroups.<lowering>``. A
    contestant is left out if a single call would take more than `limit` seconds.
    """
    for name in names:
        if name == "torch":
            yield from (by_torch(spec, data, mode, layout) for layout in LAYOUTS)
            continue
        _, _, lowering = name.partition(".")

        def function(spec: jg.ConvSpec, name: str = name, lowering: str = lowering) -> Callable:
            if name == "lax":
                return lax_function(spec)
            return jaxgroups_function(spec, lowering or None)

        def trial(part: jg.ConvSpec, name: str = name, function: Any = function) -> Callable:
            return by_jax(name, function(part), part, Data.random(part), mode).call

        try:
            if lowering:
                jg.explain(spec, implementation=lowering)
            seconds = predicted_seconds(spec, mode, trial)
            if seconds is not None and seconds > limit:
                yield name, f"a call would take about {seconds:.0f} s"
            else:
                yield by_jax(name, function(spec), spec, data, mode)
        except ValueError as reason:
            if not lowering:
                raise
            yield name, str(reason)
