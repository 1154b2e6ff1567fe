"""The timed side of `benchmarks.compare_installs`: one installation of jaxgroups, in a process.

It reads a line of JSON for each request and answers with one. It imports nothing of this folder,
so that any installation can run it, an older one too.
"""

import json
import sys
import time
from typing import Any


def prepare(layer: dict[str, Any]) -> Any:
    """The compiled call of a layer, with its data."""
    import jax
    import numpy as np

    import jaxgroups as jg

    rng = np.random.default_rng(0)
    x = jax.device_put(rng.standard_normal(layer["x"], np.float32))
    w = jax.device_put(rng.standard_normal(layer["w"], np.float32))
    y = jax.device_put(rng.standard_normal(layer["y"], np.float32))
    function = getattr(jg, layer["op"])

    def forward(x: Any, w: Any) -> Any:
        return function(x, w, implementation="native", **layer["arguments"])

    def gradients(x: Any, w: Any, y: Any) -> Any:
        return jax.vjp(forward, x, w)[1](y)

    if layer["mode"] == "forward":
        compiled = jax.jit(forward).lower(x, w).compile()
        return lambda: jax.block_until_ready(compiled(x, w))
    compiled = jax.jit(gradients).lower(x, w, y).compile()
    return lambda: jax.block_until_ready(compiled(x, w, y))


def least_time(call: Any, seconds: float) -> float:
    """The least CPU time of a call, of as many calls as `seconds` allow, at least 3."""
    least, end, calls = float("inf"), time.process_time() + seconds, 0
    while calls < 3 or time.process_time() < end:
        start = time.process_time()
        call()
        least = min(least, time.process_time() - start)
        calls += 1
    return least


def main() -> None:
    call = None
    for line in sys.stdin:
        request = json.loads(line)
        if "layer" in request:
            call = prepare(request["layer"])
            least_time(call, 0)
        print(json.dumps(least_time(call, request["seconds"])), flush=True)


if __name__ == "__main__":
    main()
