"""A model with every kind of dtype, and torch's tensors for it as random bits."""

import jax.numpy as jnp
import ml_dtypes
import numpy as np
from flax import nnx

import jaxgroups.nnx as jnn
from support.checkpoints import bits

FLOATS = {
    "bfloat16": ml_dtypes.bfloat16,
    **{name: np.dtype(name) for name in ("float16", "float32", "float64")},
}


class Net(nnx.Module):
    def __init__(self, rngs):
        self.up = jnn.ConvTranspose2d(4, 6, (3, 2), groups=2, rngs=rngs)
        self.bn = nnx.BatchNorm(6, momentum=0.9, rngs=rngs)
        self.fc = nnx.Linear(6, 6, rngs=rngs)
        self.steps = nnx.Variable(jnp.zeros((2,), "int64"))
        self.mask = nnx.Variable(jnp.zeros((3,), "bool"))


def net():
    return nnx.eval_shape(lambda: Net(nnx.Rngs(0)))


def state(rng, dtype="float32"):
    """Random bits of one float dtype, including NaNs, and integers of more than 32 bits."""
    shapes = {"up.weight": (4, 3, 3, 2), "up.bias": (6,), "fc.weight": (6, 6), "fc.bias": (6,)}
    shapes |= {f"bn.{n}": (6,) for n in ("weight", "bias", "running_mean", "running_var")}
    arrays = {name: bits(rng, shape, FLOATS[dtype]) for name, shape in shapes.items()}
    return arrays | {
        "bn.num_batches_tracked": np.array(2**40 + 1),
        "steps": np.array([2**53 + 1, -(2**62)]),
        "mask": np.array([True, False, True]),
    }
