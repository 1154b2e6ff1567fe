"""Networks before and after ``jaxgroups.optimize``: inference on random images.

Each contestant has a process of its own. They take turns: some untimed calls, then timed ones. The
table has the medians of all timed calls, and the ratio of the last to the first: of the medians,
and of the least processor time, which says more on a busy machine. The results are compared first.

    python -m benchmarks.optimized [--batch N] [--rounds N] [NETWORK...]
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

import numpy as np

NETWORKS = ("resnet50", "mobilenetv2_w1", "efficientnet_b0")
KINDS = ("before", "folded", "after")
TOLERANCE = 1e-4  # of the largest value
WARMING, TIMED = 0.2, 0.6  # seconds of each turn


def network(name):
    """A twin of pytorchcv's network with random weights and running statistics, in evaluation."""
    from flax import nnx

    from benchmarks.twins import pytorchcv, pytorchcv_more

    build = getattr(pytorchcv_more, name, None) or getattr(pytorchcv, name)
    model = build(nnx.Rngs(0))
    model.eval()
    rng = np.random.default_rng(0)
    for _, module in nnx.iter_modules(model):
        if isinstance(module, nnx.BatchNorm):
            for of, low, high in (("mean", -0.1, 0.1), ("var", 0.5, 1.5), ("bias", -0.1, 0.1)):
                variable = getattr(module, of)
                variable[...] = rng.uniform(low, high, variable.shape).astype("float32")
    return model


def work(name, kind, batch):
    """The worker: prepares one contestant, then answers each line with times in seconds."""
    import jax
    from flax import nnx

    import jaxgroups as jg

    model = network(name)
    x = jax.device_put(np.random.default_rng(1).standard_normal((batch, 224, 224, 3), "float32"))
    if kind == "before":
        structure, state = nnx.split(model)
        program = jax.jit(lambda state, x: nnx.merge(structure, state)(x))

        def call():
            return program(state, x)

        jg.accelerate()
    else:
        if kind == "folded":  # without packed weights
            from jaxgroups._optimize import rewrite

            rewrite._packed = lambda *_: None
        optimized = jg.optimize(model, x)

        def call():
            return optimized(x)

    result = np.asarray(call())
    print(json.dumps([float(n) for n in result.ravel()]), flush=True)
    for _ in sys.stdin:
        print(json.dumps(turn(lambda: jax.block_until_ready(call()))), flush=True)


def turn(call):
    """Pairs of one turn: the time of a call, and the processors' time in it."""
    end = time.perf_counter() + WARMING
    while time.perf_counter() < end:
        call()
    times, end = [], time.perf_counter() + TIMED
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter(), time.process_time()
        call()
        times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return times


class Worker:
    """The process of a contestant, and all its times."""

    def __init__(self, *arguments):
        command = [sys.executable, "-m", "benchmarks.optimized", "--worker", *map(str, arguments)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.result = np.array(self.read())
        self.times = []

    def read(self):
        return json.loads(self.process.stdout.readline())

    def take_turn(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        self.times += self.read()

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def compare(name, batch, rounds):
    """The milliseconds of each kind: the median, and the least of the processors."""
    workers = {kind: Worker(name, kind, batch) for kind in KINDS}
    right = workers["before"].result
    for kind, worker in workers.items():
        error = np.abs(worker.result - right).max() / np.abs(right).max()
        if not error <= TOLERANCE:
            raise SystemExit(f"{name}: {kind} differs by {error:.1e} of the largest value")
    for _ in range(rounds):
        for worker in workers.values():
            worker.take_turn()
    for worker in workers.values():
        worker.end()
    walls = (1e3 * statistics.median(wall for wall, _ in w.times) for w in workers.values())
    least = (1e3 * min(cpu for _, cpu in w.times) for w in workers.values())
    return dict(zip(KINDS, zip(walls, least, strict=True), strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    columns = "".join(f"{kind:>9}" for kind in KINDS)
    print(f"{'ms, batch ' + str(options.batch):<20}{columns}    ratio   of processor time")
    for name in options.networks:
        found = compare(name, options.batch, options.rounds)
        wall, least = (found["after"][i] / found["before"][i] for i in (0, 1))
        cells = "".join(f"{found[kind][0]:9.2f}" for kind in KINDS)
        print(f"{name:<20}{cells}{wall:9.2f}{least:9.2f}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main()
