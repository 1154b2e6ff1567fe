"""A layer of Flax that stands for one of torch in a test."""

import jax
from flax import nnx


class Swish(nnx.Module):
    def __init__(self, beta):
        self.beta = beta

    def __call__(self, x):
        return jax.scipy.special.i1e(x) * self.beta
