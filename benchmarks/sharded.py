"""A training step on several devices of the CPU: ``python -m benchmarks.sharded``.

The network has BLOCKS blocks of a depthwise 3x3, a 1x1 and a 3x3 convolution in groups of 8, with
64 channels. A contestant is a way to split the step, or one device, with jaxgroups or with lax.
Each runs in a process of its own, and they take turns (`benchmarks.turns`). The new parameters are
compared. Printed are the least and the median time of a step, the seconds of compiling, and the
bytes of the optimized HLO. lax takes seconds a step: ``--sides jaxgroups`` omits it.
"""

import argparse
import math
import time
from typing import Any

from benchmarks.measure import TOLERANCE, check
from benchmarks.prepared import Prepared
from benchmarks.turns import Start, Turns, Workers

BLOCKS, CHANNELS = 4, 64
RATE = 10.0  # so that a step changes the parameters visibly, which are compared
WAYS = {
    "sharded": "jit, NamedSharding",
    "model": "jit, channels sharded",
    "space": "jit, height sharded",
    "shard_map": "shard_map",
    "one": "one device",
}
SIDES = ("jaxgroups", "lax")


def step_of(way: str, side: str, devices: int, batch: int, size: int) -> tuple[Any, tuple]:
    """The step of a contestant, not compiled, and its operands."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax import lax
    from jax.sharding import AxisType, NamedSharding
    from jax.sharding import PartitionSpec as P

    import jaxgroups as jg

    function = jg.conv_general_dilated if side == "jaxgroups" else lax.conv_general_dilated
    groups = (CHANNELS, 1, CHANNELS // 8)
    rng = np.random.default_rng(0)

    def normal(shape: tuple[int, ...]) -> np.ndarray:
        """Weights that keep the size of activations and gradients from layer to layer."""
        return rng.standard_normal(shape) * math.sqrt(2 / math.prod(shape[:-1]))

    parameters = [
        [
            jnp.asarray(normal((k, k, CHANNELS // g, CHANNELS)), jnp.float32)
            for g, k in zip(groups, (3, 1, 3), strict=True)
        ]
        for _ in range(BLOCKS)
    ]
    x = jnp.asarray(rng.standard_normal((batch, size, size, CHANNELS)), jnp.float32)

    def loss(parameters: Any, x: jax.Array) -> jax.Array:
        for block in parameters:
            for g, w in zip(groups, block, strict=True):
                y = function(
                    x,
                    w,
                    (1, 1),
                    "SAME",
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                    feature_group_count=g,
                )
                x = jax.nn.relu(y)
        return jnp.mean(x**2)

    def step(parameters: Any, x: jax.Array) -> Any:
        gradients = jax.grad(loss)(parameters, x)
        return jax.tree.map(lambda w, d: w - RATE * d, parameters, gradients)

    if way == "one":
        return jax.jit(step), (parameters, x)
    mesh = jax.make_mesh((devices,), ("d",), axis_types=(AxisType.Auto,))

    def put(array: jax.Array, *spec: str | None) -> jax.Array:
        return jax.device_put(array, NamedSharding(mesh, P(*spec)))

    if way == "model":
        parameters = jax.tree.map(lambda w: put(w, None, None, None, "d"), parameters)
        return jax.jit(step), (parameters, put(x, None, None, None, "d"))
    parameters = jax.tree.map(put, parameters)
    if way == "space":
        return jax.jit(step), (parameters, put(x, None, "d"))
    x = put(x, "d")
    if way == "sharded":
        return jax.jit(step), (parameters, x)

    def part(parameters: Any, x: jax.Array) -> Any:
        gradients = lax.pmean(jax.grad(loss)(parameters, x), "d")
        return jax.tree.map(lambda w, d: w - RATE * d, parameters, gradients)

    mapped = jax.shard_map(part, mesh=mesh, in_specs=(P(), P("d")), out_specs=P(), check_vma=False)
    return jax.jit(mapped), (parameters, x)


def prepare(request: dict[str, Any]) -> Prepared:
    """A way and a side in a worker."""
    import jax
    import numpy as np

    numbers = (request["devices"], request["batch"], request["size"])
    step, operands = step_of(request["way"], request["side"], *numbers)
    start = time.perf_counter()
    compiled = step.lower(*operands).compile()
    notes = {
        "compile": time.perf_counter() - start,
        "hlo": len(compiled.as_text() or ""),
    }

    def call() -> Any:
        return jax.block_until_ready(compiled(*operands))

    return Prepared(call, lambda: [np.asarray(leaf) for leaf in jax.tree.leaves(call())], notes)


def start_of(devices: int) -> Start:
    flags = f"--xla_force_host_platform_device_count={devices}"
    return Start("benchmarks.sharded:prepare", environment={"XLA_FLAGS": flags})


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=32, help="of the image")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    parser.add_argument("--cpu", action="store_true", help="CPU time instead of elapsed time")
    given = parser.parse_args(argv)
    contestants = {f"{way} {side}": (way, side) for way in given.ways for side in given.sides}
    devices = {name: 1 if way == "one" else given.devices for name, (way, _) in contestants.items()}
    with Workers({name: start_of(count) for name, count in devices.items()}) as workers:
        notes, first = {}, None
        for name, (way, side) in contestants.items():
            request = {"way": way, "side": side, "devices": devices[name]}
            found = workers.prepare(name, request | {"batch": given.batch, "size": given.size})
            if isinstance(found, str):
                raise SystemExit(f"{name}: {found}")
            notes[name], results = found
            first = first or results
            check(name, results, first, TOLERANCE["float32"], next(iter(contestants)))
        how = Turns(given.rounds, seconds=0.0, budget=math.inf, cpu=given.cpu)
        timed = workers.take_turns(list(contestants), how)
    what = "CPU ms" if given.cpu else "ms"
    print(f"{'':<34}{'min ' + what:>12}{'median ' + what:>15}{'compile s':>11}{'HLO KB':>8}")
    for name, (way, side) in contestants.items():
        least, median = (timed[name].seconds(statistic) for statistic in ("min", "median"))
        print(
            f"{WAYS[way] + ', ' + side:<34}{least * 1e3:>12.1f}{median * 1e3:>15.1f}"
            f"{notes[name]['compile']:>11.2f}{notes[name]['hlo'] / 1e3:>8.0f}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
