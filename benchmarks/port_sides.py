"""A ported network and its original, for `benchmarks.port_speed`: each in a worker of its own."""

import copy
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.prepared import Prepared
from benchmarks.worker import loaded

RATE = 1e-3


def _images(request: dict[str, Any]) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(request["shape"], "float32")


def by_torch(request: dict[str, Any]) -> Prepared:
    """The contestant ``torch LAYOUT``."""
    import torch

    from benchmarks.port_families import stub_torchvision
    from benchmarks.torch_side import laid_out

    stub_torchvision()
    torch.set_num_threads(request["threads"])
    model = torch.load(Path(request["folder"]) / "module.pt", weights_only=False)
    layout = request["contestant"].removeprefix("torch ")
    x = laid_out(torch.from_numpy(_images(request)), layout)
    if layout == "channels_last":
        model = model.to(memory_format=torch.channels_last)
    if request["mode"] == "inference":
        model.eval()

        def infer() -> Any:
            with torch.inference_mode():
                return model(x)

        return Prepared(infer, lambda: [y.numpy() for y in _leaves(infer())], {})

    def stepper(model: Any) -> Any:
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE)

        def step() -> float:
            optimizer.zero_grad(set_to_none=True)
            loss = sum(y.square().mean() for y in _leaves(model(x)))
            loss.backward()
            optimizer.step()
            return loss.item()

        return step

    def losses() -> list[np.ndarray]:
        step = stepper(copy.deepcopy(model))
        return [np.asarray([step() for _ in range(3)])]

    return Prepared(stepper(model.train()), losses, {})


def _leaves(outputs: Any) -> list[Any]:
    import jax

    return [y for y in jax.tree.leaves(outputs) if y.is_floating_point()]


def by_jax(request: dict[str, Any]) -> Prepared:
    """The contestants ``ported`` and ``optimized``."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    import jaxgroups as jg
    from jaxgroups.port import load_weights

    folder = Path(request["folder"])
    model = loaded(f"{folder / 'model.py'}:{request['name']}")(rngs=nnx.Rngs(0))
    load_weights(model, folder / "weights.safetensors")
    x = jnp.asarray(_images(request).transpose(request["inputs"]))

    def in_torchs_order(outputs: Any) -> list[np.ndarray]:
        leaves = zip(jax.tree.leaves(outputs), request["outputs"], strict=True)
        return [
            np.asarray(y).transpose(np.argsort(order))
            for y, order in leaves
            if jnp.issubdtype(y.dtype, jnp.floating)
        ]

    if request["mode"] == "inference":
        model.eval()
        if request["contestant"] == "optimized":
            optimized = jg.optimize(model, x)
            call = lambda: jax.block_until_ready(optimized(x))  # noqa: E731
        else:
            graph, state = nnx.split(model)
            infer = jax.jit(lambda state, x: nnx.merge(graph, state)(x))
            compiled = infer.lower(state, x).compile()
            call = lambda: jax.block_until_ready(compiled(state, x))  # noqa: E731
        return Prepared(call, lambda: in_torchs_order(call()), {})

    model.train()
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    def step(params: Any, rest: Any, x: Any) -> Any:
        def loss_of(params: Any) -> Any:
            model = nnx.merge(graph, params, rest, copy=True)
            outputs = [
                y for y in jax.tree.leaves(model(x)) if jnp.issubdtype(y.dtype, jnp.floating)
            ]
            loss = sum(jnp.square(y).mean() for y in outputs)
            return loss, nnx.state(model, nnx.Not(nnx.Param))

        (loss, rest), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - RATE * g, params, gradients), rest, loss

    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(params, rest, x).compile()
    state = [params, rest]

    def train() -> Any:
        *state[:], loss = jax.block_until_ready(compiled(*state, x))
        return loss

    def losses() -> list[np.ndarray]:
        fresh, found = [jax.tree.map(jnp.copy, part) for part in state], []
        for _ in range(3):
            *fresh, loss = compiled(*fresh, x)
            found.append(float(loss))
        return [np.asarray(found)]

    return Prepared(train, losses, {})
