"""A pool, resize or norm by torch or by jaxgroups, as `benchmarks.features` compares them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.prepared import Prepared

Pair = tuple[Callable[[], object], Callable[[], list[np.ndarray]]]


def data(case: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Input and cotangent of the output, channels last."""
    rng = np.random.default_rng(0)
    shapes = (case["batch"], *case["size"]), case["output"]
    x, y = (rng.standard_normal(shape, np.float32) for shape in shapes)
    return x, y


def with_torch(case: dict[str, Any]) -> Pair:
    """The call by torch in its channels_last format, and what gives its results."""
    import torch

    torch.set_num_threads(case["threads"])
    layer = getattr(torch.nn, case["layer"])(**case["arguments"]).train()
    x, cotangent = (torch.from_numpy(a).movedim(-1, 1) for a in data(case))
    parameters = list(layer.parameters())

    def forward() -> tuple:
        with torch.no_grad():
            return (layer(x),)

    def gradients() -> tuple:
        y = layer(x)
        return (y, *torch.autograd.grad(y, [x, *parameters], cotangent))

    if case["mode"] == "gradients":
        x.requires_grad_()
    call = forward if case["mode"] == "forward" else gradients

    def results() -> list[np.ndarray]:
        return [y.detach().numpy() for y in call()]

    return call, results


def with_jaxgroups(case: dict[str, Any]) -> Pair:
    """The compiled call by jaxgroups, and what gives its results in torch's order of axes."""
    import jax
    from flax import nnx

    from jaxgroups import nnx as layers

    layer = getattr(layers, case["layer"])(**case["arguments"])
    graph, params, rest = nnx.split(layer, nnx.Param, ...)
    x, cotangent = map(jax.device_put, data(case))

    def forward(params: Any, rest: Any, x: Any) -> Any:
        made = nnx.merge(graph, params, rest, copy=True)
        y = made(x)
        return y, nnx.state(made, nnx.BatchStat)

    def gradients(params: Any, rest: Any, x: Any, cotangent: Any) -> Any:
        y, pull, state = jax.vjp(lambda p, x: forward(p, rest, x), params, x, has_aux=True)
        return y, state, pull(cotangent)

    arguments = (params, rest, x)
    if case["mode"] == "forward":
        compiled = jax.jit(forward).lower(*arguments).compile()
    else:
        arguments = (*arguments, cotangent)
        compiled = jax.jit(gradients).lower(*arguments).compile()

    def call() -> Any:
        return jax.block_until_ready(compiled(*arguments))

    def results() -> list[np.ndarray]:
        if case["mode"] == "forward":
            found = [call()[0]]
        else:
            y, _, (of_params, of_x) = call()
            named = nnx.to_pure_dict(of_params)
            found = [y, of_x, *(named[name] for name in ("scale", "bias") if name in named)]
        return [np.moveaxis(np.asarray(a), -1, 1) if a.ndim > 1 else np.asarray(a) for a in found]

    return call, results


def prepare(request: dict[str, Any]) -> Prepared:
    """The contestant ``torch`` or ``jaxgroups`` in a worker."""
    of = {"torch": with_torch, "jaxgroups": with_jaxgroups}[request["contestant"]]
    call, results = of(request)
    return Prepared(call, results, {})
