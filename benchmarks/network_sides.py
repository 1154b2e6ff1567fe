"""A compiled network, inference or one training step, by PyTorch and by Flax.

A training step: forward with batch statistics, cross entropy, backward, plain SGD; the step updates
the running statistics.
"""

import copy
import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

from benchmarks import networks
from benchmarks.data import Contestant
from benchmarks.jax_side import lowerings_in, memory_of
from benchmarks.torch_side import LAYOUTS, laid_out

MODES = ("inference", "training")
RATE = 1e-3  # small, so that the network does not diverge while it is timed
UNIT_RATE = 1.0  # for comparing a step: the change of the parameters is then the gradient


def inputs(batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Images in torch's layout, and their classes."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch, 3, networks.SIZE, networks.SIZE), dtype="float32")
    return images, rng.integers(0, networks.CLASSES, batch)


def by_torch(model: torch.nn.Module, batch: int, mode: str, layout: str) -> Contestant:
    """PyTorch, eager, in one memory layout of weights and images."""
    images, classes = inputs(batch)
    x = laid_out(torch.from_numpy(images).to(next(model.parameters()).dtype), layout)
    y = torch.from_numpy(classes)
    model = copy.deepcopy(model)
    if layout != "contiguous":
        model = model.to(memory_format=torch.channels_last)
    name, notes = f"torch {layout}", {"layout": layout}
    if mode == "inference":
        model.eval()

        def infer() -> torch.Tensor:
            with torch.inference_mode():
                return model(x)

        return Contestant(name, infer, lambda: [infer().numpy()], notes)

    step = torch_step(model, x, y, RATE)

    def results() -> list[np.ndarray]:
        other = copy.deepcopy(model)
        before = {key: value.clone().numpy() for key, value in other.state_dict().items()}
        loss = torch_step(other, x, y, UNIT_RATE)()
        after = {key: value.numpy() for key, value in other.state_dict().items()}
        return networks.step_results(loss.item(), before, after)

    return Contestant(name, step, results, notes)


def torch_step(
    model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, rate: float
) -> Callable[[], torch.Tensor]:
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)

    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def cross_entropy(logits: jax.Array, classes: jax.Array) -> jax.Array:
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), classes[:, None], axis=1).mean()


def by_flax(model: nnx.Module, batch: int, mode: str, name: str) -> Contestant:
    """Flax, compiled as a function of the split state; a training step donates it to the next."""
    images, classes = inputs(batch)
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

    rate = jnp.float32(RATE)
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

        return Contestant(name, call, lambda: [np.asarray(call())], notes)

    state = [params, rest]

    def train() -> None:
        *state[:], _ = jax.block_until_ready(compiled(*state, x, y, rate))

    def results() -> list[np.ndarray]:
        fresh = [jax.tree.map(jnp.copy, part) for part in state]
        before = networks.torch_state(nnx.merge(graph, *state))
        *changed, loss = compiled(*fresh, x, y, jnp.float32(UNIT_RATE))
        after = networks.torch_state(nnx.merge(graph, *changed))
        return networks.step_results(float(loss), before, after)

    return Contestant(name, train, results, notes)


def all_of(
    name: str, model: torch.nn.Module, batch: int, mode: str, names: tuple[str, ...]
) -> Iterator[Contestant]:
    """The contestants: ``torch`` (two of them), ``lax``, ``jaxgroups``."""
    for one in names:
        if one == "torch":
            yield from (by_torch(model, batch, mode, layout) for layout in LAYOUTS)
        else:
            twin = networks.flax_network(name, model.state_dict(), one)
            yield by_flax(twin, batch, mode, one)
