"""A network by Flax: inference or one training step, compiled, or inference by `optimize`."""

import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors.numpy import load_file

import jaxgroups as jg
import jaxgroups.convert as jc
import jaxgroups.nnx as jnn
from benchmarks import networks
from benchmarks.jax_side import lowerings_in, memory_of
from benchmarks.prepared import Prepared
from benchmarks.worker import loaded


def flax_network(target: str, state: Any, by: str) -> nnx.Module:
    """The twin with torch's weights, a file or a state dict; ``lax`` or jaxgroups convolves."""
    model = nnx.eval_shape(lambda: loaded(target)(nnx.Rngs(0)))
    model, _ = jc.load_torch(model, state)
    for _, module in nnx.iter_modules(model):
        if isinstance(module, jnn.Conv2d):
            module.implementation = "xla" if by == "lax" else None
        elif isinstance(module, nnx.Conv) and by != "lax":
            module.conv_general_dilated = jg.conv_general_dilated
    return model


def torch_state(model: nnx.Module) -> dict[str, np.ndarray]:
    """The weights and statistics of a twin in torch's layout."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        jc.save_torch(model, path)
        return load_file(path)


def cross_entropy(logits: jax.Array, classes: jax.Array) -> jax.Array:
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), classes[:, None], axis=1).mean()


def by_flax(model: nnx.Module, batch: int, mode: str, size: int) -> Prepared:
    """Flax, compiled as a function of the split state; a training step donates it to the next."""
    images, classes = networks.inputs(batch, size)
    x, y = jnp.asarray(np.moveaxis(images, 1, -1)), jnp.asarray(classes, "int32")
    model.eval() if mode == "inference" else model.train()
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    def infer(params: nnx.State, rest: nnx.State, x: jax.Array) -> jax.Array:
        return nnx.merge(graph, params, rest)(x)

    def step(params, rest, x, y, rate):
        def loss_of(params):
            model = nnx.merge(graph, params, rest, copy=True)
            loss = cross_entropy(model(x), y)
            return loss, nnx.state(model, nnx.Not(nnx.Param))

        (loss, rest), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
        params = jax.tree.map(lambda p, g: p - rate * g, params, gradients)
        return params, rest, loss

    rate = jnp.float32(networks.RATE)
    start = time.perf_counter()
    if mode == "inference":
        compiled = jax.jit(infer).lower(params, rest, x).compile()
    else:
        jitted = jax.jit(step, donate_argnums=(0, 1))
        compiled = jitted.lower(params, rest, x, y, rate).compile()
    notes = memory_of(compiled) | {"compile_seconds": time.perf_counter() - start}
    notes["lowerings"] = lowerings_in(compiled)

    if mode == "inference":

        def call() -> jax.Array:
            return jax.block_until_ready(compiled(params, rest, x))

        return Prepared(call, lambda: [np.asarray(call())], notes)

    state = [params, rest]

    def train() -> None:
        *state[:], _ = jax.block_until_ready(compiled(*state, x, y, rate))

    def results() -> list[np.ndarray]:
        fresh = [jax.tree.map(jnp.copy, part) for part in state]
        before = torch_state(nnx.merge(graph, *state))
        *changed, loss = compiled(*fresh, x, y, jnp.float32(networks.UNIT_RATE))
        after = torch_state(nnx.merge(graph, *changed))
        return networks.step_results(float(loss), before, after)

    return Prepared(train, results, notes)


def by_optimize(model: nnx.Module, batch: int, size: int) -> Prepared:
    """``jaxgroups.optimize`` of the model, with its parameters bound as constants."""
    images, _ = networks.inputs(batch, size)
    x = jnp.asarray(np.moveaxis(images, 1, -1))
    model.eval()
    start = time.perf_counter()
    optimized = jg.optimize(model, x)

    def call() -> jax.Array:
        return jax.block_until_ready(optimized(x))

    call()
    notes = {"compile_seconds": time.perf_counter() - start}
    return Prepared(call, lambda: [np.asarray(call())], notes)


def prepare(request: dict[str, Any]) -> Prepared:
    """``lax``, ``jaxgroups-optimize``, or by another name jaxgroups itself, in a worker."""
    name, batch, size = request["contestant"], request["batch"], request["size"]
    model = flax_network(request["twin"], request["state"], name)
    if name == "jaxgroups-optimize":
        return by_optimize(model, batch, size)
    return by_flax(model, batch, request["mode"], size)


def prepare_keeping(request: dict[str, Any]) -> Prepared:
    """As `prepare`, in a process that keeps its memory."""
    jg.keep_memory()
    return prepare(request)
