"""A model whose plan has every operation, and a file with every kind of tensor."""

import numpy as np
from flax import nnx
from jax import numpy as jnp

import jaxgroups.nnx as jnn


class Mixed(nnx.Module):
    def __init__(self, *, rngs):
        self.up = jnn.ConvTranspose2d(4, 6, (3, 2), groups=2, rngs=rngs)
        self.turned = nnx.ConvTranspose(2, 3, (2, 2), padding="VALID", rngs=rngs)
        self.bn = nnx.BatchNorm(6, momentum=0.9, rngs=rngs)
        self.slope = nnx.PReLU()
        self.look = nnx.MultiHeadAttention(2, 4, rngs=rngs)
        self.normed = nnx.Linear(2, 3, rngs=rngs)
        self.fc = self.again = nnx.Linear(24, 5, rngs=rngs)
        self.scale = nnx.Param(jnp.ones(3))
        self.cells = nnx.List([nnx.RNN(nnx.SimpleCell(2, 3, rngs=rngs))])
        self.offset = nnx.Param(jnp.ones(3))


RULES = """
ignore = ["loss[.].*"]
[flatten]
fc = [6, 2, 2]
[recurrent]
cells = {}
[flax_only]
offset = {value = 2}
"""
SHAPES = {
    **{"up.weight": (4, 3, 3, 2), "up.bias": (6,), "turned.weight": (2, 3, 2, 2)},
    **{f"bn.{n}": (6,) for n in ("weight", "bias", "running_mean", "running_var")},
    **{"turned.bias": (3,), "slope.weight": (1,), "scale": (3,)},
    **{"look.in_proj_weight": (12, 4), "look.in_proj_bias": (12,)},
    **{"look.out_proj.weight": (4, 4), "look.out_proj.bias": (4,)},
    **{"normed.weight_g": (3, 1), "normed.weight_v": (3, 2), "normed.bias": (3,)},
    **{"cells.weight_ih_l0": (3, 2), "cells.weight_hh_l0": (3, 3)},
    **{"cells.bias_ih_l0": (3,), "cells.bias_hh_l0": (3,)},
    **{"fc.weight": (5, 24), "fc.bias": (5,), "loss.weight": (2,)},
}
# for the tensors of `broken`: a name that leads to another tensor, a rule that leads nowhere
BROKEN_RULES = """
[names]
"up.bias" = "bn.bias"
[flatten]
fcc = [6, 2, 2]
"""


def state():
    """Torch's tensors: one of each shape, shared ones and counters."""
    arrays = {n: np.arange(1, 1 + int(np.prod(s)), dtype="f4") for n, s in SHAPES.items()}
    arrays = {name: array.reshape(SHAPES[name]) for name, array in arrays.items()}
    arrays |= {f"again.{n}": arrays[f"fc.{n}"] for n in ("weight", "bias")}
    return arrays | {"bn.num_batches_tracked": np.array(2**40 + 1)}


def broken():
    """Tensors with a missing one, an unknown one, a wrong shape and a wrong dtype."""
    arrays = state()
    del arrays["slope.weight"], arrays["scale"]
    arrays["up.weight"] = arrays["up.weight"].reshape(4, -1)
    arrays["turned.bias"] = arrays["turned.bias"].astype("i4")
    return arrays
