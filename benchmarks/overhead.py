"""What a call costs beside its arithmetic: ``python -m benchmarks.overhead``.

Two measurements against ``lax.conv_general_dilated``, the contestants in turns:

* eager: one small cached call, x (1, 8, 8, 8), w (8, 2, 3, 3), groups=4;
* trace: ``jax.make_jaxpr`` and ``jit(...).lower`` of a network of 50 such layers, in seconds of
  the processor, since tracing is Python in one thread.

A ratio is the time of jaxgroups over the time of lax, of the minima and of the medians.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

import jaxgroups as jg
from benchmarks.timing import Rounds, Timed, interleave

LAYERS = 50
LAYOUTS = {
    "channels_first": ((1, 8, 8, 8), (8, 2, 3, 3), ("NCHW", "OIHW", "NCHW")),
    "channels_last": ((1, 8, 8, 8), (3, 3, 2, 8), ("NHWC", "HWIO", "NHWC")),
}
Call = Callable[..., jax.Array]


def of_lax(layout: str) -> Call:
    """The convolution and, where there is a bias, its addition, as one writes them with lax."""
    numbers = LAYOUTS[layout][2]
    shape = (-1, 1, 1) if layout == "channels_first" else (-1,)

    def conv(x: Any, w: Any, b: Any = None) -> jax.Array:
        y = lax.conv_general_dilated(
            x, w, (1, 1), ((1, 1), (1, 1)), dimension_numbers=numbers, feature_group_count=4
        )
        return y if b is None else y + b.reshape(shape)

    return conv


def of_jaxgroups(layout: str) -> Call:
    def conv(x: Any, w: Any, b: Any = None) -> jax.Array:
        return jg.conv2d(x, w, b, padding=1, groups=4, data_format=layout)

    return conv


def network(conv: Call) -> Call:
    """LAYERS convolutions in a row, each with weights of its own."""

    def forward(x: Any, *parameters: Any) -> Any:
        for layer in parameters:
            x = conv(x, *layer)
        return x

    return forward


def operands(layout: str, bias: bool) -> tuple[jax.Array, ...]:
    x, w, _ = LAYOUTS[layout]
    arrays = jnp.ones(x), jnp.full(w, 0.05)
    return (*arrays, jnp.ones(8)) if bias else arrays


def eager(layout: str, bias: bool, rounds: int) -> dict[str, Timed]:
    """A call and the wait for its result."""
    arrays = operands(layout, bias)
    sides = {"lax": of_lax(layout), "jaxgroups": of_jaxgroups(layout)}
    calls = {
        name: lambda conv=conv: jax.block_until_ready(conv(*arrays)) for name, conv in sides.items()
    }
    for call in calls.values():
        call()
    return interleave(calls, Rounds(rounds, least=0.02, pause=0.0))


def trace(layout: str, bias: bool, rounds: int, *, lower: bool) -> dict[str, Timed]:
    """Tracing of a function that JAX has not seen; with `lower`, its StableHLO as well."""
    x, *layer = operands(layout, bias)
    parameters = [tuple(layer)] * LAYERS

    def traced(conv: Call) -> Callable[[], object]:
        def call() -> object:
            fresh = network(conv)
            if lower:
                return jax.jit(fresh).lower(x, *parameters)
            return jax.make_jaxpr(fresh)(x, *parameters)

        return call

    calls = {"lax": traced(of_lax(layout)), "jaxgroups": traced(of_jaxgroups(layout))}
    for call in calls.values():
        call()
    how = Rounds(rounds, least=0.0, pause=0.0, budget=20)
    return interleave(calls, how, clock=time.process_time)


def line(name: str, timed: dict[str, Timed]) -> str:
    cells = [f"{name:<40}"]
    for statistic in ("min", "median"):
        lax_s, ours = (timed[side].seconds(statistic) for side in ("lax", "jaxgroups"))
        cells.append(f"{lax_s * 1e6:>10.1f} {ours * 1e6:>10.1f} {ours / lax_s:>6.2f}")
    return "".join(cells)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=21)
    rounds = parser.parse_args(argv).rounds
    print(
        f"{'microseconds':<40}{'min: lax jaxgroups ratio':>28}{'median: lax jaxgroups ratio':>28}"
    )
    for layout in LAYOUTS:
        for bias in (False, True):
            name = f"{layout}{', bias' if bias else ''}"
            print(line(f"eager call, {name}", eager(layout, bias, rounds)))
            for lower in (False, True):
                what = "lower" if lower else "make_jaxpr"
                print(line(f"{what}, {name}", trace(layout, bias, rounds, lower=lower)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
