"""A small model, torch's tensors for it, and the error of an incomplete plan."""

import numpy as np
import pytest
from flax import nnx

import jaxgroups.convert as jc
import jaxgroups.nnx as jnn


class Block(nnx.Module):
    def __init__(self, inputs, outputs, rngs):
        self.conv = jnn.Conv2d(inputs, outputs, (3, 2), bias=False, rngs=rngs)
        self.bn = nnx.BatchNorm(outputs, momentum=0.9, rngs=rngs)


class Net(nnx.Module):
    def __init__(self, rngs):
        self.features = nnx.Sequential(Block(4, 6, rngs), nnx.relu, Block(6, 8, rngs))
        self.fc = nnx.Linear(8, 5, rngs=rngs)


def net():
    return nnx.eval_shape(lambda: Net(nnx.Rngs(0)))


def state():
    """Torch's tensors for it, all values different."""
    shapes = {}
    for i, (inputs, outputs) in {0: (4, 6), 2: (6, 8)}.items():
        shapes[f"features.{i}.conv.weight"] = (outputs, inputs, 3, 2)
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"features.{i}.bn.{name}"] = (outputs,)
    shapes |= {"fc.weight": (5, 8), "fc.bias": (5,)}
    arrays, start = {}, 1
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        arrays[name] = np.arange(start, start + size, dtype="f4").reshape(shape)
        start += size
    for i in (0, 2):
        arrays[f"features.{i}.bn.num_batches_tracked"] = np.array(2**40 + i)
    return arrays


def problems(model, tensors, **how):
    plan = jc.plan(model, tensors, **how)
    with pytest.raises(jc.ConversionError) as error:
        plan.raise_if_incomplete()
    return error.value
