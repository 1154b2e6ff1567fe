"""Transformations of a function in JAX, compared with the same in torch."""

import jax
import jax.numpy as jnp
import numpy as np

from support.torch_bridge import to_numpy, to_torch, torch

KINDS = ("jvp", "hessian", "vmap")


def assert_transforms(rng, kind, ours, theirs, x, *, axis=0, power=2, rtol=1e-12):
    """One of `KINDS` of two functions of an array.

    ``vmap`` is over the new axis `axis`; ``hessian`` is that of the sum of the `power`.
    """
    tensor = to_torch(x)
    if kind == "jvp":
        tangent = jnp.asarray(rng.integers(1, 9, x.shape).astype("float64"))
        _, expected = torch.autograd.functional.jvp(theirs, tensor, to_torch(tangent))
        got = jax.jit(lambda x, t: jax.jvp(ours, (x,), (t,))[1])(x, tangent)
    elif kind == "hessian":
        expected = torch.autograd.functional.hessian(lambda x: (theirs(x) ** power).sum(), tensor)
        got = jax.jit(jax.hessian(lambda x: (ours(x) ** power).sum()))(x)
    else:
        expected = torch.stack([theirs(tensor), theirs(tensor.flip(-1))], axis)
        both = jnp.stack([x, x[..., ::-1]], axis)
        got = jax.jit(jax.vmap(ours, in_axes=axis, out_axes=axis))(both)
    np.testing.assert_allclose(got, to_numpy(expected), rtol=rtol, atol=rtol)
