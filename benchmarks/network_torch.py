"""A network by PyTorch: inference or one training step, eager, or inference compiled.

A training step: forward with batch statistics, cross entropy, backward, plain SGD; the step updates
the running statistics.
"""

import copy
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from benchmarks import networks
from benchmarks.prepared import Prepared
from benchmarks.torch_side import laid_out
from benchmarks.worker import loaded


def random_network(target: str, size: int) -> torch.nn.Module:
    """A network with random weights, the running statistics of a random batch, no dropout."""
    torch.manual_seed(0)
    model = built(target)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.2, generator=generator)
                module.momentum = None  # the mean over all batches, here one batch
        model.train()(torch.randn(2, 3, size, size, generator=generator))
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 0.1
    return model


def built(target: str) -> torch.nn.Module:
    """The network that a function makes, without dropout."""
    try:
        model = loaded(target)()
    except ImportError as error:
        raise SystemExit(
            f"whole networks need the package pytorchcv ({error}): pip install --no-deps pytorchcv"
        ) from error
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def by_torch(model: torch.nn.Module, batch: int, mode: str, layout: str, size: int) -> Prepared:
    """PyTorch, eager, in one memory layout of weights and images."""
    images, classes = networks.inputs(batch, size)
    x = laid_out(torch.from_numpy(images).to(next(model.parameters()).dtype), layout)
    y = torch.from_numpy(classes)
    model = copy.deepcopy(model)
    if layout != "contiguous":
        model = model.to(memory_format=torch.channels_last)
    notes = {"layout": layout}
    if mode == "inference":
        model.eval()

        def infer() -> torch.Tensor:
            with torch.inference_mode():
                return model(x)

        return Prepared(infer, lambda: [infer().numpy()], notes)

    step = torch_step(model, x, y, networks.RATE)

    def results() -> list[np.ndarray]:
        other = copy.deepcopy(model)
        before = {key: value.clone().numpy() for key, value in other.state_dict().items()}
        loss = torch_step(other, x, y, networks.UNIT_RATE)()
        after = {key: value.numpy() for key, value in other.state_dict().items()}
        return networks.step_results(loss.item(), before, after)

    return Prepared(step, results, notes)


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


def by_compile(model: torch.nn.Module, batch: int, size: int) -> Prepared:
    """``torch.compile`` with weights frozen as constants, which Inductor folds and packs.

    The notes have the number of convolutions whose weights it packed by oneDNN.
    """
    import torch._inductor.config as inductor
    from torch._dynamo.utils import counters

    inductor.freezing = True
    images, _ = networks.inputs(batch, size)
    x = torch.from_numpy(images)
    compiled = torch.compile(model.eval())

    def infer() -> torch.Tensor:
        with torch.no_grad():  # Inductor does not freeze in inference mode
            return compiled(x)

    counters.clear()
    start = time.perf_counter()
    infer()
    notes = {
        "compile_seconds": time.perf_counter() - start,
        "packed_weights": counters["inductor"]["mkldnn_conv_weight_pack_matcher_count"],
    }
    return Prepared(infer, lambda: [infer().numpy()], notes)


def prepare(request: dict[str, Any]) -> Prepared:
    """The contestant ``torch LAYOUT`` or ``torch-compile`` in a worker."""
    torch.set_num_threads(request["threads"])
    model = built(request["torch"])
    model.load_state_dict(load_file(request["state"]))
    name, batch, size = request["contestant"], request["batch"], request["size"]
    if name == "torch-compile":
        return by_compile(model, batch, size)
    return by_torch(model, batch, request["mode"], name.removeprefix("torch "), size)
