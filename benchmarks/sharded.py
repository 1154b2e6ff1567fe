"""A training step on several devices of the CPU: ``python -m benchmarks.sharded``.

The network has BLOCKS blocks of a depthwise 3x3, a 1x1 and a 3x3 convolution in groups of 8, with
64 channels. A contestant is a way to split the step, or one device, with jaxgroups or with lax.
Each runs in a process of its own, and they take turns. Printed are the least and the median time
of a step, its least CPU time, the seconds of compiling, the bytes of the optimized HLO, and the
sum of the new parameters, which is the same for all. lax takes seconds a step:
``--sides jaxgroups`` omits it.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from statistics import median
from typing import Any

BLOCKS, CHANNELS = 4, 64
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
    parameters = [
        [
            jnp.asarray(rng.standard_normal((k, k, CHANNELS // g, CHANNELS)) / 10, jnp.float32)
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
        return jax.tree.map(lambda w, d: w - 0.01 * d, parameters, gradients)

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
        return jax.tree.map(lambda w, d: w - 0.01 * d, parameters, gradients)

    mapped = jax.shard_map(part, mesh=mesh, in_specs=(P(), P("d")), out_specs=P(), check_vma=False)
    return jax.jit(mapped), (parameters, x)


def work(way: str, side: str, devices: int, batch: int, size: int) -> None:
    """A contestant: it compiles, and then times a step for each line that it reads."""
    import jax

    step, operands = step_of(way, side, devices, batch, size)
    start = time.perf_counter()
    compiled = step.lower(*operands).compile()
    compiling = time.perf_counter() - start
    total = sum(float(leaf.sum()) for leaf in jax.tree.leaves(compiled(*operands)))
    bytes_of_hlo = len(compiled.as_text() or "")
    print(json.dumps({"compile": compiling, "hlo": bytes_of_hlo, "sum": total}), flush=True)
    for _ in sys.stdin:
        jax.block_until_ready(compiled(*operands))
        start, used = time.perf_counter(), time.process_time()
        jax.block_until_ready(compiled(*operands))
        sample = time.perf_counter() - start, time.process_time() - used
        print(json.dumps(sample), flush=True)


class Contestant:
    """The process of a contestant."""

    def __init__(self, way: str, side: str, given: argparse.Namespace) -> None:
        devices = 1 if way == "one" else given.devices
        flags = f"--xla_force_host_platform_device_count={devices}"
        numbers = [str(n) for n in (devices, given.batch, given.size)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sharded", "--work", way, side, *numbers],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"XLA_FLAGS": flags},
        )
        self.first: dict[str, float] = self.answer()
        self.samples: list[tuple[float, float]] = []  # seconds, and seconds of the processors

    def answer(self) -> Any:
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise SystemExit(f"{self.process.args} ended")
        return json.loads(line)

    def sample(self) -> None:
        print(file=self.process.stdin, flush=True)
        self.samples.append(tuple(self.answer()))


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["--work"]:
        way, side, *numbers = argv[1:]
        work(way, side, *map(int, numbers))
        return 0
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=32, help="of the image")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    given = parser.parse_args(argv)
    contestants = {
        (way, side): Contestant(way, side, given) for way in given.ways for side in given.sides
    }
    for _ in range(given.rounds):
        for contestant in contestants.values():
            contestant.sample()
    columns = f"{'min ms':>9}{'median ms':>11}{'min CPU ms':>12}{'compile s':>11}{'HLO KB':>8}"
    print(f"{'':<34}{columns}{'sum':>14}")
    for (way, side), found in contestants.items():
        seconds, used = zip(*found.samples, strict=True)
        print(
            f"{WAYS[way] + ', ' + side:<34}{min(seconds) * 1e3:>9.1f}{median(seconds) * 1e3:>11.1f}"
            f"{min(used) * 1e3:>12.1f}{found.first['compile']:>11.2f}"
            f"{found.first['hlo'] / 1e3:>8.0f}{found.first['sum']:>14.6g}"
        )
        found.process.stdin.close()  # pyright: ignore[reportOptionalMemberAccess]
        found.process.wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
