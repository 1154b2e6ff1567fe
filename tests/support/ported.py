"""Networks to port, and whether what was ported computes what torch does. Needs torch."""

import jax
import numpy as np
import torch


def made(kind):
    """A module with weights of its own, in float64 and evaluation mode."""
    torch.manual_seed(3)
    module = kind().double().eval()
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor) / 4)
    return module


def assert_equal(ported, *shapes):
    """The ported model computes what torch does, for inputs of the shapes."""
    arrays = [np.random.default_rng(i).standard_normal(s) for i, s in enumerate(shapes)]
    with torch.no_grad():
        expected = ported.module.eval()(*map(torch.from_numpy, arrays))
    moved = [a.transpose(order) for a, order in zip(arrays, ported.inputs, strict=True)]
    actual = jax.tree.leaves(ported.model()(*moved))
    wanted = [y.numpy() for y in jax.tree.leaves(expected)]
    for theirs, ours, order in zip(wanted, actual, ported.outputs, strict=True):
        np.testing.assert_allclose(ours, theirs.transpose(order), rtol=1e-11, atol=1e-12)
