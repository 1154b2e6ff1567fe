"""A layer by the kernels of one installation of jaxgroups, for `benchmarks.compare_installs`.

It imports nothing of this folder, so that any installation can run it, an older one too.
"""

from typing import Any


def prepare(layer: dict[str, Any]) -> Any:
    """The compiled call of a layer, what gives its results, and no notes."""
    import jax
    import numpy as np

    import jaxgroups as jg

    rng = np.random.default_rng(0)
    x, w, y = (
        jax.device_put(rng.standard_normal(layer[name], np.float32)) for name in ("x", "w", "y")
    )
    function = getattr(jg, layer["op"])
    asked = layer.get("implementation", "native")
    implementation = None if asked == "default" else asked

    def forward(x: Any, w: Any) -> Any:
        return function(x, w, implementation=implementation, **layer["arguments"])

    def gradients(x: Any, w: Any, y: Any) -> Any:
        return jax.vjp(forward, x, w)[1](y)

    of, operands = (forward, (x, w)) if layer["mode"] == "forward" else (gradients, (x, w, y))
    compiled = jax.jit(of).lower(*operands).compile()

    def call() -> Any:
        return jax.block_until_ready(compiled(*operands))

    return call, lambda: [np.asarray(a) for a in jax.tree.leaves(call())], {}
